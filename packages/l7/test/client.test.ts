// The client-side balancer: real servers, fetch of Node itself and undici, and what happens when targets die under requests.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Balancer, type BalancerOptions, createBalancer, fromDns, listed } from '../src/client/index.ts';
import { decodeAnswer, encodeQuestion } from '../src/client/dns/message.ts';
import type { ServiceTarget, SourceEvents, TargetSource } from '../src/client/index.ts';
import { dnsServer } from './dns-kit.ts';
import { origin, sleep } from './kit.ts';

const CHECK = { type: 'tcp', intervalMs: 100, timeoutMs: 100, healthyThreshold: 1, unhealthyThreshold: 1 } as const;

interface Web {
  readonly address: string;
  readonly port: number;
  readonly seen: string[];
  connections: number;
  close(): Promise<void>;
}

async function web(name: string, handle?: http.RequestListener): Promise<Web> {
  const seen: string[] = [];
  const server = http.createServer((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.headers.host}${incoming.url}`);
    if (handle) handle(incoming, response);
    else {
      const parts: Buffer[] = [];
      incoming.on('data', (part: Buffer) => parts.push(part));
      incoming.on('end', () => response.end(name + Buffer.concat(parts).toString()));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const made: Web = {
    address: `127.0.0.1:${port}`,
    port,
    seen,
    connections: 0,
    close: () => new Promise((resolve) => (server.close(() => resolve()), server.closeAllConnections())),
  };
  server.on('connection', () => made.connections++);
  onTestFinished(() => (server.listening ? made.close() : undefined));
  return made;
}

async function balancer(options: BalancerOptions): Promise<Balancer> {
  const made = await createBalancer(options);
  onTestFinished(() => made.destroy());
  return made;
}

/** `fetch` of Node with a dispatcher of the package: what applications do. */
async function text(dispatcher: Balancer, init: RequestInit = {}, url = 'http://orders.test/x?y'): Promise<string> {
  const response = await fetch(url, { ...init, dispatcher } as unknown as RequestInit);
  return response.text();
}

/** A source whose list the test changes. */
function changing(first: readonly ServiceTarget[]): TargetSource & { set(targets: readonly ServiceTarget[]): void } {
  let told: SourceEvents | undefined;
  return {
    name: 'test',
    start: async (events) => (told = events).targets({ targets: first }),
    close: () => {},
    set: (targets) => told!.targets({ targets }),
  };
}

const row = ({ port }: Web, weight = 1): ServiceTarget => ({ address: '127.0.0.1', port, weight });

describe('a client-side balancer', () => {
  test('serves fetch in proportion to the weights, names the host that was asked for and keeps connections', async () => {
    const [a, b] = [await web('a'), await web('b')];
    const dispatcher = await balancer({ source: listed([{ address: a.address, weight: 3 }, b.address]) });
    const answers: string[] = [];
    for (let index = 0; index < 8; index++) answers.push(await text(dispatcher));
    expect(answers.filter((answer) => answer === 'a')).toHaveLength(6);
    expect(new Set([...a.seen, ...b.seen])).toEqual(new Set(['GET orders.test/x?y']));
    // The body is read before undici has the connection back, so now and then the next request makes a second one.
    expect(a.connections + b.connections).toBeLessThan(8);
  });

  test('keeps a key on one target with maglev', async () => {
    const webs = await Promise.all(['a', 'b', 'c'].map((name) => web(name)));
    const dispatcher = await balancer({
      source: listed(webs.map(({ address }) => address)),
      scheduler: 'maglev',
      hashKey: ({ path }) => path,
    });
    const byPath = new Map<string, Set<string>>();
    for (let index = 0; index < 60; index++) {
      const path = `/user/${index % 20}`;
      const answer = await text(dispatcher, {}, `http://orders.test${path}`);
      byPath.set(path, (byPath.get(path) ?? new Set()).add(answer));
    }
    expect([...byPath.values()].every((answers) => answers.size === 1)).toBe(true);
    expect(new Set([...byPath.values()].flatMap((answers) => [...answers])).size).toBeGreaterThan(1);
  });

  test('repeats elsewhere what a refused connection never took, bodies of fetch included, and lets the target rest', async () => {
    const [dead, live] = [await web('dead'), await web('live ')];
    await dead.close();
    const dispatcher = await balancer({ source: listed([dead.address, live.address]), failWindowMs: 60_000 });
    for (let index = 0; index < 10; index++) {
      expect(await text(dispatcher, { method: 'POST', body: `body ${index}` })).toBe(`live body ${index}`);
    }
    // Three failures, then it rests and nobody knocks any more.
    expect(dispatcher.counters).toEqual({ requests: 10, retries: 3, failures: 3 });
  });

  test('repeats a GET that was cut off without an answer and never a POST', async () => {
    const cutting = await origin((_head, peer) => peer.socket.resetAndDestroy());
    const live = await web('live');
    const make = () =>
      balancer({ source: listed([`127.0.0.1:${cutting.port}`, live.address]), failuresMax: 0, scheduler: 'wrr' });
    const first = await make();
    expect(await Promise.all([text(first), text(first)])).toEqual(['live', 'live']);
    expect(first.counters.retries).toBe(1);
    const second = await make();
    const results = await Promise.allSettled(
      [1, 2].map(() => request('http://orders.test/', { method: 'POST', body: 'x', dispatcher: second })),
    );
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    for (const result of results) if (result.status === 'fulfilled') await result.value.body.dump();
    expect(second.counters.retries).toBe(0);
    expect(live.seen.filter((line) => line.startsWith('POST'))).toHaveLength(1);
  });

  test('does not repeat a response that broke off in the middle', async () => {
    const breaking = await origin((_head, peer) => {
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
      setTimeout(() => peer.socket.destroy(), 20);
    });
    const dispatcher = await balancer({ source: listed([`127.0.0.1:${breaking.port}`]) });
    await expect(text(dispatcher)).rejects.toThrow(/terminated|other side closed/);
    expect(breaking.peers).toHaveLength(1);
  });

  test('leaves a target that its health check finds dead and comes back to it', async () => {
    const [a, b] = [await web('a'), await web('b')];
    const verdicts: string[] = [];
    const dispatcher = await balancer({
      source: listed([a.address, b.address]),
      check: CHECK,
      onHealth: ({ target, health }) => verdicts.push(`${target} ${health}`),
    });
    await until(() => dispatcher.health().every(({ health }) => health === 'alive'));
    await b.close();
    await until(() => verdicts.includes(`${b.address} dead`));
    for (let index = 0; index < 6; index++) expect(await text(dispatcher)).toBe('a');
    expect(dispatcher.counters.retries).toBe(0);
    const again = http.createServer((_incoming, response) => response.end('back'));
    await new Promise<void>((resolve) => again.listen(b.port, '127.0.0.1', resolve));
    onTestFinished(() => (again.close(), again.closeAllConnections()));
    await until(() => dispatcher.health().every(({ health }) => health === 'alive'));
    expect([await text(dispatcher), await text(dispatcher)]).toContain('back');
  });

  test('lets a request of a removed target end and sends it no other', async () => {
    const held = Promise.withResolvers<http.ServerResponse>();
    const [a, b] = [await web('a', (_incoming, response) => held.resolve(response)), await web('b')];
    const source = changing([row(a)]);
    const dispatcher = await balancer({ source });
    const slow = text(dispatcher);
    const response = await held.promise;
    response.write('begun ');
    source.set([row(b)]);
    expect(await text(dispatcher)).toBe('b');
    response.end('and ended');
    expect(await slow).toBe('begun and ended');
    expect(a.seen).toHaveLength(1);
    source.set([row(b, 0)]);
    await expect(text(dispatcher)).rejects.toMatchObject({ cause: { code: 'NoTarget' } });
  });

  test('closes after what is in flight, refuses new requests, and destroys at once', async () => {
    const slow = await web('slow', (_incoming, response) => setTimeout(() => response.end('done'), 80));
    const first = await balancer({ source: listed([slow.address]) });
    const running = text(first);
    await sleep(20);
    const closed = first.close();
    await expect(text(first)).rejects.toMatchObject({ cause: { code: 'UND_ERR_CLOSED' } });
    expect(await running).toBe('done');
    await closed;
    const never = await web('never', () => {});
    const second = await balancer({ source: listed([never.address]) });
    const hanging = text(second);
    await until(() => never.seen.length === 1);
    await second.destroy();
    await expect(hanging).rejects.toThrow(/fetch failed/);
    await expect(text(second)).rejects.toMatchObject({ cause: { code: 'UND_ERR_DESTROYED' } });
  });

  test('blames no target for a request that its caller aborts', async () => {
    const never = await web('never', () => {});
    const dispatcher = await balancer({ source: listed([never.address]) });
    const abort = new AbortController();
    const hanging = text(dispatcher, { signal: abort.signal });
    await until(() => never.seen.length === 1);
    abort.abort();
    await expect(hanging).rejects.toThrow(/abort/i);
    expect(dispatcher.counters).toEqual({ requests: 1, retries: 0, failures: 0 });
  });

  test('is used by the example of the README', () => {
    const folder = fileURLToPath(new URL('..', import.meta.url));
    const example = readFileSync(join(folder, 'README.md'), 'utf8').match(
      /```js\n([^`]*createBalancer[\s\S]*?)```/,
    )?.[1];
    const args = ['--conditions=@openclb/source', '--input-type=module', '--eval', example ?? 'missing'];
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
  });

  test('refuses lists that are none', () => {
    expect(() => listed([])).toThrow(/at least one/);
    expect(() => listed(['orders.test:80'])).toThrow(/names are for dns/);
    expect(() => listed([{ address: '10.0.0.1:80', weight: 101 }])).toThrow(/weight/);
  });
});

describe('targets from DNS', () => {
  test('follow A and AAAA records and their TTL', async () => {
    const { zone, server } = await dnsServer({ 'CNAME orders.test': ['real.test'], 'A real.test': ['10.0.0.1'] });
    zone.ttl = 0;
    const told: string[][] = [];
    const source = fromDns({ name: 'orders.test', port: 8080, servers: [server], ttlMinMs: 30 });
    onTestFinished(() => source.close());
    const failures: Error[] = [];
    await source.start({
      targets: ({ targets }) => void told.push(targets.map(({ address, port }) => `${address} ${port}`)),
      failed: (error) => void failures.push(error),
    });
    expect(told).toEqual([['10.0.0.1 8080']]);
    zone.records.set('A real.test', ['10.0.0.1', '10.0.0.2']);
    zone.records.set('AAAA real.test', ['2001:db8:0:0:0:0:0:7']);
    await until(() => told.at(-1)!.length === 3);
    expect(told.at(-1)).toEqual(['10.0.0.1 8080', '10.0.0.2 8080', '2001:db8::7 8080']);
    const before = told.length;
    zone.code = 2;
    await until(() => failures.length > 0);
    expect(failures[0]!.message).toMatch(/cannot resolve A orders\.test: .* answered code 2/);
    expect(told.length - before).toBeLessThanOrEqual(1);
  });

  test('are not asked for again before their TTL is over', async () => {
    const { zone, server } = await dnsServer({ 'A orders.test': ['10.0.0.1'] });
    const source = fromDns({ name: 'orders.test', port: 1, servers: [server], ttlMinMs: 10 });
    onTestFinished(() => source.close());
    await source.start({ targets: () => {}, failed: () => {} });
    await sleep(150);
    expect(zone.questions.filter((question) => question.startsWith('A '))).toHaveLength(1);
  });

  test('take ports and weights of the best SRV records, over TCP when UDP is cut off, and serve requests', async () => {
    const [a, b] = [await web('a'), await web('b')];
    const { zone, server } = await dnsServer({
      'SRV _http._tcp.orders.test': [`10 300 ${a.port} one.test`, `10 100 ${b.port} two.test`, '20 1 9 far.test'],
      'A one.test': ['127.0.0.1'],
      'A two.test': ['127.0.0.1'],
    });
    zone.isTruncated = true;
    const dispatcher = await balancer({ source: fromDns({ name: '_http._tcp.orders.test', servers: [server] }) });
    expect(zone.questions).toContain('SRV _http._tcp.orders.test tcp');
    expect(zone.questions.join()).not.toContain('far.test');
    const answers: string[] = [];
    for (let index = 0; index < 133; index++) answers.push(await text(dispatcher));
    expect(answers.filter((answer) => answer === 'b')).toHaveLength(33);
  });

  test('reject a name that does not exist, with the name in the error', async () => {
    const { server } = await dnsServer({});
    await expect(
      createBalancer({ source: fromDns({ name: 'nobody.test', port: 1, servers: [server] }) }),
    ).rejects.toThrow(/nobody\.test has no A or AAAA record/);
  });

  test('are no prey of malformed messages', () => {
    const question = encodeQuestion(7, 'orders.test', 'A');
    expect(decodeAnswer(question, 7, 'orders.test', 'A')).toBeNull();
    const looping = Buffer.concat([
      question,
      Buffer.from([0xc0, question.length, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]),
    ]);
    looping.writeUInt16BE(0x8180, 2);
    looping.writeUInt16BE(1, 6);
    expect(decodeAnswer(looping, 7, 'orders.test', 'A')).toBeNull();
    looping.writeUInt8(12, question.length + 1);
    expect(decodeAnswer(looping, 7, 'orders.test', 'A')?.answers).toHaveLength(1);
    expect(decodeAnswer(looping, 8, 'orders.test', 'A')).toBeNull();
    expect(decodeAnswer(looping, 7, 'other.test', 'A')).toBeNull();
    for (let length = 0; length < looping.length; length++) {
      expect(decodeAnswer(looping.subarray(0, length), 7, 'orders.test', 'A')).toBeNull();
    }
    expect(() => encodeQuestion(1, 'a..b', 'A')).toThrow(/no DNS name/);
  });
});

async function until(isDone: () => boolean): Promise<void> {
  for (let left = 300; left > 0; left--) {
    if (isDone()) return;
    await sleep(10);
  }
  throw new Error('waited 3 s in vain');
}
