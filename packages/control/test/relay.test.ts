// Listeners with `relay`: they end on proxies where directors would forward them, and what does not fit is refused.
import type { Config, Image } from '@openclb/model';
import { afterEach, expect, test } from 'vitest';
import { JOIN_TOKEN, sampleConfig, startTestController, type TestController } from './cluster.ts';

const open: TestController[] = [];
afterEach(async () => {
  for (const { app } of open.splice(0)) await app.close();
});

async function start(): Promise<TestController> {
  const made = await startTestController();
  open.push(made);
  return made;
}

/** The image that the change has led to; it is compiled a few milliseconds after the answer. */
async function imageOf<R extends Image['role']>(app: TestController['app'], node: string, role: R) {
  const { revision } = app.controller.mirror.state;
  for (let left = 100; left > 0; left--) {
    const image = app.publisher.imageOf(node)?.image;
    if (image?.role === role && image.generation.revision >= revision) return image as Extract<Image, { role: R }>;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`no image of ${node}`);
}

const targets = [{ vpc: 100, address: '10.0.0.2', port: 3306 }];

function config(listener: object): Config {
  const sample = sampleConfig();
  const targetGroups = [{ id: 'lbtg-archive', name: 'archive', targets: [{ ...targets[0]!, port: 3307 }] }];
  const healthCheck = { type: 'mysql' };
  const listeners = [{ protocol: 'TCP', port: 3300, targets, healthCheck, ...listener }];
  return { ...sample, targetGroups, loadBalancers: [{ name: 'db', vips: ['203.0.113.30'], listeners }] } as Config;
}

test('a TCP listener with relay leads directors to the proxies and proxies to the targets', async () => {
  const { app, call } = await start();
  const relay = { proxyProtocol: 'v2', mysql: { targetGroups: ['lbtg-archive'] } };
  const answer = await call('PUT', '/config', config({ relay, idleSeconds: 60 }));
  expect(answer.body).toMatchObject({ revision: expect.any(Number) });
  const proxy = await imageOf(app, 'px1', 'proxy');
  const director = await imageOf(app, 'ld1', 'director');
  const [row] = proxy.listeners;
  expect(row).toMatchObject({ protocol: 'tcp', relay, idleSeconds: 60, scheduler: 'wrr' });
  expect(row!.mysqlGroups).toEqual([
    { name: 'lbtg-archive', group: proxy.groups.find(({ name }) => name === 'lbtg-archive')!.id },
  ]);
  expect(proxy.groups.map(({ check }) => check.type)).toContain('mysql');
  expect(director.listeners).toMatchObject([{ vport: 3300, translation: 'none', directReturn: true }]);
  expect((await call('DELETE', '/target-groups/lbtg-archive')).body.code).toBe('ResourceInUse');
});

test('without relay directors forward, and their mysql checks are handshakes', async () => {
  const { app, call } = await start();
  await call('PUT', '/config', config({}));
  const image = await imageOf(app, 'ld1', 'director');
  expect(image.listeners).toMatchObject([{ translation: 'dnat', directReturn: false }]);
  expect(image.groups.map(({ check }) => check.type)).not.toContain('mysql');
});

test.each([
  [{ protocol: 'UDP', relay: { proxyProtocol: 'v1' }, healthCheck: {} }, /v1 knows no datagrams/],
  [{ protocol: 'UDP', relay: { mysql: { targetGroups: ['lbtg-archive'] } } }, /is for TCP listeners/],
  [{ relay: { mysql: { targetGroups: ['lbtg-nowhere'] } } }, /lbtg-nowhere/],
  [{ relay: { allow: ['10.0.0.1/8'] } }, /allow/],
])('a relay that does not fit is refused: %j', async (listener, reason) => {
  const { call } = await start();
  const { status, body } = await call('PUT', '/config', config(listener));
  expect(status).toBeGreaterThanOrEqual(400);
  expect(JSON.stringify(body)).toMatch(reason);
});

test('a target group is told to clients that hold the join token, and again when it has changed', async () => {
  const { app, call } = await start();
  await call('PUT', '/config', config({}));
  const ask = (query: string) =>
    app.inject({ url: `/link/v1/services/lbtg-archive?${query}`, headers: { authorization: `Bearer ${JOIN_TOKEN}` } });
  const first = (await ask('vpc=100')).json() as { tag: string };
  expect(first).toMatchObject({ targets: [{ address: '10.0.0.2', port: 3307, weight: 10 }], check: { type: 'tcp' } });
  expect((await ask('')).json()).toMatchObject({ targets: [] });
  const waiting = ask(`vpc=100&tag=${first.tag}`);
  await call('PUT', '/target-groups/lbtg-archive/targets', {
    targets: [{ vpc: 100, address: '10.0.0.3', port: 3307 }],
  });
  expect((await waiting).json()).toMatchObject({ targets: [{ address: '10.0.0.3' }] });
  expect((await app.inject({ url: '/link/v1/services/lbtg-archive' })).statusCode).toBe(401);
});
