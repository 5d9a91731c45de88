// Builds one package: every entry of its `exports` (and `bin`) bundled by esbuild with shared chunks, and declarations by tsc.
// Dependencies stay imports; only the package's own files are bundled.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
/** @type {Record<string, string>} output name without extension -> source file */
const entryPoints = {};
for (const entry of Object.values(manifest.exports)) {
  if (typeof entry !== 'object') continue;
  entryPoints[entry.import.replace(/^\.\/dist\//, '').replace(/\.js$/, '')] = entry['@openclb/source'];
}
for (const file of Object.values(manifest.bin ?? {})) {
  const name = String(file)
    .replace(/^\.\/dist\//, '')
    .replace(/\.js$/, '');
  entryPoints[name] = `./src/${name}.ts`;
}
for (const [name, source] of Object.entries(entryPoints)) if (!existsSync(source)) delete entryPoints[name];

// The wasm files of the core are built into dist before this step, so only our own kind of output is removed.
for (const stale of [
  'dist/chunks',
  ...Object.keys(entryPoints).flatMap((name) => [`dist/${name}.js`, `dist/${name}.js.map`]),
]) {
  rmSync(stale, { recursive: true, force: true });
}
await build({
  entryPoints,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  format: 'esm',
  platform: 'neutral',
  target: 'es2024',
  packages: 'external',
  external: ['node:*'],
  conditions: [],
  sourcemap: true,
  legalComments: 'none',
});

const declarations = spawnSync(
  process.execPath,
  [
    '../../node_modules/typescript/bin/tsc',
    '-p',
    existsSync('tsconfig.build.json') ? 'tsconfig.build.json' : '.',
    '--noEmit',
    'false',
    '--emitDeclarationOnly',
    '--customConditions',
    '',
    '--rootDir',
    manifest.openclb?.rootDir ?? 'src',
    '--outDir',
    'dist',
  ],
  { stdio: 'inherit' },
);
process.exit(declarations.status ?? 1);
