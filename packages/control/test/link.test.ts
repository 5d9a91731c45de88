// The node link over real HTTP: images go out within milliseconds, refusals and reconnects are seen, questions find their answers.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canonicalJson, type FromNode, type Image, LINK_VERSION, type ToNode } from '@openclb/model';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JOIN_TOKEN, sampleConfig, startTestController, type TestController } from './cluster.ts';

let controller: TestController;
let port = 0;
const open: FakeNode[] = [];
beforeEach(async () => {
  controller = await startTestController({ leaseMs: 15_000 });
  await controller.app.listen({ host: '127.0.0.1', port: 0 });
  port = (controller.app.server.address() as AddressInfo).port;
});
afterEach(async () => {
  for (const node of open.splice(0)) node.close();
  await controller.app.close();
});

interface FakeNode {
  readonly messages: ToNode[];
  readonly status: Promise<number>;
  /** The first message, past or future, that satisfies the predicate. */
  next<T extends ToNode['type']>(
    type: T,
    holds?: (message: Extract<ToNode, { type: T }>) => boolean,
  ): Promise<Extract<ToNode, { type: T }>>;
  say(message: FromNode): Promise<number>;
  readonly ended: Promise<void>;
  close(): void;
}

/** A node made of node:http alone, so that the controller meets a stranger on the wire. */
function connect(id: string, role = 'director', token = JOIN_TOKEN): FakeNode {
  const messages: ToNode[] = [];
  const wakers = new Set<() => void>();
  let rest = '';
  let resolveStatus = (_status: number): void => {};
  let resolveEnd = (): void => {};
  const status = new Promise<number>((resolve) => (resolveStatus = resolve));
  const ended = new Promise<void>((resolve) => (resolveEnd = resolve));
  const stream = request(
    { port, path: `/link/v1/nodes/${id}/stream?role=${role}`, headers: { authorization: `Bearer ${token}` } },
    (response) => {
      resolveStatus(response.statusCode ?? 0);
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (response.statusCode === 200) messages.push(JSON.parse(line) as ToNode);
        for (const wake of wakers) wake();
      });
      response.on('close', () => resolveEnd());
    },
  );
  stream.on('error', () => resolveEnd());
  stream.end();
  const node: FakeNode = {
    messages,
    status,
    ended,
    next(type, holds = () => true) {
      return new Promise((resolve) => {
        const look = (): void => {
          const found = messages.find((message) => message.type === type && holds(message as never));
          if (!found) return;
          wakers.delete(look);
          resolve(found as never);
        };
        wakers.add(look);
        look();
      });
    },
    say: (message) => post(`/link/v1/nodes/${id}/messages`, message, token),
    close: () => void stream.destroy(),
  };
  open.push(node);
  return node;
}

function post(path: string, body: unknown, token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const call = request({ port, path, method: 'POST', headers }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    call.on('error', reject);
    call.end(JSON.stringify(body));
  });
}

const applied = ({ image, hash }: { image: Image; hash: string }): FromNode => ({
  version: LINK_VERSION,
  type: 'applied',
  generation: image.generation,
  hash,
});
const nodeStatus = async (id: string) =>
  (await controller.call('GET', '/status')).body.nodes.find((node: { id: string }) => node.id === id);

test('a change reaches a connected node in a fraction of a second, and status waits for its acknowledgement', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  const first = await node.next('image');
  await node.say(applied(first));
  const startedAt = performance.now();
  const { body } = await controller.call('POST', '/load-balancers', { name: 'late', vips: ['203.0.113.77'] });
  const waiting = controller.call('GET', `/status?wait=${body.revision}&timeoutMs=5000`);
  const second = await node.next('image', ({ image }) => image.generation.revision >= body.revision);
  const tookMs = performance.now() - startedAt;
  await node.say(applied(second));
  expect((await waiting).body).toMatchObject({ applied: true, revision: body.revision });
  expect(tookMs).toBeLessThan(1_000);
  expect(second.image.role === 'director' && second.image.vips.some(({ address }) => address === '203.0.113.77')).toBe(
    true,
  );
  expect(await nodeStatus('ld1')).toMatchObject({ live: true, connected: true, applied: { revision: body.revision } });
});

