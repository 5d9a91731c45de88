// Gates of the hot path (conventions.md 1.7): nothing is allocated and no memory grows, in the wasm and around it.
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { LAYOUT_HASH, RECORDS, WIDTH } from '../layout/index.ts';
import { director } from './director-fixture.ts';
import { SAMPLES } from './samples.ts';

test.each(['core', 'core.shared', 'core.check', 'core.trace'])(
  '%s never allocates and never grows its memory',
  (name) => {
    const text = readFileSync(new URL(`../dist/${name}.wat`, import.meta.url), 'utf8');
    expect(text).toContain('$assembly/path/burst/forwardBurst');
    expect(
      ['~lib/rt/stub/__new', '~lib/rt/stub/__alloc', 'memory.grow'].filter((forbidden) => text.includes(forbidden)),
    ).toEqual([]);
  },
);

test.each(['core', 'core.shared'])('%s is a release of at most 64 KiB', (name) => {
  const file = readFileSync(new URL(`../dist/${name}.wasm`, import.meta.url));
  expect(WebAssembly.validate(file)).toBe(true);
  expect(file.length).toBeLessThanOrEqual(64 * 1024);

  expect(WebAssembly.Module.customSections(new WebAssembly.Module(file), 'name')).toEqual([]);
});

test('a million packets leave the JavaScript heap as it was', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const { core } = await director({ artefact: 'plain' });
  const { forwardBurst } = core.exports;
  core.inject(SAMPLES.slice(0, 32), 0);
  for (let burst = 0; burst < 100; burst++) forwardBurst?.(32, 1000);
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let burst = 0; burst < 31_250; burst++) forwardBurst?.(32, 1000);
  gc();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(512 * 1024);
  expect(core.counters().received).toBe(31_350 * 32);
});

test('the layout that the core was built with is the one of this package', async () => {
  const { core } = await director();
  expect((core.exports['layoutHash']?.() ?? 0) >>> 0).toBe(LAYOUT_HASH);
});

test('no field of a record overlaps the next, and none crosses its end', () => {
  for (const record of RECORDS) {
    let end = 0;
    for (const [name, [type]] of Object.entries(record.fields)) {
      expect(record.at[name], `${record.name}.${name}`).toBeGreaterThanOrEqual(end);
      end = (record.at[name] ?? 0) + WIDTH[type];
    }
    expect(end).toBeLessThanOrEqual(record.bytes);
  }
});
