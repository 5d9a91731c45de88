// A worker that dies is replaced, one that keeps dying is given up; and the pulse that tells the difference from outside.
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, test, vi } from 'vitest';
import { silentLog } from './log.ts';
import { superviseWorker } from './supervisor.ts';
import { watchPulse } from './watchdog.ts';
import { type WorkerStart } from './worker-messages.ts';

const folder = mkdtempSync(join(tmpdir(), 'clb-worker-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A worker that says ready and dies when told to; its loop is not our matter here. */
function workerFile(body: string): URL {
  const file = join(folder, `${crypto.randomUUID()}.mjs`);
  writeFileSync(file, `import { parentPort } from 'node:worker_threads';\n${body}`);
  return pathToFileURL(file);
}

const OBEDIENT = `
parentPort.on('message', (message) => {
  if (message.type === 'trap') throw new Error('trapped on request');
  if (message.type === 'stop') parentPort.close();
});
parentPort.postMessage({ type: 'ready' });`;

function supervise(entry: URL, deathsMax = 5) {
  const events: string[] = [];
  const supervisor = superviseWorker({
    start: { worker: 0 } as WorkerStart,
    log: silentLog,
    deathsMax,
    entry,
    onMessage: () => {},
    onDeath: () => void events.push('death'),
    onStart: () => void events.push('start'),
    onGiveUp: (error) => void events.push(error.message),
  });
  return { supervisor, events };
}

test('a worker that dies is buried first and replaced then', async () => {
  const { supervisor, events } = supervise(workerFile(OBEDIENT));
  await vi.waitFor(() => expect(events).toEqual(['start']));
  supervisor.post({ type: 'trap' });
  await vi.waitFor(() => expect(events).toEqual(['start', 'death', 'start']));
  expect(supervisor.restarts).toBe(1);
  await supervisor.close();
  expect(events).toHaveLength(3);
});

test('a worker that dies again and again is given up with its last words', async () => {
  const { supervisor, events } = supervise(workerFile(`throw new Error('no such core');`), 3);
  await vi.waitFor(() => expect(events).toHaveLength(4), { timeout: 5_000 });
  expect(events.slice(0, 3)).toEqual(['death', 'death', 'death']);
  expect(events[3]).toContain('died 3 times within a minute, the last time: no such core');
  await supervisor.close();
});

test('a worker that hangs is ended by force when its role closes', async () => {
  const { supervisor, events } = supervise(
    workerFile(`parentPort.postMessage({ type: 'ready' });\nsetTimeout(() => { for (;;); }, 0);`),
  );
  await vi.waitFor(() => expect(events).toEqual(['start']));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const started = performance.now();
  await supervisor.close();
  expect(performance.now() - started).toBeLessThan(3_000);
});

test('three missed beats withdraw, and a pulse that is back announces again', async () => {
  const changes: boolean[] = [];
  let pulse = 0;
  const heart = setInterval(() => pulse++, 5);
  const watchdog = watchPulse(
    () => pulse,
    (isAlive) => void changes.push(isAlive),
    20,
  );
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect([watchdog.isAlive, changes]).toEqual([true, []]);
  clearInterval(heart);
  await vi.waitFor(() => expect(changes).toEqual([false]));
  pulse++;
  await vi.waitFor(() => expect(changes).toEqual([false, true]));
  watchdog.close();
});