test('the hash is the SHA-256 of the canonical image', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const { image, hash } = await connect('px1', 'proxy').next('image');
  expect(hash).toBe(createHash('sha256').update(canonicalJson(image)).digest('hex'));
});

test('status does not wait longer than asked, and names who is missing', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  await node.next('image');
  const { body } = await controller.call('GET', '/status?wait=1&timeoutMs=50');
  expect(body.applied).toBe(false);
  expect(body.tasks.at(-1)).toMatchObject({ state: 'running', waitingFor: ['ld1'] });
  expect(body.tasks.at(-1).excluded).toContain('ld2');
});

test('with no node alive a change succeeds, with a warning', async () => {
  const { body } = await controller.call('PUT', '/config', sampleConfig());
  const status = (await controller.call('GET', `/status?wait=${body.revision}&timeoutMs=5000`)).body;
  expect(status.applied).toBe(true);
  expect(status.warnings.join()).toMatch(/no node is live/);
});

test('a refused image is shown with its reason, and a later one that is applied clears it', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  const { image, hash } = await node.next('image');
  await node.say({
    version: LINK_VERSION,
    type: 'refused',
    generation: image.generation,
    hash,
    reason: 'listeners: unknown field',
  });
  expect((await nodeStatus('ld1')).refused).toMatchObject({ reason: 'listeners: unknown field' });
  expect((await controller.call('GET', '/status')).body.tasks.at(-1)).toMatchObject({
    state: 'failed',
    reason: 'ld1: listeners: unknown field',
  });
  const { body } = await controller.call('POST', '/load-balancers', { name: 'late' });
  await node.say(applied(await node.next('image', (message) => message.image.generation.revision >= body.revision)));
  expect((await nodeStatus('ld1')).refused).toBeNull();
});

test('a node that connects before it is registered gets its image the moment it is', async () => {
  const node = connect('ld1');
  expect(await node.status).toBe(200);
  expect(node.messages).toEqual([]);
  await controller.call('PUT', '/config', sampleConfig());
  expect((await node.next('image')).image).toMatchObject({ role: 'director', self: { id: 'ld1' } });
});

test('a node that reconnects gets the newest image at once, and its older stream ends', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const first = connect('ld1');
  await first.next('image');
  const { body } = await controller.call('POST', '/load-balancers', { name: 'late' });
  const second = connect('ld1');
  expect((await second.next('image')).image.generation.revision).toBe(body.revision);
  await first.ended;
  await second.say({ version: LINK_VERSION, type: 'alive', port: 'xdp', applied: null, hash: null });
  expect(await nodeStatus('ld1')).toMatchObject({ connected: true, port: 'xdp' });
});

test('a node whose stream ends is no longer waited for after a few seconds', async () => {
  let nowMs = 1_000_000_000_000;
  await controller.app.close();
  controller = await startTestController({ nowMs: () => nowMs });
  await controller.app.listen({ host: '127.0.0.1', port: 0 });
  port = (controller.app.server.address() as AddressInfo).port;
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  await node.next('image');
  node.close();
  for (let attempt = 0; attempt < 100 && (await nodeStatus('ld1')).connected; attempt++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  expect(await nodeStatus('ld1')).toMatchObject({ live: true, connected: false });
  nowMs += 3_001;
  expect(await nodeStatus('ld1')).toMatchObject({ live: false });
});

test('explain is answered by a director, and a silent one is named after two seconds', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld2');
  await node.next('image');
  const query = {
    protocol: 'tcp',
    source: '198.51.100.10',
    sourcePort: 40_000,
    destination: '203.0.113.10',
    destinationPort: 80,
  } as const;
  const asked = controller.call('POST', '/explain', query);
  const question = await node.next('explain');
  expect(question.query).toEqual(query);
  const answer = {
    node: 'ld2',
    generation: { revision: 1, compiler: 1 },
    verdict: 'forward',
    reason: 'Ok',
    steps: [{ step: 'parse', text: 'TCP', data: { bytes: 60 } }],
  };
  await node.say({ version: LINK_VERSION, type: 'explained', request: question.request, answer });
  expect((await asked).body).toEqual(answer);
  expect((await controller.call('POST', '/explain', { ...query, node: 'ld1' })).body.code).toBe('NoNodeToAsk');
  expect((await controller.call('POST', '/explain', { ...query, node: 'ld9' })).body.code).toBe('NodeUnknown');
  expect((await controller.call('POST', '/explain', query)).body).toMatchObject({ code: 'NodeTimeout', status: 504 });
});

