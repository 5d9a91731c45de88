// Which destinations are taken away from the kernel: for steering and for blackhole routes.
import { type DirectorImage } from '@openclb/model';
import { expect, test } from 'vitest';
import { createKernelGuard } from './kernel-guard.ts';
import { silentLog } from './log.ts';
import { ourAddresses, ourSources, steerChanges } from './ours.ts';
import { Steer } from './port/port.ts';

const image = {
  vips: [
    { net: 0, address: '203.0.113.10' },
    { net: 100, address: '10.0.0.100' },
  ],
  eips: [{ eip: '203.0.113.50' }],
  tunnels: [
    { node: 'ld1', worker: 0, v4: '10.254.1.1' },
    { node: 'ld2', worker: 0, v4: '10.254.2.1', v6: 'fd00:254::2' },
  ],
  anycast: { v4: '10.254.0.1' },
  probe: { v4: '100.64.16.1' },
} as unknown as DirectorImage;

test('VIPs, EIPs, every tunnel address of the cluster, E and the probe address are ours; internal VIPs are not on the underlay', () => {
  expect([...ourAddresses(image).keys()]).toEqual([
    '203.0.113.10',
    '203.0.113.50',
    '10.254.1.1',
    '10.254.2.1',
    'fd00:254::2',
    '10.254.0.1',
    '100.64.16.1',
  ]);
});

test('replies of targets without tunnel are ours by their source, but not what is for the machine itself', () => {
  const group = (id: string, target: string) => ({ id, targets: [{ target, weight: 10 }] });
  const listener = (name: string, translation: string) => ({ translation, group: name });
  const plain = {
    ...image,
    listeners: [listener('nat', 'dnat'), listener('tunnel', 'dnat'), listener('direct', 'none')],
    groups: [group('nat', 'a'), group('tunnel', 'b'), group('direct', 'c')],
    targets: [
      { id: 'a', address: '10.9.0.2', encapsulation: 'none' },
      { id: 'b', address: '10.9.0.3', encapsulation: 'ipip' },
      { id: 'c', address: '10.9.0.4', encapsulation: 'none' },
    ],
  } as unknown as DirectorImage;
  const steered = ourSources(plain, ['10.9.0.1']);
  expect([steered.get('10.9.0.2'), steered.get('10.9.0.1')]).toEqual([Steer.Source, Steer.Kernel]);
  expect([steered.has('10.9.0.3'), steered.has('10.9.0.4')]).toEqual([false, false]);
  const multicast = steerChanges(new Map(), steered).filter((row) => row.bits !== 128);
  expect(multicast.map((row) => [row.prefix[0] === 0xff ? 'v6' : 'v4', row.bits])).toEqual([
    ['v4', 100],
    ['v6', 8],
  ]);
  expect(ourSources({ ...plain, targets: plain.targets.slice(1) }, ['10.9.0.1']).size).toBe(0);
});

test('only differences are steered, and what is gone goes back to the kernel', () => {
  const before = ourAddresses(image);
  const after = ourAddresses({ ...image, eips: [], vips: [...image.vips, { net: 0, address: '203.0.113.11' }] });
  expect(steerChanges(before, before)).toEqual([]);
  const rows = steerChanges(before, after).map((row) => [row.prefix.slice(12).join('.'), row.bits, row.protocols]);
  expect(rows).toEqual([
    ['203.0.113.11', 128, Steer.All],
    ['203.0.113.50', 128, 0],
  ]);
});

test('the kernel gets a blackhole for each of them, and its routes back at the end', async () => {
  const batches: string[][] = [];
  const guard = await createKernelGuard({
    log: silentLog,
    run: async (commands) => void batches.push([...commands]),
    sysctls: [],
    leftOver: async () => [],
  });
  await guard.set(new Map([['203.0.113.10', 15]]));
  await guard.set(new Map([['fd00:254::2', 15]]));
  await guard.close();
  expect(batches).toEqual([
    ['route replace blackhole 203.0.113.10/32 proto 76'],
    ['-6 route replace blackhole fd00:254::2/128 dev lo proto 76', 'route del blackhole 203.0.113.10/32 proto 76'],
    ['-6 route del blackhole fd00:254::2/128 dev lo proto 76'],
  ]);
});

test('routes that could not be set are tried again with the next image', async () => {
  const batches: string[][] = [];
  let fails = true;
  const run = async (commands: readonly string[]): Promise<void> => {
    batches.push([...commands]);
    if (fails) throw new Error('ip is missing');
  };
  const guard = await createKernelGuard({ log: silentLog, run, sysctls: [], leftOver: async () => [] });
  await guard.set(new Map([['203.0.113.10', 15]]));
  fails = false;
  await guard.set(new Map([['203.0.113.10', 15]]));
  expect(batches).toHaveLength(2);
  expect(batches[1]).toEqual(batches[0]);
});

test('what a killed director has left blackholed and is ours no more is given back', async () => {
  const batches: string[][] = [];
  const guard = await createKernelGuard({
    log: silentLog,
    run: async (commands) => void batches.push([...commands]),
    leftOver: async () => ['203.0.113.10', '203.0.113.11'],
    sysctls: [],
  });
  await guard.set(new Map([['203.0.113.10', 15]]));
  expect(batches).toEqual([['route del blackhole 203.0.113.11/32 proto 76']]);
});
