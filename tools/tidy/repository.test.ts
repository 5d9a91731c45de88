// Rules of the house that no linter knows: what every package has, what no file may hold, which pages follow which files.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));
const sources = tracked.filter((file) => /\.(ts|mjs)$/.test(file) && !file.endsWith('.gen.ts'));
const packages = readdirSync('packages');

test('every package has a README with one runnable example, a licence and exports that exist', () => {
  for (const name of packages) {
    const readme = readFileSync(`packages/${name}/README.md`, 'utf8');
    expect(readme, `packages/${name}/README.md needs a js block`).toMatch(/```js\n/);
    const manifest = JSON.parse(readFileSync(`packages/${name}/package.json`, 'utf8')) as {
      license: string;
      exports: Record<string, string | { '@openclb/source': string }>;
    };
    expect(manifest.license).toBe('Apache-2.0');
    const entries = Object.values(manifest.exports).filter((entry) => typeof entry === 'object');
    const missing = entries
      .map((entry) => `packages/${name}/${entry['@openclb/source']}`)
      .filter((file) => !existsSync(file));
    expect(missing).toEqual([]);
  }
});

test('every source file begins with a line that says what it is', () => {
  const silent = sources.filter((file) => {
    const text = readFileSync(file, 'utf8').replace(/^#!.*\n/, '');
    return !/^(\/\/|\/\*)/.test(text);
  });
  expect(silent).toEqual([]);
});

test('no unfinished marks, focused or switched-off tests', () => {
  const marks = /\b(TODO|FIXME|XXX)\b|\b(?:test|it|describe)\.(?:only|skip|todo)\(/;
  const found = sources.filter((file) => !file.startsWith('tools/tidy/') && marks.test(readFileSync(file, 'utf8')));
  expect(found).toEqual([]);
});

test('no tracked file names a machine path or a package registry', () => {
  const machine = /\/work\/(?:main|shared)\b|\/root\/|registry\.npmjs\.org|deb\.debian\.org/;
  const found = tracked.filter(
    (file) =>
      !file.startsWith('tools/tidy/') &&
      !/\.(png|wasm|pcap|pcapng|bin)$/.test(file) &&
      machine.test(readFileSync(file, 'utf8')),
  );
  expect(found).toEqual([]);
});

test('every step of the packet walk has its heading in the life of a packet', () => {
  const page = readFileSync('docs/explanation/life-of-a-packet.md', 'utf8');
  const steps = readdirSync('packages/core-wasm/assembly/path')
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.replace('.ts', ''));
  expect(steps.filter((step) => !page.includes(`## ${step}\n`))).toEqual([]);
});

test('every phase of a request has its heading in the life of a request', () => {
  const page = readFileSync('docs/explanation/life-of-a-request.md', 'utf8');
  const phases = readdirSync('packages/l7/src/phase')
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.replace('.ts', ''));
  expect(phases.filter((phase) => !page.includes(`## ${phase}\n`))).toEqual([]);
});

test('a package whose files changed since the last release has a changeset', () => {
  const changesets = readdirSync('.changeset').filter((file) => file.endsWith('.md') && file !== 'README.md');
  const named = new Set<string>();
  for (const file of changesets) {
    for (const match of readFileSync(`.changeset/${file}`, 'utf8').matchAll(/^["']([^"']+)["']:/gm))
      named.add(match[1] ?? '');
  }
  const released = packages.filter((name) => existsSync(`packages/${name}/CHANGELOG.md`));
  const manifests = packages
    .filter((name) => !released.includes(name))
    .map((name) => JSON.parse(readFileSync(`packages/${name}/package.json`, 'utf8')).name as string);
  expect(manifests.filter((name) => !named.has(name))).toEqual([]);
});
