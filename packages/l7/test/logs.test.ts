// Access and health logs (tencent-cloud.md E6): every variable on the wire, formats, rotation, syslog, and the queryable store.
import dgram from 'node:dgram';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOG_FIELDS } from '@openclb/model';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  type AccessRecord,
  createLogStore,
  createLogWriter,
  createProxy,
  createSyslogWriter,
  type HealthRecord,
  type LogStore,
  type LogStoreOptions,
} from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { getAndClose, okOrigin, origin, sleep, start, statusOf } from './kit.ts';

const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'clb-log-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
};
const until = async (isDone: () => boolean): Promise<void> => {
  for (let waited = 0; !isDone(); waited += 10) {
    if (waited > 3000) throw new Error('waited 3 s in vain');
    await sleep(10);
  }
};

const RECORD: AccessRecord = {
  time: Date.UTC(2026, 0, 2, 3, 4, 5),
  requestId: 'f'.repeat(32),
  loadBalancer: 'lb-1',
  listener: 'lbl-1',
  rule: 'loc-1',
  domain: '*.test',
  group: 'lbtg-1',
  remoteAddress: '198.51.100.7',
  remotePort: 40_000,
  vip: '203.0.113.10',
  vport: 80,
  scheme: 'http',
  version: '1.1',
  isTunnel: false,
  method: 'GET',
  host: 'A.test:80',
  target: '/x?y=1',
  userAgent: 'curl/8',
  referer: '',
  status: 200,
  failure: '',
  upstreamAddress: '10.0.0.1:8080',
  upstreamStatus: 200,
  attempts: 1,
  grpcStatus: -1,
  requestBytes: 100,
  responseBytes: 200,
  requestMs: 12.4,
  upstreamMs: 5,
  connectMs: 1,
  upstreamTotalMs: 11,
  connection: 3,
  connectionRequests: 2,
  tls: null,
};
const record = (changes: Partial<AccessRecord>): AccessRecord => ({ ...RECORD, ...changes });

describe('a line', () => {
  test('of a live request has a value for every variable that the platform can tell', async () => {
    const path = join(folder(), 'access.log');
    const writer = createLogWriter({ path, format: 'json' });
    const target = await okOrigin();
    const { ask } = await start({
      routes: [{ domain: 'a.test', path: '/', targets: [target.url] }],
      accessLog: writer.write,
    });
    await ask(getAndClose('/x?y', 'User-Agent: probe\r\nReferer: http://b.test/\r\n'));
    await ask('BAD\r\n\r\n');
    await writer.close();
    const [line, refused] = readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text) as Record<string, string | number>);
    expect(Object.keys(line!)).toEqual(Object.keys(LOG_FIELDS));
    expect(line).toMatchObject({
      protocol_type: 'HTTP',
      request: 'GET /x?y HTTP/1.1',
      uri: '/x',
      server_name: 'a.test',
      server_addr: '127.0.0.1',
      status: 200,
      upstream_status: 200,
      upstream_addr: `127.0.0.1:${target.port}`,
      http_user_agent: 'probe',
      http_referer: 'http://b.test/',
      connection: 1,
      connection_requests: 1,
      vip_vpcid: -1,
    });
    expect(line!['stgw_request_id']).toMatch(/^[0-9a-f]{32}$/);
    expect(line!['request_time']).toBeGreaterThanOrEqual(line!['upstream_header_time'] as number);
    expect(refused).toMatchObject({ status: 400, failure: 'bad-head', attempts: 0 });
  });

  test('of a custom format escapes what a client writes, and an unknown variable is refused', async () => {
    const path = join(folder(), 'access.log');
    const writer = createLogWriter({ path, format: '$remote_addr "$request" ${status}ms $http_referer' });
    writer.write(record({ target: '/"\n\u00e9' }));
    await writer.close();
    expect(readFileSync(path, 'utf8')).toBe('198.51.100.7 "GET /\\"\\x0A\\xE9 HTTP/1.1" 200ms -\n');
    expect(() => createLogWriter({ path, format: '$colour' })).toThrow(/\$colour is no variable/);
  });

  test('of a file that was renamed goes to a new file of the old name, without a signal', async () => {
    const path = join(folder(), 'access.log');
    const writer = createLogWriter({ path, flushMs: 10 });
    writer.write(RECORD);
    await until(() => statSync(path).size > 0);
    renameSync(path, `${path}.1`);
    await until(() => existsSync(path));
    writer.write(record({ status: 404 }));
    await until(() => statSync(path).size > 0);
    await writer.close();
    expect(readFileSync(`${path}.1`, 'utf8')).toContain(' 200 ');
    expect(readFileSync(path, 'utf8')).toContain(' 404 ');
  });

  test('goes to syslog as RFC 5424 says, by UDP and by a stream socket', async () => {
    const received: string[] = [];
    const server = dgram.createSocket('udp4').on('message', (data) => received.push(data.toString()));
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const socketPath = join(folder(), 'log');
    const stream = net.createServer((socket) => socket.on('data', (data) => received.push(data.toString())));
    await new Promise<void>((resolve) => stream.listen(socketPath, resolve));
    onTestFinished(() => void stream.close());
    for (const to of [`127.0.0.1:${server.address().port}`, socketPath]) {
      const writer = createSyslogWriter({ to, format: '$status', flushMs: 5 });
      await sleep(20);
      writer.write(RECORD);
      await writer.close();
    }
    await until(() => received.length === 2);
    for (const message of received) {
      expect(message.trimEnd()).toMatch(/^<190>1 2026-01-02T03:04:05\.000Z \S+ clb \d+ access - 200$/);
    }
  });
});

