// The plugin contract with its two examples: a layer-7 filter and a scheduler.
import { expect, test } from 'vitest';
import { maintenancePlugin } from './examples/maintenance-filter.ts';
import { mysqlRouterPlugin } from './examples/mysql-router.ts';
import { twoChoicesPlugin } from './examples/two-choices-scheduler.ts';
import { createPluginHost, definePlugin, type FilterRequest, type FilterResponse } from './plugin.ts';

const request = (target: string): FilterRequest => ({
  method: 'GET',
  target,
  host: 'a.example',
  headers: [],
  client: { address: '198.51.100.1', port: 40_000 },
  listener: 'lbl-a',
});
const silent = { onError: (): void => {} };
const flow = (sourcePort: number) => ({
  source: '198.51.100.1',
  sourcePort,
  destination: '203.0.113.10',
  destinationPort: 80,
  listener: 'lbl-a',
});

test('a filter answers by itself under its prefix and lets everything else pass', async () => {
  const host = await createPluginHost([maintenancePlugin({ prefix: '/shop', retryAfterSeconds: 30 })], silent);
  const [filter] = host.extensions('filter');
  expect(await filter?.request?.(request('/shop/cart'))).toMatchObject({
    status: 503,
    headers: [['retry-after', '30']],
  });
  expect(await filter?.request?.(request('/'))).toBeUndefined();
  const response: FilterResponse = { status: 200, headers: [] };
  await filter?.response?.(response, request('/'));
  expect(response.headers).toEqual([['x-served-by', 'openclb']]);
});

test('the scheduler gives a flow the same target twice and never one of weight 0', async () => {
  const host = await createPluginHost([twoChoicesPlugin()], silent);
  const [scheduler] = host.extensions('scheduler');
  const candidates = [
    { target: 'a', weight: 10, active: 0 },
    { target: 'b', weight: 0, active: 0 },
    { target: 'c', weight: 10, active: 0 },
  ];
  const picks = Array.from({ length: 500 }, (_, port) => scheduler?.pick(flow(port), candidates));
  expect(new Set(picks)).toEqual(new Set([0, 2]));
  expect(scheduler?.pick(flow(7), candidates)).toBe(picks[7]);
});

test('the scheduler prefers the less busy one of its two choices', async () => {
  const host = await createPluginHost([twoChoicesPlugin()], silent);
  const [scheduler] = host.extensions('scheduler');
  const candidates = [
    { target: 'a', weight: 10, active: 1000 },
    { target: 'b', weight: 10, active: 0 },
  ];
  const picks = Array.from({ length: 1000 }, (_, port) => scheduler?.pick(flow(port), candidates));
  expect(picks.filter((index) => index === 1).length).toBeGreaterThan(600);
});

test('a plugin that fails in setup is left out whole, and those around it stay', async () => {
  const errors: string[] = [];
  const broken = definePlugin({
    name: 'broken',
    setup(api) {
      api.add('filter', { name: 'half' });
      throw new Error('no licence');
    },
  });
  const host = await createPluginHost([broken, maintenancePlugin({ prefix: '/', retryAfterSeconds: 1 })], {
    onError: (plugin) => errors.push(plugin),
  });
  expect(host.extensions('filter').map(({ name }) => name)).toEqual(['maintenance']);
  expect(errors).toEqual(['broken']);
});

test('the example of a MySQL router takes the first route that fits', async () => {
  const plugin = mysqlRouterPlugin([
    { user: 'report', targetGroup: 'lbtg-replica' },
    { schema: 'archive', targetGroup: 'lbtg-archive' },
  ]);
  const [router] = (await createPluginHost([plugin], silent)).extensions('mysqlRouter');
  const login = { attributes: {}, client: { address: '192.0.2.1', port: 1 }, listener: 'db' };
  const routes = [
    router?.route({ ...login, user: 'report', schema: 'archive' }),
    router?.route({ ...login, user: 'alice', schema: 'archive' }),
    router?.route({ ...login, user: 'alice', schema: '' }),
  ];
  expect(routes).toEqual(['lbtg-replica', 'lbtg-archive', undefined]);
});

test('an extension that throws is reported and answered with the alternative', async () => {
  const errors: string[] = [];
  const host = await createPluginHost([], { onError: (plugin) => errors.push(plugin) });
  const answer = host.guard({ name: 'bad' }, -1, () => {
    throw new Error('bug');
  });
  expect([answer, errors]).toEqual([-1, ['bad']]);
});

test('plugins are closed in reverse order, each even when another fails to close', async () => {
  const order: string[] = [];
  const plugin = (name: string, fails = false) =>
    definePlugin({
      name,
      setup: (api) =>
        api.onClose(() => {
          order.push(name);
          if (fails) throw new Error('stuck');
        }),
    });
  const host = await createPluginHost([plugin('first'), plugin('second', true), plugin('third')], silent);
  await host.close();
  expect(order).toEqual(['third', 'second', 'first']);
});