test('counters come from every connected node, or from one', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  await node.next('image');
  const asked = controller.call('GET', '/counters');
  const { request: id } = await node.next('counters');
  await node.say({ version: LINK_VERSION, type: 'counted', request: id, counters: { 'forwarded.packets': 7 } });
  expect((await asked).body).toEqual({ items: [{ node: 'ld1', counters: { 'forwarded.packets': 7 } }] });
});

test('a table is looked at through the link, and a filter that the director refuses is a bad query', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  await node.next('image');
  const query = { what: 'flows', filter: { client: '198.51.100.0/24' }, cursor: 0, limit: 10 } as const;
  const asked = controller.call('POST', '/look', query);
  const question = await node.next('look');
  expect(question.query).toEqual(query);
  const answer = { node: 'ld1', rows: [{ client: '198.51.100.1' }], next: 7 };
  await node.say({ version: LINK_VERSION, type: 'looked', request: question.request, answer });
  expect((await asked).body).toEqual(answer);
  const again = controller.call('POST', '/look', { what: 'flows', filter: { client: 'x' } });
  const { request: id } = await node.next('look', ({ query: { filter } }) => filter?.client === 'x');
  const refusal = { node: 'ld1', rows: [], next: null, error: '"x" is not an IPv4 or IPv6 address' };
  await node.say({ version: LINK_VERSION, type: 'looked', request: id, answer: refusal });
  expect((await again).body).toMatchObject({ status: 400, detail: expect.stringContaining('"x" is not') });
  expect((await controller.call('POST', '/look', { what: 'flows', node: 'px1' })).body).toMatchObject({ status: 400 });
});

test('a drain reaches its director and shows in the status, until a director without it comes', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const node = connect('ld1');
  await node.next('image');
  expect(await nodeStatus('ld1')).toMatchObject({ draining: false });
  const asked = controller.call('PUT', '/nodes/ld1/drain', { draining: true });
  const { request: id, draining } = await node.next('drain');
  expect(draining).toBe(true);
  const answer = { node: 'ld1', draining: true, flows: 3 };
  await node.say({ version: LINK_VERSION, type: 'drained', request: id, answer });
  expect((await asked).body).toEqual(answer);
  expect(await nodeStatus('ld1')).toMatchObject({ draining: true });
  await node.say({ version: LINK_VERSION, type: 'alive', draining: true, applied: null, hash: null });
  expect(await nodeStatus('ld1')).toMatchObject({ draining: true });
  await node.say({ version: LINK_VERSION, type: 'alive', applied: null, hash: null });
  expect(await nodeStatus('ld1')).toMatchObject({ draining: false });
});

