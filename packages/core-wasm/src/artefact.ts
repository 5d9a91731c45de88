// Reads a wasm artefact from the package's own files. The only file here that needs Node, so it is imported when it is needed.
import { promises } from 'node:fs';
import type { Artefact } from './core.ts';

const FILES: Readonly<Record<Artefact, string>> = {
  plain: 'core.wasm',
  shared: 'core.shared.wasm',
  check: 'core.check.wasm',
  trace: 'core.trace.wasm',
};

const loaded = new Map<Artefact, Promise<WebAssembly.Module>>();

/** The compiled artefact; compiled once a thread. */
export function loadArtefact(artefact: Artefact): Promise<WebAssembly.Module> {
  let module = loaded.get(artefact);
  if (module === undefined) {
    module = compile(artefact);
    loaded.set(artefact, module);
  }
  return module;
}

async function compile(artefact: Artefact): Promise<WebAssembly.Module> {
  const url = new URL(FILES[artefact], import.meta.resolve('@openclb/core-wasm/core.wasm'));
  const bytes = await promises.readFile(url).catch((error: unknown) => {
    throw new Error(`The packet core ${FILES[artefact]} is not built: run npm run build`, { cause: error });
  });
  return WebAssembly.compile(bytes);
}
