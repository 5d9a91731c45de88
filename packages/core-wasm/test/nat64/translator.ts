// NAT64 as a wasm of its own (assembly/nat64/entry.ts), compiled on the spot with assertions.
import { main } from 'assemblyscript/asc';
import { type Nat64, type Nat64Options, type Nat64Result, createNat64 } from '../../src/nat64.ts';

let compiled: Promise<WebAssembly.Module> | undefined;

async function compile(): Promise<WebAssembly.Module> {
  let binary: Uint8Array<ArrayBuffer> | null = null;
  const base = new URL('../..', import.meta.url).pathname;
  const options = ['--baseDir', base, '--runtime', 'stub', '--importMemory', '--enable', 'simd', '--enable', 'threads'];
  const { error, stderr } = await main(['assembly/nat64/entry.ts', '-O1', '--outFile', 'nat64.wasm', ...options], {
    writeFile: (name, contents) => {
      if (name === 'nat64.wasm') binary = contents as Uint8Array<ArrayBuffer>;
    },
  });
  if (error !== null || binary === null) throw new Error(`nat64 does not compile: ${stderr.toString()}`);
  return WebAssembly.compile(binary);
}

export async function translator(
  options: { [K in keyof Nat64Options]?: Nat64Options[K] | undefined } = {},
): Promise<Nat64> {
  compiled ??= compile();
  return createNat64({ own4: '192.0.2.254', own6: '2001:db8::fe', ...options, module: await compiled } as Nat64Options);
}

/** The only packet of a result. */
export function only(result: Nat64Result): Buffer {
  if (result.packets.length !== 1)
    throw new Error(`${result.verdict} ${result.reason}: ${result.packets.length} packets`);
  return Buffer.from(result.packets[0] as Uint8Array);
}

export { embedded, fragmentHeader, icmp, ipv4, withExtensions } from './packets.ts';
