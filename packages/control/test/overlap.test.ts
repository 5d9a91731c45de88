// Writers that really overlap: two controllers on one file, each with its own view of the state, so comparisons do fail and edits run again.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { edit } from '../src/desired/draft.ts';
import { openMirror, type Mirror } from '../src/desired/mirror.ts';
import { openSqliteStore } from '../src/index.ts';
import type { Store } from '../src/index.ts';
import { startTestController } from './cluster.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'openclb-overlap-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('50 writers on two views of one store lose no increment, though many of them collide', async () => {
  const path = join(folder, 'desired.sqlite');
  let conflicts = 0;
  const open = async (): Promise<{ store: Store; mirror: Mirror }> => {
    const raw = openSqliteStore({ path, nowMs: Date.now });
    const store: Store = {
      ...raw,
      async commit(compares, operations) {
        // Others run between reading and writing, as they would over a network.
        await new Promise((resolve) => setImmediate(resolve));
        const revision = await raw.commit(compares, operations);
        if (revision === null) conflicts++;
        return revision;
      },
    };
    return { store, mirror: await openMirror(store) };
  };
  const views = [await open(), await open()];
  const intervals: { startedAt: number; endedAt: number }[] = [];
  await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      const { store, mirror } = views[index % 2] ?? (await open());
      const startedAt = performance.now();
      await edit(store, mirror, (draft) => {
        const count = draft.get<{ count: number }>('d/test/counter')?.count ?? 0;
        draft.put('d/test/counter', { count: count + 1 });
        draft.put(`d/test/writer/${index}`, { index });
      });
      intervals.push({ startedAt, endedAt: performance.now() });
    }),
  );
  const overlaps = intervals.filter((one) =>
    intervals.some((other) => other !== one && other.startedAt < one.endedAt && one.startedAt < other.endedAt),
  );
  expect(overlaps.length).toBe(50);
  expect(conflicts).toBeGreaterThan(50);
  const { entries } = await (views[0] as { store: Store }).store.list('d/test/');
  expect(entries).toHaveLength(51);
  expect(entries.find(({ key }) => key === 'd/test/counter')?.value).toBe('{"count":50}');
  for (const { store, mirror } of views) {
    mirror.close();
    await store.close();
  }
});

test('two controllers on one file allocate 40 different addresses and see what the other one made', async () => {
  const store = join(folder, 'desired.sqlite');
  const controllers = [await startTestController({ store }), await startTestController({ store })] as const;
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      (controllers[index % 2] ?? controllers[0]).call('POST', '/load-balancers', { name: `lb${index}` }),
    ),
  );
  expect(new Set(answers.map(({ body }) => body.vips?.[0])).size).toBe(40);
  await new Promise((resolve) => setTimeout(resolve, 600));
  const lists = await Promise.all(
    controllers.map(async ({ call }) => (await call('GET', '/load-balancers')).body.items),
  );
  expect(lists[0]).toHaveLength(40);
  expect(lists[1]).toEqual(lists[0]);
  for (const { app } of controllers) await app.close();
});
