// The demo as an ordinary user: it re-executes itself in a user namespace, is carried by the packet port, and leaves nothing behind.
import { spawn } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isInsideUserNamespace, whyNoNamespaces } from '../tools/testkit/index.ts';

const MAIN = fileURLToPath(new URL('../apps/demo/src/main.ts', import.meta.url));
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0 && !isInsideUserNamespace();

interface Run {
  status: number | null;
  events: { event: string; text?: string; held?: boolean; proof?: string }[];
  log: string;
}

function runDemo(...words: string[]): Promise<Run> {
  const options = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  const env = { ...process.env, HOME: tmpdir(), OPENCLB_OUTER_UID: undefined };
  const child = spawn(process.execPath, ['--conditions=@openclb/source', MAIN, '--json', ...words], {
    ...options,
    env,
    cwd: '/',
  });
  let log = '';
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (status) => {
      const events = out
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Run['events'][number]);
      resolve({ status, events, log: log + out });
    });
  });
}

function isReadableByAll(): boolean {
  try {
    accessSync(MAIN, constants.R_OK);
    return !MAIN.startsWith('/root/');
  } catch {
    return false;
  }
}

test('an ordinary user sees the first lines of the story hold, carried by the packet port', async (context) => {
  const why = whyNoNamespaces();
  context.skip(why !== undefined, why);
  context.skip(
    isRoot && !isReadableByAll(),
    'the checkout can be read by root only: clone it where an ordinary user may read',
  );
  const run = await runDemo('--lines', '1-4');
  const broken = run.events.filter(({ event, held }) => event === 'claim' && held === false);
  expect({ broken, status: run.status, log: run.status === 0 ? '' : run.log }).toEqual({
    broken: [],
    status: 0,
    log: '',
  });
  const carried = run.events.find(({ text }) => text?.startsWith('packets are carried by'))?.text ?? '';
  expect(carried).toContain('ld1 packet');
  expect(carried).not.toContain('xdp');
  const owner = isRoot ? NOBODY : process.getuid?.();
  expect(
    readdirSync(tmpdir())
      .filter((name) => name === `openclb-runs-${owner}`)
      .flatMap((name) => readdirSync(`${tmpdir()}/${name}`)),
  ).toEqual([]);
});

test('where there are no namespaces the relay and layer-7 part is told on loopback', async () => {
  const { status, events, log } = await runDemo('--loopback');
  const claims = events.filter(({ event }) => event === 'claim');
  expect({ status, log: status === 0 ? '' : log }).toEqual({ status: 0, log: '' });
  expect(claims.length).toBeGreaterThanOrEqual(4);
  expect(claims.every(({ held }) => held)).toBe(true);
});

test('a wrong flag is answered with one sentence and exit status 2', async () => {
  const run = await runDemo('--prot', 'xdp');
  expect(run.status).toBe(2);
  expect(run.log.trim().split('\n')).toHaveLength(1);
});
