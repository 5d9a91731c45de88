// A proxy of several threads: connections spread, one that stands still or dies harms its own only, and limits, health, counters,
// tickets and images are those of all.
import tls from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import type { ProxyImage } from '@openclb/model';
import { createProxy } from '../src/index.ts';
import { SharedCounts, SharedRates, countsBuffer, ratesBuffer } from '../src/scale/shared.ts';
import { CERTIFICATES } from './certificates.ts';
import { imageOf, type SimpleConfig } from '../src/simple.ts';
import {
  bodyOf,
  connect,
  freePort,
  get,
  getAndClose,
  named,
  okOrigin,
  type Peer,
  sleep,
  start,
  statusOf,
} from './kit.ts';

const workerModule = { url: new URL('worker-module.ts', import.meta.url).href };
const workerOf = (text: string): string => /x-worker: (\d+)/i.exec(text)?.[1] ?? '';

async function workerPeers(client: () => Promise<Peer>, count: number): Promise<Map<string, Peer[]>> {
  const byWorker = new Map<string, Peer[]>();
  for (let index = 0; index < count; index++) {
    const peer = await client();
    peer.write(get());
    await peer.has('\r\n\r\nok');
    const worker = workerOf(peer.take());
    byWorker.set(worker, [...(byWorker.get(worker) ?? []), peer]);
  }
  return byWorker;
}

test('connections spread over the workers, each with its own pool; one that stands still harms no other', async () => {
  const target = await okOrigin();
  const { proxy, client } = await start({ targets: [target.url], workers: 2, workerModule });
  const byWorker = await workerPeers(client, 48);
  expect(byWorker.size).toBe(2);
  // The kernel hashes addresses and ports: of 48 neither has fewer than 8 (odds of 1 in 100,000).
  for (const peers of byWorker.values()) expect(peers.length).toBeGreaterThanOrEqual(8);
  expect(target.peers.length).toBe(2);
  await sleep(250);
  expect(proxy.counters()).toMatchObject({ connections: 48, connectionsOpen: 48, requests: 48 });
  expect(proxy.counters().responses[2]).toBe(48);
  const [own, ...rest] = [...byWorker.values()] as [Peer[], ...Peer[][]];
  const others = rest.flat();
  const startedAt = performance.now();
  own[0]!.write(get('/', 'X-Block: 1000\r\n'));
  await sleep(100);
  own[1]!.write(get());
  let slowest = 0;
  let answered = 0;
  while (performance.now() - startedAt < 900) {
    const at = performance.now();
    const peer = others[answered++ % others.length]!;
    peer.write(get());
    await peer.has('\r\n\r\nok');
    peer.take();
    slowest = Math.max(slowest, performance.now() - at);
  }
  expect(own[1]!.text).toBe('');
  expect(answered).toBeGreaterThan(20);
  expect(slowest).toBeLessThan(700);
  await own[1]!.has('\r\n\r\nok');
  expect(performance.now() - startedAt).toBeGreaterThan(990);
});

test('a worker that dies of a bug is replaced, with the newest image and what it had counted', async () => {
  const target = await okOrigin();
  const errors: string[] = [];
  const { proxy, client, port } = await start({
    targets: [target.url],
    workers: 2,
    workerModule,
    onError: (source, error) => errors.push(`${source}: ${(error as Error).message}`),
  });
  const byWorker = await workerPeers(client, 16);
  await sleep(250);
  const [victims, others] = [...byWorker.values()] as [Peer[], Peer[]];
  victims[0]!.write(get('/', 'X-Throw: 1\r\n'));
  await victims[1]!.ended();
  others[0]!.write(get());
  await others[0]!.has('\r\n\r\nok');
  const seen = new Set<string>();
  for (let attempt = 0; attempt < 200 && seen.size < 2; attempt++) {
    const peer = await connect(port);
    peer.write(getAndClose());
    await peer.ended();
    peer.socket.destroy();
    seen.add(workerOf(peer.text));
    await sleep(20);
  }
  expect(seen.size).toBe(2);
  await sleep(250);
  expect(errors[0]).toMatch(/worker \d: a bug in a worker/);
  expect(proxy.counters().requests).toBeGreaterThanOrEqual(18);
  expect(proxy.counters().connectionsOpen).toBeLessThanOrEqual(others.length + 2);
});