async function open(options: Partial<LogStoreOptions> = {}): Promise<LogStore> {
  const store = await createLogStore({ path: ':memory:', flushMs: 10, ...options });
  onTestFinished(() => store.close());
  return store;
}

describe('the store', () => {
  test('answers queries with all their operators, newest first', async () => {
    const store = await open();
    for (let index = 0; index < 10; index++) {
      const status = index % 2 === 0 ? 200 : 502;
      store.write(
        record({ time: 1000 + index, status, target: `/api/${index}?q`, host: index < 5 ? 'A.test' : 'b.test' }),
      );
    }
    const uris = async (where: string): Promise<unknown[]> => {
      const { rows, error } = await store.query({ where });
      expect(error).toBeUndefined();
      return rows.map(({ uri }) => uri);
    };
    expect(await uris('status>=500 and domain=a.test')).toEqual(['/api/3', '/api/1']);
    expect(await uris("path ~ 'API/9' or (status=200 and not host = b.test and path != /api/0)")).toEqual([
      '/api/9',
      '/api/4',
      '/api/2',
    ]);
    expect(await uris('path in (/api/7, "/api/8") and method not in (POST)')).toEqual(['/api/8', '/api/7']);
    expect((await store.query({ since: 1003, until: 1005 })).rows.map(({ _at }) => _at)).toEqual([1004, 1003]);
    expect((await store.query({ limit: 3 })).rows).toHaveLength(3);
    expect(Object.keys((await store.query({ limit: 1 })).rows[0]!).slice(2)).toEqual(Object.keys(LOG_FIELDS));
  });

  test('takes nothing of a query for SQL, and says where one is wrong', async () => {
    const store = await open();
    store.write(record({ host: "x' OR 1=1 --" }));
    expect((await store.query({ where: `host = "x' or 1=1 --"` })).rows).toHaveLength(1);
    expect((await store.query({ where: `host = "'; DROP TABLE access; --"` })).rows).toHaveLength(0);
    expect((await store.query({})).rows).toHaveLength(1);
    await expect(store.query({ where: 'status >= 500 nd 1' })).rejects.toThrow(
      'column 15: expected and, or or the end',
    );
    await expect(store.query({ where: 'colour = red' })).rejects.toThrow('column 1: colour is no field');
    await expect(store.query({ where: 'status = high' })).rejects.toThrow('column 10: high is not a number');
    await expect(store.query({ where: 'not (status = 1' })).rejects.toThrow('column 16: expected )');
    await expect(store.query({ where: '('.repeat(40) })).rejects.toThrow('nested deeper');
  });

  test('goes on behind the last row for a reader that follows', async () => {
    const store = await open();
    store.write(record({ status: 200 }));
    const { last } = await store.query({ limit: 1 });
    store.write(record({ status: 201 }));
    store.write(record({ status: 202 }));
    const next = await store.query({ after: last, where: 'status > 201' });
    expect(next.rows.map(({ status }) => status)).toEqual([202]);
    expect((await store.query({ after: next.last })).rows).toEqual([]);
  });

  test('lets the oldest rows go by age and by size, and the file shrinks', async () => {
    const path = join(folder(), 'log.sqlite');
    const store = await open({ path, keepMs: 60_000, bytesMax: 300_000 });
    store.write(record({ time: Date.now() - 120_000, status: 299 }));
    const target = `/${'x'.repeat(1000)}`;
    for (let index = 0; index < 1000; index++) store.write(record({ time: Date.now(), target, attempts: index }));
    await expect.poll(async () => (await store.query({ where: 'status=299' })).rows.length, { timeout: 6000 }).toBe(0);
    await expect.poll(async () => (await store.query({ where: 'attempts<100' })).rows.length).toBe(0);
    expect((await store.query({ limit: 1 })).rows[0]).toMatchObject({ attempts: 999 });
    await expect.poll(() => statSync(path).size).toBeLessThan(600_000);
    expect(store.lost()).toBe(0);
  }, 15_000);

  test('loses rows, counted, rather than grow when it cannot keep up', async () => {
    const store = await open({ flushMs: 60_000 });
    // All of it before the thread can answer once.
    for (let index = 0; index < 70_000; index++) store.write(RECORD);
    expect(store.lost()).toBe(70_000 - 65_536);
    expect((await store.query({ limit: 1 })).lost).toBe(70_000 - 65_536);
  });

  test('that cannot be opened says so, and does not take the process along', async () => {
    await expect(createLogStore({ path: '/nonexistent/log.sqlite' })).rejects.toThrow(/unable to open/);
  });
});

