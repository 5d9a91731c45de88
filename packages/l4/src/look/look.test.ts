// What `clb ld` shows of a whole director over a memory port: the packets are sent by the test, so it knows what must be there.
import { type LookFlow, type LookListener } from '@openclb/model';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { SYN, complete, referenceImage } from '../../test/director-fixture.ts';
import { type Director, startDirector } from '../director.ts';
import { silentLog } from '../log.ts';
import { endpointMatch } from './filter.ts';

let director: Director;

beforeAll(async () => {
  director = await startDirector({
    id: 'ld1',
    device: 'memory',
    port: 'memory',
    flows: 4_096,
    plan: { portChunks: 256, maglevSlots: 65_536 },
    nextHops: { mac: '02:00:00:00:00:fe' },
    log: silentLog,
    image: referenceImage(1),
  });
  director.deliver(Array.from({ length: 5 }, (_, index) => synFrom(40_000 + index)));
  await vi.waitUntil(() => director.counters()['core.flowsActive'] === 5, { timeout: 5_000, interval: 5 });
});
afterAll(() => director.close());

function synFrom(port: number): Buffer {
  const frame = Buffer.from(SYN);
  frame.writeUInt16BE(port, 34);
  return complete(frame);
}

const flows = async (filter = {}, more = {}): Promise<{ rows: LookFlow[]; next: number | null }> => {
  const { rows, next, error } = await director.look({ what: 'flows', filter, ...more });
  if (error !== undefined) throw new Error(error);
  return { rows: rows as unknown as LookFlow[], next };
};

test('a flow is shown with its client, VIP, target, state and packets', async () => {
  const { rows, next } = await flows({ client: '198.51.100.1' });
  expect(next).toBeNull();
  expect(rows).toHaveLength(5);
  expect(rows[0]).toMatchObject({
    protocol: 'tcp',
    client: '198.51.100.1',
    vip: '203.0.113.10',
    vport: 80,
    target: '10.0.0.2',
    targetPort: 8080,
    state: 'SynSeen',
    packetsIn: 1,
    packetsOut: 0,
  });
  expect(rows.map((row) => row.clientPort).sort()).toEqual([40_000, 40_001, 40_002, 40_003, 40_004]);
  expect(rows[0]!.ageMs).toBeLessThan(60_000);
});

test('pages go on where the last one ended, and together they are the whole table', async () => {
  const seen: number[] = [];
  let pages = 0;
  for (let cursor: number | null = 0; cursor !== null && pages < 10; pages++) {
    const { rows, next } = await flows({}, { cursor, limit: 2 });
    expect(rows.length).toBeLessThanOrEqual(2);
    seen.push(...rows.map((row) => row.clientPort));
    cursor = next;
  }
  expect(pages).toBe(3);
  expect(seen.sort()).toEqual([40_000, 40_001, 40_002, 40_003, 40_004]);
});

test.each([
  [{ client: '198.51.100.0/24' }, 5],
  [{ client: '198.51.101.0/24' }, 0],
  [{ vip: '203.0.113.10:80' }, 5],
  [{ vip: '203.0.113.10:81' }, 0],
  [{ target: '10.0.0.2' }, 5],
  [{ target: '10.0.0.3' }, 0],
  [{ state: 'established' }, 0],
  [{ state: 'synseen', protocol: 'tcp' as const }, 5],
  [{ protocol: 'udp' as const }, 0],
])('the filter %j finds %i flows', async (filter, count) => {
  expect((await flows(filter)).rows).toHaveLength(count);
});

test('a filter that is no address is refused with what is wrong about it', async () => {
  expect((await director.look({ what: 'flows', filter: { client: 'nobody' } })).error).toContain('nobody');
  expect((await director.look({ what: 'flows', filter: { client: '10.0.0.0/33' } })).error).toContain('0 to 32');
});

test('addresses with and without a port are understood in both families', () => {
  expect(endpointMatch('[2001:db8::1]:80')('2001:db8::1', 80)).toBe(true);
  expect(endpointMatch('[2001:db8::1]:80')('2001:db8::1', 81)).toBe(false);
  expect(endpointMatch('2001:db8::1')('2001:db8:0::1', 81)).toBe(true);
  expect(endpointMatch('192.0.2.1')('192.0.2.1', 9)).toBe(true);
});

test('the list has the listener with its targets, and counts flows and packets', async () => {
  const { rows } = await director.look({ what: 'listeners' });
  const [listener] = rows as unknown as LookListener[];
  expect(listener).toMatchObject({ vip: '203.0.113.10', vport: 80, protocol: 'tcp', packetsIn: 5, flowsCreated: 5 });
  expect(listener!.targets).toMatchObject([
    { address: '10.0.0.2', port: 8080, forward: 'Gre', weight: 10, active: 0, inactive: 5, packetsIn: 5 },
  ]);
});

test('tunnels, routes, neighbours, targets and counters are there', async () => {
  const rowsOf = async (what: 'tunnels' | 'routes' | 'neighbours' | 'targets' | 'counters'): Promise<unknown[]> =>
    (await director.look({ what })).rows;
  expect(await rowsOf('tunnels')).toEqual([
    { kind: 'own', name: 'ld1/0', addresses: ['10.254.1.1'], targets: 0 },
    { kind: 'host', name: 'host1', addresses: ['10.255.0.11'], targets: 1 },
  ]);
  expect(await rowsOf('routes')).toContainEqual(expect.objectContaining({ prefix: '0.0.0.0/0', resolved: true }));
  expect(await rowsOf('neighbours')).toMatchObject([{ mac: '02:00:00:00:00:fe', device: 'memory' }]);
  expect(await rowsOf('targets')).toMatchObject([{ name: 'tgt-a', listeners: 1 }]);
  expect(await rowsOf('counters')).toContainEqual({ name: 'core.flowsActive', value: 5 });
});
