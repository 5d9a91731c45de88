// The embedded store: the conformance suite in memory and on disk, and what is left after kill -9.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSqliteStore } from '../src/desired/sqlite.ts';
import { describeStore, HISTORY_REVISIONS, type StoreUnderTest } from './store-conformance.ts';

let folder = '';
let files = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'openclb-store-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function withClock(path: string): StoreUnderTest {
  let nowMs = 1_000_000;
  const store = openSqliteStore({ path, nowMs: () => nowMs, historyRevisions: HISTORY_REVISIONS });
  return { store, advanceMs: (ms) => (nowMs += ms) };
}

describeStore('SQLite in memory', async () => withClock(':memory:'));
describeStore('SQLite in a file', async () => withClock(join(folder, `conformance-${files++}.sqlite`)));

test('every acknowledged write survives kill -9, whole, twenty times over', async () => {
  const path = join(folder, 'killed.sqlite');
  const acknowledged: string[] = [];
  for (let round = 0; round < 20; round++) {
    acknowledged.push(...(await writeUntilKilled(path, `round${round}`, 60 + round * 7)));
    const store = openSqliteStore({ path, nowMs: Date.now });
    const { entries } = await store.list('d/');
    const keys = new Set(entries.map(({ key }) => key));
    expect(acknowledged.filter((key) => !keys.has(key) || !keys.has(`${key}/twin`))).toEqual([]);
    // A transaction that was not acknowledged is there whole or not at all.
    expect(entries.filter(({ key }) => !key.endsWith('/twin') && !keys.has(`${key}/twin`))).toEqual([]);
    await store.close();
  }
  expect(acknowledged.length).toBeGreaterThan(100);
}, 60_000);

/** The keys that the writer printed before it was killed inside its loop. */
function writeUntilKilled(path: string, name: string, afterMs: number): Promise<string[]> {
  const writer = fileURLToPath(new URL('./writer.ts', import.meta.url));
  const child = spawn(process.execPath, ['--conditions=@openclb/source', writer, path, name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (chunk: string) => {
    if (output === '') setTimeout(() => child.kill('SIGKILL'), afterMs);
    output += chunk;
  });
  return new Promise((resolve) => {
    child.on('close', () => {
      const lines = output.split('\n').slice(0, -1);
      resolve(lines.map((line) => line.split(' ')[1] ?? ''));
    });
  });
}

test('a second process sees the writes of the first one', async () => {
  const path = join(folder, 'shared.sqlite');
  const first = openSqliteStore({ path, nowMs: Date.now });
  const second = openSqliteStore({ path, nowMs: Date.now });
  const start = await second.revision();
  const seen = new Promise<string>((resolve) => {
    second.watch('d/', start, { onEvents: ([event]) => resolve(event?.key ?? ''), onCompacted: () => {} });
  });
  await first.commit([], [{ type: 'put', key: 'd/a', value: '1' }]);
  expect(await seen).toBe('d/a');
  await first.close();
  await second.close();
});

test('a fresh store counts on from the clock, so that nodes take its images after a loss, and an old one goes on', async () => {
  const path = join(folder, 'fresh.sqlite');
  const first = openSqliteStore({ path, nowMs: () => 1_800_000_000_000 });
  expect(await first.commit([], [{ type: 'put', key: 'd/a', value: '1' }])).toBe(1_800_000_001);
  await first.close();
  const second = openSqliteStore({ path, nowMs: () => 1_900_000_000_000 });
  expect(await second.revision()).toBe(1_800_000_001);
  await second.close();
});

test('the file, which holds private keys, is readable by its owner alone', async () => {
  const path = join(folder, 'mode.sqlite');
  const store = openSqliteStore({ path, nowMs: Date.now });
  await store.commit([], [{ type: 'put', key: 'd/a', value: '1' }]);
  expect([path, `${path}-wal`].map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600]);
  await store.close();
});