async function withPolicy(target: string, policy: ProxyImage['listeners'][number]['policy']) {
  const config: SimpleConfig = { listen: { host: '127.0.0.1', port: await freePort() }, targets: [target] };
  const image = await imageOf(config);
  const proxy = await createProxy({ bind: 'vips', workers: 2, workerModule, limits: { drainMs: 50 } });
  onTestFinished(() => proxy.close());
  const [listener] = image.listeners;
  const full = { ...image, listeners: [{ ...listener!, ...(policy === undefined ? {} : { policy }) }] };
  await proxy.apply(full);
  return { proxy, plain: image, port: listener!.port };
}

test('rates and numbers of connections are those of all workers; an image reaches every one, a refused one none', async () => {
  const target = await okOrigin();
  const second = await named('second');
  const { port, proxy, plain } = await withPolicy(target.url, {
    rates: [{ perSecond: 1, burst: 10 }],
    connectionsMax: 40,
  });
  const startedAt = performance.now();
  const statuses: number[] = [];
  const workers = new Set<string>();
  const peers: Peer[] = [];
  for (let index = 0; index < 30; index++) {
    const peer = await connect(port);
    peers.push(peer);
    peer.write(get());
    await peer.has('\r\n\r\n');
    statuses.push(statusOf(peer.text));
    if (peer.text.includes('x-worker')) workers.add(workerOf(peer.text));
  }
  expect(workers.size).toBeGreaterThan(1);
  const taken = statuses.filter((status) => status === 200).length;
  expect(taken).toBeGreaterThanOrEqual(10);
  expect(taken).toBeLessThanOrEqual(11 + (performance.now() - startedAt) / 1000);
  for (let index = 0; index < 20; index++) peers.push(await connect(port));
  await sleep(200);
  expect(peers.filter(({ isClosed, isEnded }) => !isClosed && !isEnded).length).toBe(40);
  for (const peer of peers.splice(0, 35)) peer.socket.destroy();
  await sleep(200);
  const late = await connect(port);
  late.write(get());
  await late.has('HTTP/1.1');
  for (const peer of [...peers, late]) peer.socket.destroy();

  const open = await Promise.all(Array.from({ length: 12 }, () => connect(port)));
  const bodies = async (): Promise<Set<string>> => {
    for (const peer of open) peer.write(get());
    await Promise.all(open.map((peer) => peer.has(/\r\n\r\n\w+/)));
    return new Set(open.map((peer) => bodyOf(peer.take())));
  };
  await proxy.apply(plain);
  expect(await bodies()).toEqual(new Set(['ok']));
  await proxy.apply({ ...plain, targets: [{ ...plain.targets[0]!, port: second.port }] });
  expect(await bodies()).toEqual(new Set(['second']));
  const missing = { ...plain.listeners[0]!, protocol: 'https' as const, certificates: ['0123456789abcdef'] };
  await expect(proxy.apply({ ...plain, listeners: [missing] })).rejects.toThrow(/names certificate/);
  expect(await bodies()).toEqual(new Set(['second']));
});

test('one check of the main thread decides for all workers', async () => {
  const [alive, dead] = await Promise.all([named('alive'), named('dead')]);
  let probes = 0;
  const { proxy, client } = await start({
    targets: [alive.url, dead.url],
    workers: 2,
    check: { type: 'tcp', intervalMs: 100, timeoutMs: 500, healthyThreshold: 1, unhealthyThreshold: 1 },
    onHealth: () => probes++,
  });
  while (proxy.health().some(({ health }) => health !== 'alive')) await sleep(10);
  await dead.close();
  while (!proxy.health().some(({ health }) => health === 'dead')) await sleep(10);
  await sleep(100);
  const answers: string[] = [];
  for (let index = 0; index < 12; index++) {
    const peer = await client();
    peer.write(getAndClose());
    await peer.ended();
    answers.push(bodyOf(peer.text));
  }
  expect(new Set(answers)).toEqual(new Set(['alive']));
  expect(probes).toBe(3);
  expect(proxy.counters().retries).toBe(0);
});

