// The demo as an ordinary user: it re-executes itself in a user namespace, is carried by the packet port, and leaves nothing behind.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { isInsideUserNamespace, whyNoNamespaces } from '../tools/testkit/index.ts';

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = 'apps/demo/src/main.ts';
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0 && !isInsideUserNamespace();

interface Run {
  status: number | null;
  events: { event: string; text?: string; held?: boolean; proof?: string }[];
  log: string;
}

function runDemo(...words: string[]): Promise<Run> {
  // The same Node, by the path that this user can read.
  const node = process.execPath.replace(CHECKOUT, join(checkout, '/'));
  const options = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  const env = { ...process.env, HOME: tmpdir(), OPENCLB_OUTER_UID: undefined };
  const child = spawn(node, ['--conditions=@openclb/source', join(checkout, MAIN), '--json', ...words], {
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

/** Where the ordinary user reads the checkout: itself, or a bind mount of it when a folder above it is closed to others. */
const checkout = isRoot && !canNobodyRead(CHECKOUT) ? bindMount(CHECKOUT) : CHECKOUT;

function canNobodyRead(folder: string): boolean {
  return spawnSync('test', ['-r', join(folder, MAIN)], { uid: NOBODY, gid: NOBODY, cwd: '/' }).status === 0;
}

function bindMount(folder: string): string {
  const place = mkdtempSync(join(tmpdir(), 'openclb-checkout-'));
  spawnSync('mount', ['--bind', folder, place]);
  return place;
}

afterAll(() => {
  if (checkout === CHECKOUT) return;
  spawnSync('umount', [checkout]);
  rmdirSync(checkout);
});

test('an ordinary user sees the first lines of the story hold, carried by the packet port', async (context) => {
  const why = whyNoNamespaces();
  context.skip(why !== undefined, why);
  context.skip(
    isRoot && !canNobodyRead(checkout),
    'the files of the checkout can be read by root only: clone it with a umask of 022',
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
