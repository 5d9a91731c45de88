// Single functions of the core as a wasm of their own (by default the wire headers), compiled on the spot: no release contains it.
import { main } from 'assemblyscript/asc';

export interface Wire {
  readonly call: Readonly<Record<string, (...values: number[]) => number>>;
  readonly bytes: Uint8Array;
  /** Puts bytes at an address and returns the address. */
  put(bytes: Uint8Array, at?: number): number;
  take(at: number, length: number): Buffer;
}

/** Past the page of static data; odd and even addresses are both legal. */
export const AT = 4096;

export async function wire(entry = 'assembly/testing.ts', optimize = '-O1'): Promise<Wire> {
  let binary: Uint8Array | null = null;
  const options = [
    '--baseDir',
    new URL('..', import.meta.url).pathname,
    '--runtime',
    'stub',
    '--importMemory',
    '--enable',
    'threads',
    '--enable',
    'simd',
  ];
  const { error, stderr } = await main([entry, optimize, '--outFile', 'testing.wasm', ...options], {
    writeFile: (name, contents) => {
      if (name === 'testing.wasm') binary = contents as Uint8Array;
    },
  });
  if (error !== null || binary === null) throw new Error(`${entry} does not compile: ${stderr.toString()}`);
  const memory = new WebAssembly.Memory({ initial: 4, maximum: 65536 });
  const abort = (_message: number, _file: number, line: number): never => {
    throw new Error(`assertion at line ${line}`);
  };
  const { instance } = await WebAssembly.instantiate(binary as Uint8Array<ArrayBuffer>, { env: { memory, abort } });
  const bytes = new Uint8Array(memory.buffer);
  return {
    call: instance.exports as unknown as Wire['call'],
    bytes,
    put(source, at = AT) {
      bytes.set(source, at);
      return at;
    },
    take: (at, length) => Buffer.from(bytes.slice(at, at + length)),
  };
}