test('a listener logs the share that its policy says, and every failure', async () => {
  const records: AccessRecord[] = [];
  const target = await origin((head, peer) => {
    const status = head.startsWith('GET /bad') ? '503 No' : '200 OK';
    peer.write(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`);
  });
  const image = await imageOf({ listen: 0, targets: [target.url] });
  image.listeners[0]!.policy = { accessLogShare: 0 };
  const proxy = await createProxy({
    bind: 'vips',
    accessLog: (one) => void records.push(one),
    limits: { drainMs: 50 },
  });
  onTestFinished(() => proxy.close());
  await proxy.apply(image);
  const { port } = proxy.addresses()[0]!;
  const responses: string[] = [];
  for (const path of ['/ok', '/bad', '/ok'])
    responses.push(String((await fetch(`http://127.0.0.1:${port}${path}`)).status));
  expect(responses).toEqual(['200', '503', '200']);
  expect(records.map(({ target: path }) => path)).toEqual(['/bad']);
});

test('a verdict on a target is told once for each rule, and the store keeps it', async () => {
  const records: HealthRecord[] = [];
  const store = await open();
  const target = await okOrigin();
  const check = {
    type: 'tcp',
    intervalMs: 100,
    timeoutMs: 100,
    healthyThreshold: 1,
    unhealthyThreshold: 1,
  } as const;
  const { ask } = await start({
    routes: [{ domain: 'a.test', path: '/x', targets: [target.url] }],
    check,
    healthLog: (one) => {
      records.push(one);
      store.health(one);
    },
  });
  await until(() => records.length === 1);
  expect(statusOf(await ask(getAndClose('/x')))).toBe(200);
  await target.close();
  await until(() => records.length === 2);
  expect(records.map(({ isAlive, domain, path, port }) => [isAlive, domain, path, port])).toEqual([
    [true, 'a.test', '/x', target.port],
    [false, 'a.test', '/x', target.port],
  ]);
  const { rows } = await store.query({ kind: 'health', where: 'status = false' });
  expect(rows).toMatchObject([{ rsip: '127.0.0.1', rsport: target.port, domain: 'a.test', vpcid: -1 }]);
});
