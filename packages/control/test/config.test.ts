// PUT /v1/config: transactional, idempotent, and careful about identity.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sampleConfig, startTestController, type TestController } from './cluster.ts';

let controller: TestController;
beforeEach(async () => {
  controller = await startTestController();
});
afterEach(async () => controller.app.close());

const revision = async (): Promise<number> => (await controller.call('GET', '/status')).body.revision;

test('applying a document twice changes nothing the second time, not even the revision', async () => {
  const first = await controller.call('PUT', '/config', sampleConfig());
  expect(first.status).toBe(200);
  expect(first.body.created.length).toBeGreaterThan(15);
  const second = await controller.call('PUT', '/config', sampleConfig());
  expect(second.body).toMatchObject({ created: [], updated: [], deleted: [], revision: first.body.revision });
});

test('a changed weight updates one group and keeps every id', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const before = (await controller.call('GET', '/target-groups')).body.items;
  const changed = sampleConfig();
  changed.loadBalancers![0]!.listeners![0]!.targets![0]!.weight = 30;
  const { body } = await controller.call('PUT', '/config', changed);
  expect([body.created, body.updated.length, body.deleted]).toEqual([[], 1, []]);
  const after = (await controller.call('GET', '/target-groups')).body.items;
  const ids = (groups: { targets: { id: string }[] }[]): string[] =>
    groups.flatMap(({ targets }) => targets.map(({ id }) => id));
  expect(ids(after)).toEqual(ids(before));
});

test('the same document gives the same ids on another controller', async () => {
  const other = await startTestController();
  const [one, two] = [
    await controller.call('PUT', '/config', sampleConfig()),
    await other.call('PUT', '/config', sampleConfig()),
  ];
  expect(two.body.created).toEqual(one.body.created);
  await other.app.close();
});

test('two load balancers may swap their VIPs within one document', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const swapped = sampleConfig();
  swapped.loadBalancers![0]!.vips = ['203.0.113.20'];
  swapped.loadBalancers![1]!.vips = ['203.0.113.10'];
  const { status, body } = await controller.call('PUT', '/config', swapped);
  expect([status, body.updated.length, body.created, body.deleted]).toEqual([200, 2, [], []]);
  const { items } = (await controller.call('GET', '/load-balancers')).body;
  const vips = Object.fromEntries(items.map(({ name, vips: list }: { name: string; vips: string[] }) => [name, list]));
  expect(vips).toEqual({ web: ['203.0.113.20'], other: ['203.0.113.10'] });
});

test('a section that is absent is left alone, one that is present is the whole truth', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const { loadBalancers } = sampleConfig();
  const { body } = await controller.call('PUT', '/config', { loadBalancers: [loadBalancers![0]] });
  expect(body.created).toEqual([]);
  expect(body.deleted.map((id: string) => id.split('-')[0]).sort()).toEqual(['lb', 'lbl', 'lbtg']);
  expect((await controller.call('GET', '/instances')).body.items).toHaveLength(3);
});

test('a document with one mistake changes nothing at all and names the place', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const before = await revision();
  const wrong = sampleConfig();
  wrong.loadBalancers![0]!.name = 'renamed';
  wrong.loadBalancers![1]!.listeners![0]!.port = 3306;
  const { status, body } = await controller.call('PUT', '/config', wrong);
  expect([status, body.code, body.field]).toEqual([
    400,
    'ReservedPort',
    '/loadBalancers/other/listeners/TCP 80/port'.replace('TCP 80', 'TCP 3306'),
  ]);
  expect(await revision()).toBe(before);
  expect(
    (await controller.call('GET', '/load-balancers')).body.items.map(({ name }: { name: string }) => name),
  ).toContain('web');
});

test('an object that something still uses cannot be left out of the document', async () => {
  await controller.call('PUT', '/config', sampleConfig());
  const { status, body } = await controller.call('PUT', '/config', { vpcs: [{ id: 100 }] });
  expect([status, body.code]).toEqual([409, 'ResourceInUse']);
});

test('an allocated VIP stays with its load balancer when others come and go', async () => {
  const first = { loadBalancers: [{ name: 'a' }, { name: 'b' }] };
  await controller.call('PUT', '/config', first);
  const vipsOf = async (): Promise<Record<string, string>> => {
    const { items } = (await controller.call('GET', '/load-balancers')).body;
    return Object.fromEntries(items.map(({ name, vips }: { name: string; vips: string[] }) => [name, vips[0]]));
  };
  const before = await vipsOf();
  await controller.call('PUT', '/config', { loadBalancers: [{ name: 'z' }, { name: 'b' }] });
  const after = await vipsOf();
  expect(after['b']).toBe(before['b']);
  expect(after['z']).toBe(before['a']);
});
