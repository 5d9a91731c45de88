// Which forwarding modes a listener may have with which targets (acceptance A146–A149), and what of it reaches directors and endpoints.
import type { Config, Image } from '@openclb/model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sampleConfig, startTestController, type TestController } from './cluster.ts';

let controller: TestController;
// Each test puts a whole document, so all of them use one controller.
beforeAll(async () => {
  controller = await startTestController();
});
afterAll(async () => controller.app.close());

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

const SERVER = '192.0.2.50';
const VIP = '203.0.113.30';

function config(listener: object, nodes: object[] = []): Config {
  const sample = sampleConfig();
  return {
    ...sample,
    nodes: [...(sample.nodes ?? []), ...nodes],
    loadBalancers: [{ name: 'modes', vips: [VIP], listeners: [{ protocol: 'TCP', port: 80, ...listener }] }],
  } as Config;
}

const physical = (encapsulation: string, port = 80) => [{ physical: SERVER, encapsulation, port }];

test.each([
  ['LVS-NAT', { targets: physical('none', 8080) }, 'dnat', 'none', false],
  ['LVS-DR', { targets: physical('l2') }, 'none', 'l2', true],
  ['LVS-TUN', { targets: physical('ipip'), translation: 'none' }, 'none', 'ipip', true],
  ['TGW-physical', { targets: physical('ipip', 8080) }, 'dnat', 'ipip', false],
  ['full NAT', { targets: physical('none', 8080), translation: 'fullnat' }, 'fullnat', 'none', false],
] as const)('%s', async (_name, listener, translation, encapsulation, directReturn) => {
  const { app, call } = controller;
  expect((await call('PUT', '/config', config(listener))).body).toMatchObject({ revision: expect.any(Number) });
  const image = await imageOf(app, 'ld1', 'director');
  expect(image.listeners).toMatchObject([{ translation, directReturn }]);
  expect(image.targets.filter(({ address }) => address === SERVER)).toMatchObject([{ encapsulation }]);
});

test.each([
  [{ targets: physical('l2', 8080) }, /keep the listener's port 80; use dnat/],
  [{ targets: physical('ipip', 8080), translation: 'none' }, /keep the listener's port 80; use dnat/],
  [{ targets: physical('none'), translation: 'none' }, /use l2 on the same link, or ipip/],
  [{ targets: physical('l2'), translation: 'dnat' }, /needs translation none or auto/],
  [{ targets: physical('l2'), translation: 'fullnat' }, /needs translation none or auto/],
  [{ targets: [{ vpc: 100, address: '10.0.0.2', port: 80 }], translation: 'none' }, /is in a VPC/],
])('what cannot work is refused with the reason: %j', async (listener, reason) => {
  const { call } = controller;
  const { status, body } = await call('PUT', '/config', config(listener));
  expect(status).toBe(400);
  expect(JSON.stringify(body)).toMatch(reason);
});

test('schedulers and stickiness reach the directors', async () => {
  const { app, call } = controller;
  const listener = { targets: physical('none'), scheduler: 'least-connections', stickySeconds: 300 };
  expect((await call('PUT', '/config', config(listener))).body).toMatchObject({ revision: expect.any(Number) });
  const image = await imageOf(app, 'ld1', 'director');
  expect(image.listeners).toMatchObject([{ scheduler: 'least-connections', stickySeconds: 300 }]);
  const refused = await call('PUT', '/config', config({ ...listener, relay: {} }));
  expect([refused.status, JSON.stringify(refused.body)]).toMatchObject([400, expect.stringMatching(/stickySeconds/)]);
});

test('in LVS-TUN the endpoint of a server takes the VIP as an address of its machine', async () => {
  const { app, call } = controller;
  const node = { id: 'phys9', role: 'endpoint', underlay: { v4: SERVER }, physical: [SERVER] };
  await call('PUT', '/config', config({ targets: physical('ipip'), translation: 'none' }, [node]));
  expect((await imageOf(app, 'phys9', 'endpoint')).localVips).toEqual([VIP]);
  await call('PUT', '/config', config({ targets: physical('ipip') }, [node]));
  expect((await imageOf(app, 'phys9', 'endpoint')).localVips).toEqual([]);
});
