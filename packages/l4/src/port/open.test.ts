// Which port `auto` gives, and what it says about those it could not give.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPort } from './open.ts';
import type { PortOptions } from './port.ts';
import { DEVICE, makeVeth, openCore, PEER, removeLink, roomOf } from './rigs.ts';
import { enterNamespace, refusalOf } from './test-namespace.ts';

const namespace = enterNamespace();
beforeAll(() => {
  if (namespace.isInside) makeVeth(DEVICE, PEER);
});
afterAll(() => namespace.leave());

const options = async (more: Partial<PortOptions>): Promise<PortOptions> => ({
  kind: 'auto',
  index: 0,
  device: DEVICE,
  room: roomOf(await openCore()),
  ...more,
});

test('auto gives the first kind that works and says why the ones before did not', async (context) => {
  context.skip(!namespace.isInside, namespace.why);
  const port = await openPort(await options({}));
  const isXdpOpen = refusalOf('xdp') === null;
  expect(port.kind).toBe(isXdpOpen ? 'xdp' : 'packet');
  expect(port.refused.map(({ kind }) => kind)).toEqual(isXdpOpen ? [] : ['xdp']);
  port.close();
});

test('a device whose MTU is too large for the chunks falls through xdp and packet, each with its reason', async (context) => {
  context.skip(!namespace.isInside, namespace.why);
  makeVeth('big-a', 'big-b', 9000);
  await expect(openPort(await options({ device: 'big-a' }))).rejects.toThrow(
    /xdp: MTU 9000 is too large.*packet: MTU 9000 is too large.*tun:/,
  );
  removeLink('big-a');
});

test('a device that does not exist is named, with what to do', async (context) => {
  context.skip(!namespace.isInside, namespace.why);
  await expect(openPort(await options({ kind: 'packet', device: 'nowhere' }))).rejects.toThrow(
    'there is no device \'nowhere\' here: look at "ip link"',
  );
});

test('a failed opening leaves nothing behind: the next one works', async (context) => {
  context.skip(!namespace.isInside || refusalOf('xdp') !== null, refusalOf('xdp') ?? namespace.why);
  const room = roomOf(await openCore());
  await expect(openPort(await options({ kind: 'xdp', queue: 7, room }))).rejects.toThrow(/queue 7/);
  const port = await openPort(await options({ kind: 'xdp', room }));
  expect(port.detail).toMatch(/^xdp (native|skb) (zero-copy|copy)$/);
  port.close();
});

test('a name that cannot be a device is refused before the kernel sees it', async () => {
  await expect(openPort(await options({ kind: 'packet', device: 'a-name-that-is-too-long' }))).rejects.toThrow(
    'is no device name',
  );
});
