// The tables follow a real kernel in a namespace of the test.
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, beforeEach, afterEach, expect, test } from 'vitest';
import { enterNamespace } from '../port/test-namespace.ts';
import { type KernelTables, openKernelTables } from './kernel-tables.ts';

const namespace = enterNamespace();
const ip = (line: string): string => execFileSync('ip', line.split(' '), { encoding: 'utf8' });
const v4 = (text: string): Uint8Array =>
  Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...text.split('.').map(Number));
let tables: KernelTables;

beforeAll(() => {
  if (!namespace.isInside) return;
  ip('link add u0 type veth peer name u1');
  ip('link set u0 mtu 1600 up');
  ip('link set u1 mtu 1600 up');
  ip('addr add 10.255.0.1/24 dev u0');
  ip('route add 198.51.100.0/24 via 10.255.0.254 dev u0 mtu 1400');
  ip('route add blackhole 203.0.113.10/32');
  ip('route add default via 10.255.0.253 dev u0');
  ip('-6 addr add fd00:1::1/64 dev u0 nodad');
  ip('-6 route add fd00:2::/64 via fd00:1::99 dev u0');
});
afterAll(() => namespace.leave());
beforeEach((context) => {
  context.skip(!namespace.isInside, namespace.why);
  tables = openKernelTables();
});
afterEach(() => tables?.close());

const deviceOf = (name: string): number => [...tables.links.values()].find((link) => link.name === name)?.index ?? -1;

/** Waits until the notifications have said so. */
async function expectSoon(isTrue: () => boolean): Promise<void> {
  const end = performance.now() + 3_000;
  while (!isTrue() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(isTrue()).toBe(true);
}

test('links tell name, MTU, link address and whether they are up', () => {
  const link = tables.links.get(deviceOf('u0'));
  expect(link).toMatchObject({ name: 'u0', mtu: 1600, isUp: true });
  expect([...(link?.mac ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':')).toBe(
    /link\/ether (\S+)/.exec(ip('link show u0'))?.[1],
  );
});

test('the next hop is the gateway of the longest prefix, with the MTU of the route', () => {
  expect(tables.nextHop(v4('198.51.100.7'))).toEqual({
    device: deviceOf('u0'),
    address: v4('10.255.0.254'),
    mtu: 1400,
  });
  expect(tables.nextHop(v4('10.255.0.77'))).toEqual({ device: deviceOf('u0'), address: v4('10.255.0.77'), mtu: 0 });
});

test('a blackhole of our own is looked through', () => {
  expect(tables.nextHop(v4('203.0.113.10'))?.address).toEqual(v4('10.255.0.253'));
});

test('IPv6 routes are there as well', () => {
  const destination = Uint8Array.of(0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5);
  const gateway = Uint8Array.of(0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99);
  expect(tables.nextHop(destination)).toEqual({ device: deviceOf('u0'), address: gateway, mtu: 0 });
});

test('addresses tell their device and prefix length', () => {
  expect(tables.addresses()).toContainEqual({ device: deviceOf('u0'), address: v4('10.255.0.1'), bits: 120 });
});

test('a new route and a removed one are noticed without asking again', async () => {
  const seen = new Set<string>();
  tables.onChange((kinds) => kinds.forEach((kind) => seen.add(kind)));
  ip('route add 192.0.2.0/24 via 10.255.0.252 dev u0');
  await expectSoon(() => tables.nextHop(v4('192.0.2.1'))?.address[15] === 252);
  ip('route replace 192.0.2.0/24 via 10.255.0.251 dev u0');
  await expectSoon(() => tables.nextHop(v4('192.0.2.1'))?.address[15] === 251);
  ip('route del 192.0.2.0/24');
  await expectSoon(() => tables.nextHop(v4('192.0.2.1'))?.address[15] === 253);
  expect(seen.has('route')).toBe(true);
});

test('a neighbour that the kernel knows is known, and forgotten when it goes', async () => {
  ip('neigh add 10.255.0.9 lladdr 02:00:00:00:00:09 dev u0 nud reachable');
  await expectSoon(() => tables.mac(deviceOf('u0'), v4('10.255.0.9'))?.[5] === 9);
  ip('neigh del 10.255.0.9 dev u0');
  await expectSoon(() => tables.mac(deviceOf('u0'), v4('10.255.0.9')) === null);
});

test('asking for a neighbour makes the kernel look for it, once or for ever', async () => {
  for (const managed of [false, true]) {
    const address = v4(managed ? '10.255.0.31' : '10.255.0.30');
    tables.resolve(deviceOf('u0'), address, { managed });
    const text = managed ? '10.255.0.31' : '10.255.0.30';
    await expectSoon(() => ip('neigh show dev u0').includes(text));
  }
  expect(ip('neigh show dev u0')).toMatch(/10\.255\.0\.31 .*managed/);
});

test('a flood of changes that overruns the socket ends with the right tables', async () => {
  const lines = Array.from(
    { length: 3000 },
    (_, i) => `route add 172.16.${i >> 8}.${i & 255}/32 via 10.255.0.254 dev u0`,
  );
  execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
  await expectSoon(() => tables.routes().length >= 3000);
  expect(tables.nextHop(v4('172.16.11.183'))?.address).toEqual(v4('10.255.0.254'));
  execFileSync('ip', ['route', 'flush', 'root', '172.16.0.0/12']);
  await expectSoon(() => tables.nextHop(v4('172.16.11.183'))?.address[15] === 253);
});
