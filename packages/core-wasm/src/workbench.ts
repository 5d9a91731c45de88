// An instance of the core on a small memory of its own, where single functions work on bytes that are laid down for
// them: what src/tcp.ts, src/sctp.ts and src/meters.ts share. No tables, no image, no plan.
import { tcpBase64 } from '#embedded-tcp';
import { limits } from '../layout/index.ts';
import type { CoreExports } from './core.ts';

const PAGE_BYTES = 65_536;

/** Where the wasm of a tool comes from; the embedded one when it is left out. */
export interface WorkbenchOptions {
  /** A WebAssembly.Module of tcp.wasm, or its bytes. The embedded one when absent. */
  readonly module?: object;
}

export interface Workbench {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Calls an export; the answer is an unsigned number. */
  call(name: string, ...values: number[]): number;
}

let embedded: Promise<WebAssembly.Module> | undefined;

/** Bytes from `WORKBENCH_START` on are the caller's, `size` of them. */
export const WORKBENCH_START: number = limits.MAP_ADDRESS;

export async function openWorkbench(size: number, options: WorkbenchOptions = {}): Promise<Workbench> {
  const pages = Math.ceil((WORKBENCH_START + size) / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const abort = (_message: number, _file: number, line: number): never => {
    throw new Error(`The packet core failed an assertion at line ${line}`);
  };
  const instance = await WebAssembly.instantiate(await moduleOf(options.module), { env: { memory, abort } });
  const exports = instance.exports as unknown as CoreExports;
  return {
    bytes: new Uint8Array(memory.buffer),
    view: new DataView(memory.buffer),
    call(name, ...values) {
      const found = exports[name];
      if (found === undefined) throw new Error(`The packet core has no ${name}: build the package again`);
      return found(...values) >>> 0;
    },
  };
}

function moduleOf(module: object | undefined): Promise<WebAssembly.Module> | WebAssembly.Module {
  if (module instanceof WebAssembly.Module) return module;
  if (module !== undefined) return WebAssembly.compile(module as BufferSource);
  embedded ??= WebAssembly.compile(Uint8Array.from(atob(tcpBase64()), (char) => char.charCodeAt(0)));
  return embedded;
}
