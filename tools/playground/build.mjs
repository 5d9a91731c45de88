// Bundles the playground page (docs/playground) into one classic script, so that it runs from a file as well as from any server.
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const page = fileURLToPath(new URL('../../docs/playground/', import.meta.url));
await build({
  entryPoints: [`${page}main.ts`],
  outfile: process.argv[2] ?? `${page}dist/playground.js`,
  bundle: true,
  minify: true,
  sourcemap: true,
  format: 'iife',
  platform: 'browser',
  target: 'es2024',
  // Only Node looks for the wasm files of the package; the page carries them.
  define: { 'import.meta.resolve': 'undefined' },
  // Chunks of the package share helpers of esbuild, imported for nothing else.
  logOverride: { 'ignored-bare-import': 'silent' },
  logLevel: 'warning',
});
if (process.argv[2] === undefined)
  console.log(`The playground is ready. Open this file in a browser:\n  ${page}index.html`);