test('health is the majority view of live nodes, the worse one at a tie, and Unknown before any report', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const [one, two] = [connect('ld1'), connect('ld2')];
  const { image } = await one.next('image');
  await two.next('image');
  const rows =
    image.role === 'director'
      ? image.targets.filter(({ address }) => address === '10.0.0.2' || address === '10.0.0.3')
      : [];
  const [row] = rows;
  const stateOf = async (): Promise<string> => {
    const { items } = (await controller.call('GET', '/health')).body;
    return items.find(({ target }: { target: string }) => target === row?.name).state;
  };
  expect(await stateOf()).toBe('Unknown');
  const report = (state: 'alive' | 'dead'): FromNode => ({
    version: LINK_VERSION,
    type: 'health',
    reports: [{ target: row?.id ?? '', group: '', state }],
  });
  await one.say(report('alive'));
  expect(await stateOf()).toBe('Alive');
  await two.say(report('dead'));
  expect(await stateOf()).toBe('Dead');
});

test('strangers are turned away: no token, an API key, a wrong role, a message of another version', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  expect(await connect('ld1', 'director', 'wrong').status).toBe(401);
  expect(await connect('ld1', 'director', 'test-api-key').status).toBe(401);
  expect(await connect('ld1', 'proxy').status).toBe(400);
  const path = '/link/v1/nodes/ld1/messages';
  expect(await post(path, { version: LINK_VERSION, type: 'alive', applied: null, hash: null }, 'wrong')).toBe(401);
  for (const body of [
    { version: 99, type: 'alive' },
    { version: LINK_VERSION, type: 'nonsense' },
    [],
    'x',
    { version: LINK_VERSION, type: 'alive', applied: null, hash: null, extra: 1 },
  ]) {
    expect(await post(path, body, JOIN_TOKEN)).toBe(400);
  }
});

test('announcements have an ETag, and only what directors serve is in them', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const headers = { authorization: `Bearer ${JOIN_TOKEN}` };
  await new Promise((resolve) => setTimeout(resolve, 50));
  const first = await controller.app.inject({ url: '/v1/announcements', headers });
  expect(
    first.json().addresses.map(({ address, kind }: { address: string; kind: string }) => `${kind} ${address}`),
  ).toEqual([
    'vip 2001:db8:cb::10',
    'vip 203.0.113.10',
    'vip 203.0.113.20',
    'eip 198.18.0.9',
    'anycast 10.254.0.1',
    'anycast fd7c:6c61::1',
  ]);
  const etag = String(first.headers['etag']);
  expect(
    (await controller.app.inject({ url: '/v1/announcements', headers: { ...headers, 'if-none-match': etag } }))
      .statusCode,
  ).toBe(304);
  await controller.call('POST', '/load-balancers', { name: 'late' });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(
    (await controller.app.inject({ url: '/v1/announcements', headers: { ...headers, 'if-none-match': etag } }))
      .statusCode,
  ).toBe(200);
});

test('a controller that restarts on its file serves the same images, the last good fragment of a broken load balancer included', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'openclb-control-'));
  const store = join(folder, 'desired.sqlite');
  const first = await startTestController({ store });
  await first.call('PUT', '/config', sampleConfig());
  await new Promise((resolve) => setTimeout(resolve, 50));
  const vips = (app: typeof first.app) => {
    const image = app.publisher.imageOf('ld1')?.image;
    return image?.role === 'director' ? image.listeners : [];
  };
  const before = vips(first.app);
  const { items } = (await first.call('GET', '/load-balancers')).body;
  await first.app.close();
  const { openSqliteStore } = await import('../src/index.ts');
  const raw = openSqliteStore({ path: store, nowMs: Date.now });
  await raw.commit([], [{ type: 'put', key: `d/lb/${items[0].id}`, value: '{"from":"the future"}' }]);
  await raw.close();
  const second = await startTestController({ store });
  expect(vips(second.app)).toEqual(before);
  const flagged = (await second.call('GET', '/status')).body.loadBalancers.filter(
    ({ compiled }: { compiled: boolean }) => !compiled,
  );
  expect(flagged.map(({ id }: { id: string }) => id)).toEqual([items[0].id]);
  await second.app.close();
  rmSync(folder, { recursive: true });
});