test('a target that fails the requests of one worker rests in all of them', async () => {
  const [alive, dead] = await Promise.all([okOrigin(), named('dead')]);
  await dead.close();
  const { proxy, client } = await start({ targets: [alive.url, dead.url], workers: 2, workerModule });
  const [one, other] = [...(await workerPeers(client, 12)).values()] as [Peer[], Peer[]];
  const ask = async (peer: Peer): Promise<void> => {
    peer.write(get());
    await peer.has('\r\n\r\nok');
    peer.take();
  };
  for (let index = 0; index < 12; index++) await ask(one[0]!);
  await sleep(300);
  const { retries } = proxy.counters();
  expect(retries).toBeGreaterThanOrEqual(3);
  for (let index = 0; index < 12; index++) await ask(other[0]!);
  await sleep(300);
  expect(proxy.counters().retries).toBe(retries);
});

test('tickets of one worker resume on another, and certificates come through the main thread', async () => {
  const target = await okOrigin();
  const { port } = await start({
    targets: [target.url],
    workers: 2,
    workerModule,
    certificateIds: ['one'],
    certificates: (id) => (id === 'one' ? CERTIFICATES['a.test'] : undefined),
  });
  const ask = (session?: Buffer): Promise<{ worker: string; session: Buffer; resumed: boolean }> =>
    new Promise((resolve, reject) => {
      const socket = tls.connect({
        port,
        host: '127.0.0.1',
        servername: 'a.test',
        rejectUnauthorized: false,
        ...(session === undefined ? {} : { session }),
      });
      let ticket: Buffer = Buffer.alloc(0);
      let text = '';
      socket.on('session', (given: Buffer) => (ticket = given));
      socket.on('error', reject);
      let resumed = false;
      socket.on('secureConnect', () => {
        resumed = socket.isSessionReused();
        socket.write(getAndClose());
      });
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.on('close', () => resolve({ worker: workerOf(text), session: ticket, resumed }));
    });
  const first = await ask();
  expect(first.resumed).toBe(false);
  for (let attempt = 0; ; attempt++) {
    const next = await ask(first.session);
    expect(next.resumed).toBe(true);
    if (next.worker !== first.worker) break;
    expect(attempt).toBeLessThan(50);
  }
});

test('shared buckets and counts keep their limits for any number of keys', () => {
  const rates = new SharedRates(ratesBuffer());
  let now = 1_000_000n;
  const taken = (name: string): number => {
    let count = 0;
    while (rates.take(name, 1, 5, now) === 0) count++;
    return count;
  };
  expect([taken('a'), taken('b'), taken('a')]).toEqual([5, 5, 0]);
  expect(rates.take('a', 1, 5, now)).toBeCloseTo(1, 3);
  now += 2_000n;
  expect(taken('a')).toBe(2);
  // Far more keys than slots: nobody is refused for another's sake.
  for (let key = 0; key < 100_000; key++) expect(rates.take(`key ${key}`, 1, 1, now)).toBe(0);
  const buffer = countsBuffer(2);
  const [one, two] = [new SharedCounts(buffer, 0), new SharedCounts(buffer, 1)];
  expect([one.enter('x', 2), two.enter('x', 2), one.enter('x', 2)]).toEqual([true, true, false]);
  one.forget(1);
  expect([one.enter('x', 2), two.enter('x', 2)]).toEqual([true, false]);
  one.leave('x');
  expect(two.enter('x', 2)).toBe(true);
});
