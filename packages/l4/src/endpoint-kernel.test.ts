// What an endpoint tells `ip`, as commands: pure plans, and what changes between two images. Real kernels judge it in e2e.
import { type EndpointImage } from '@openclb/model';
import { expect, test } from 'vitest';
import { createEndpointKernel, kernelPlan } from './endpoint-kernel.ts';
import { ROUTE_PROTOCOL } from './ip-batch.ts';
import { silentLog } from './log.ts';

const IMAGE: EndpointImage = {
  role: 'endpoint',
  generation: { revision: 1, compiler: 1 },
  self: { id: 'px1', underlay: { v4: '10.255.0.5' } },
  tunnels: [],
  anycast: {},
  trusted: [],
  vms: [],
  physical: [],
  map: [],
  registered: [],
  internalVips: [],
  sources: [],
  localVips: [],
};
const adds = (image: EndpointImage, inside: string | null = 'clb-inside'): string[] =>
  [...kernelPlan(image, inside).steps.values()].map(({ add }) => add);

test('a host without targets of its own asks nothing of the kernel', () => {
  expect(adds(IMAGE, null)).toEqual([]);
  expect(kernelPlan(IMAGE, null).isLocalLate).toBe(false);
});

test('a VIP of a proxy becomes a local route, and no address of any device', () => {
  const commands = adds({ ...IMAGE, localVips: ['203.0.113.40', '2001:db8::40'] }, null);
  expect(commands).toEqual([
    `route replace local 203.0.113.40/32 dev lo proto ${ROUTE_PROTOCOL} table local`,
    `-6 route replace local 2001:db8::40/128 dev lo proto ${ROUTE_PROTOCOL} table local`,
  ]);
});

test('sources by VPC stand on lo, and what they send goes inside before the local table is asked', () => {
  const image = { ...IMAGE, sources: [{ net: 100, v4: '100.112.0.1', v6: 'fd7c:6c62:1:64::1' }] };
  expect(adds(image)).toEqual(
    expect.arrayContaining([
      'addr replace 100.112.0.1/32 dev lo',
      '-6 addr replace fd7c:6c62:1:64::1/128 dev lo nodad',
      'rule add pref 10 from 100.112.0.0/12 lookup 7261',
      '-6 rule add pref 10 from fd7c:6c62::/32 lookup 7261',
      `route replace default dev clb-inside proto ${ROUTE_PROTOCOL} table 7261`,
    ]),
  );
  expect(kernelPlan(image, 'clb-inside').isLocalLate).toBe(true);
});

test('only registered ports of this server itself are turned inside, after the local table', () => {
  const image: EndpointImage = {
    ...IMAGE,
    physical: ['10.255.0.15'],
    registered: [
      { net: 0, address: '10.255.0.15', port: 8080, protocol: 6 },
      { net: 0, address: '10.255.0.16', port: 8080, protocol: 6 },
      { net: 100, address: '10.255.0.15', port: 8081, protocol: 6 },
      { net: 0, address: '10.255.0.15', port: 53, protocol: 17 },
    ],
  };
  expect(adds(image).filter((line) => line.includes('rule'))).toEqual([
    'rule add pref 12000 from 10.255.0.15 ipproto tcp sport 8080 lookup 7261',
    'rule add pref 12000 from 10.255.0.15 ipproto udp sport 53 lookup 7261',
  ]);
  expect(kernelPlan(image, 'clb-inside').isLocalLate).toBe(false);
});

test('a second image changes what differs and nothing else; close undoes all', async () => {
  const said: string[][] = [];
  const kernel = createEndpointKernel({ log: silentLog, run: async (commands) => void said.push([...commands]) });
  await kernel.apply({ ...IMAGE, localVips: ['203.0.113.40', '203.0.113.41'] }, null);
  said.length = 0;
  await kernel.apply({ ...IMAGE, localVips: ['203.0.113.41', '203.0.113.42'] }, null);
  expect(said.flat()).toEqual([
    `route del local 203.0.113.40/32 dev lo proto ${ROUTE_PROTOCOL} table local`,
    `route replace local 203.0.113.42/32 dev lo proto ${ROUTE_PROTOCOL} table local`,
  ]);
  said.length = 0;
  await kernel.close();
  expect(said.flat().sort()).toEqual([
    `route del local 203.0.113.41/32 dev lo proto ${ROUTE_PROTOCOL} table local`,
    `route del local 203.0.113.42/32 dev lo proto ${ROUTE_PROTOCOL} table local`,
  ]);
});
