// Slow clients (layer7.md 5): slowhttptest's three attacks at once against a proxy that goes on serving, and a reader of a trickle.
// Every slow connection ends with its reason in the access log.
import { spawn, spawnSync } from 'node:child_process';
import { expect, onTestFinished, test } from 'vitest';
import type { AccessRecord } from '../src/index.ts';
import { connect, get, getAndClose, origin, sleep, start, statusOf } from './kit.ts';

const LARGE_BYTES = 4 * 1024 * 1024;
const CONNECTIONS = 60;
const ATTACK_SECONDS = 4;
const QUICK = { headTimeoutMs: 1000, bodyTimeoutMs: 1000, sendTimeoutMs: 1000 };

/** Answers small requests at once and `/large` with more than any kernel buffers for a closed window. */
const target = () => {
  const large = Buffer.alloc(LARGE_BYTES, 0x61);
  return origin((head, peer) => {
    if (!head.startsWith('GET /large ')) return void peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE_BYTES}\r\n\r\n`);
    peer.socket.write(large);
  });
};

function attack(...words: string[]): Promise<number | null> {
  const common = ['-c', String(CONNECTIONS), '-r', '200', '-l', String(ATTACK_SECONDS), '-v', '0'];
  const child = spawn('slowhttptest', [...words, ...common], { stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  return new Promise((resolve) => child.on('close', resolve));
}

const tallied = (records: readonly AccessRecord[], code: string): number =>
  records.filter(({ failure }) => failure === code).length;

test('slow headers, slow bodies and slow readers are cut with their reason while an ordinary client is served', async (context) => {
  context.skip(
    spawnSync('slowhttptest', ['-h']).error !== undefined,
    'needs slowhttptest: apt-get install slowhttptest',
  );
  const records: AccessRecord[] = [];
  const { url } = await target();
  const { port, ask } = await start({ targets: [url], limits: QUICK, accessLog: (record) => records.push(record) });
  const site = `http://127.0.0.1:${port}`;
  const attacks = Promise.all([
    attack('-H', '-i', '2', '-u', `${site}/`),
    attack('-B', '-i', '2', '-s', '8192', '-u', `${site}/`),
    attack('-X', '-n', '1', '-z', '32', '-w', '256', '-y', '512', '-k', '1', '-u', `${site}/large`),
  ]);
  const statuses: number[] = [];
  for (const end = performance.now() + ATTACK_SECONDS * 1000; performance.now() < end;) {
    statuses.push(statusOf(await ask(getAndClose('/ordinary'))));
    await sleep(50);
  }
  await attacks;
  expect(statuses.length).toBeGreaterThan(10);
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  const told = ['head-timeout', 'body-timeout', 'client-stalled'].map((code) => tallied(records, code));
  expect(Math.min(...told), `head-timeout, body-timeout, client-stalled: ${told.join(', ')}`).toBeGreaterThan(
    CONNECTIONS / 2,
  );
});

test('a reader of a trickle is cut once nothing more could be written for as long as sendTimeoutMs', async () => {
  const records: AccessRecord[] = [];
  const sent = await origin((_, peer) => {
    peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * 1024 * 1024}\r\n\r\n`);
    peer.socket.write(Buffer.alloc(64 * 1024 * 1024));
  });
  const { port } = await start({
    targets: [sent.url],
    limits: { sendTimeoutMs: 400 },
    accessLog: (record) => records.push(record),
  });
  const peer = await connect(port);
  peer.socket.removeAllListeners('data').pause();
  peer.write(get());
  const trickle = setInterval(() => peer.socket.read(100), 20);
  onTestFinished(() => clearInterval(trickle));
  await expect.poll(() => records.map(({ failure }) => failure), { timeout: 5000 }).toEqual(['client-stalled']);
  await expect.poll(() => sent.peers[0]!.isClosed, { timeout: 1000 }).toBe(true);
});
