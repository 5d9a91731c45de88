// Reads a wasm artefact from the package's own files, in Node. No `node:` import stands here: bundles for browsers would choke on it.
import type { Artefact } from './core.ts';

const FILES: Readonly<Record<Artefact, string>> = {
  plain: 'core.wasm',
  shared: 'core.shared.wasm',
  check: 'core.check.wasm',
  trace: 'core.trace.wasm',
  sync: 'sync.wasm',
  binding: 'binding.wasm',
};

interface FileSystem {
  readonly promises: { readFile(file: URL): Promise<Uint8Array<ArrayBuffer>> };
}

const loaded = new Map<Artefact, Promise<WebAssembly.Module>>();

/** The compiled artefact; compiled once a thread. Rejects outside Node, where the caller brings the module. */
export function loadArtefact(artefact: Artefact): Promise<WebAssembly.Module> {
  let module = loaded.get(artefact);
  if (module === undefined) {
    module = compile(artefact);
    loaded.set(artefact, module);
  }
  return module;
}

async function compile(artefact: Artefact): Promise<WebAssembly.Module> {
  const { process } = globalThis as { process?: { getBuiltinModule?(name: string): FileSystem | undefined } };
  const files = process?.getBuiltinModule?.('node:fs');
  if (files === undefined) {
    throw new Error(
      `Only Node reads ${FILES[artefact]} by itself: fetch @openclb/core-wasm/${FILES[artefact]}, compile it and hand it over as \`module\``,
    );
  }
  const url = new URL(FILES[artefact], import.meta.resolve('@openclb/core-wasm/core.wasm'));
  const bytes = await files.promises.readFile(url).catch((error: unknown) => {
    throw new Error(`The packet core ${FILES[artefact]} is not built: run npm run build`, { cause: error });
  });
  return WebAssembly.compile(bytes);
}
