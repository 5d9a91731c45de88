// Which routes follow from who lives, and the announcer against workers that answer on real loopback sockets.
import { type Socket, createSocket } from 'node:dgram';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { type Announcements, type Liveness, createPulse, diffPlans, planRoutes, routeCommands } from './announce.ts';
import { HEARTBEAT_BYTES, HeartbeatStatus, setHeartbeatStatus } from './heartbeat.ts';
import { type SwitchAnnouncer, startSwitchAnnouncer } from './switch-announcer.ts';

const announcements: Announcements = {
  directors: [
    {
      id: 'ld2',
      underlay: { v4: '10.255.0.2', v6: 'fd00::2' },
      tunnels: [{ v4: '10.254.2.1' }],
      probe: { v4: '127.0.0.3' },
    },
    {
      id: 'ld1',
      underlay: { v4: '10.255.0.1', v6: 'fd00::1' },
      tunnels: [{ v4: '10.254.1.1' }],
      probe: { v4: '127.0.0.2' },
    },
  ],
  addresses: [
    { address: '203.0.113.10', kind: 'vip' },
    { address: '2001:db8::10', kind: 'vip' },
  ],
};
const states = (ld1: Liveness, ld2: Liveness) => (id: string) => (id === 'ld1' ? ld1 : ld2);

test('living directors share every VIP in one fixed order and own their tunnel addresses', () => {
  expect(Object.fromEntries(planRoutes(announcements, states('serving', 'serving')))).toEqual({
    '203.0.113.10': ['10.255.0.1', '10.255.0.2'],
    '2001:db8::10': ['fd00::1', 'fd00::2'],
    '10.254.1.1': ['10.255.0.1'],
    '127.0.0.2': ['10.255.0.1'],
    '10.254.2.1': ['10.255.0.2'],
    '127.0.0.3': ['10.255.0.2'],
  });
});

test('the tunnel address of a dead director moves with its VIPs, its probe address does not', () => {
  const plan = planRoutes(announcements, states('dead', 'serving'));
  expect(plan.get('203.0.113.10')).toEqual(['10.255.0.2']);
  expect(plan.get('10.254.1.1')).toEqual(['10.255.0.2']);
  expect(plan.get('127.0.0.2')).toEqual(['10.255.0.1']);
});

test('a draining director gets no VIPs and keeps its tunnel address', () => {
  const plan = planRoutes(announcements, states('draining', 'serving'));
  expect(plan.get('203.0.113.10')).toEqual(['10.255.0.2']);
  expect(plan.get('10.254.1.1')).toEqual(['10.255.0.1']);
});

test('when nobody lives the routes stay as they are, and a withdrawn address loses its route', () => {
  const before = planRoutes(announcements, states('serving', 'serving'));
  expect(diffPlans(before, planRoutes(announcements, states('dead', 'dead'))).size).toBe(0);
  const fewer = planRoutes({ ...announcements, addresses: [] }, states('serving', 'serving'));
  expect(routeCommands(diffPlans(before, fewer))).toEqual([
    'route del 203.0.113.10/32 proto 76',
    '-6 route del 2001:db8::10/128 proto 76',
  ]);
});

test('route commands name one gateway or several next hops', () => {
  const plan = planRoutes(announcements, states('serving', 'serving'));
  const commands = routeCommands(diffPlans(new Map(), plan));
  expect(commands).toContain('route replace 203.0.113.10/32 proto 76 nexthop via 10.255.0.1 nexthop via 10.255.0.2');
  expect(commands).toContain('-6 route replace 2001:db8::10/128 proto 76 nexthop via fd00::1 nexthop via fd00::2');
  expect(commands).toContain('route replace 10.254.1.1/32 proto 76 via 10.255.0.1');
});

test('three misses in a row kill, fewer do not, and three answers in a row revive', () => {
  const pulse = createPulse();
  const play = (text: string) => [...text].map((beat) => pulse.beat(beat === '+' ? 'serving' : null)).at(-1);
  expect(play('++')).toBe('dead');
  expect(play('+')).toBe('serving');
  expect(play('--+--')).toBe('serving');
  expect(play('-')).toBe('dead');
  expect(play('++-++')).toBe('dead');
  expect(play('+')).toBe('serving');
});

test('a director that says it leaves is dead at once', () => {
  const pulse = createPulse();
  for (let beat = 0; beat < 3; beat++) pulse.beat('serving');
  expect(pulse.beat('dead')).toBe('dead');
  expect(pulse.beat('serving')).toBe('dead');
});

const closing: Array<() => unknown> = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

interface FakeWorker {
  status: number;
  answers: boolean;
}

/** Stands where the packet worker of a director stands: on its probe address. */
async function fakeWorker(address: string, port: number): Promise<{ worker: FakeWorker; port: number }> {
  const worker: FakeWorker = { status: HeartbeatStatus.Serving, answers: true };
  const socket: Socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    if (!worker.answers) return;
    expect(message).toHaveLength(HEARTBEAT_BYTES);
    setHeartbeatStatus(new DataView(message.buffer, message.byteOffset), 0, worker.status);
    socket.send(message, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(port, address, resolve));
  closing.push(() => socket.close());
  return { worker, port: socket.address().port };
}

async function announce(
  more: Partial<Parameters<typeof startSwitchAnnouncer>[0]>,
): Promise<{ announcer: SwitchAnnouncer; commands: string[] }> {
  const commands: string[] = [];
  const announcer = await startSwitchAnnouncer({
    heartbeatMs: 20,
    applyRoutes: async (lines) => void commands.push(...lines),
    ...more,
  });
  closing.push(() => announcer.close());
  return { announcer, commands };
}

test('a director that stops answering is taken out and its tunnel address moves; when it answers again all is as before', async () => {
  const one = await fakeWorker('127.0.0.2', 0);
  const two = await fakeWorker('127.0.0.3', one.port);
  const { announcer, commands } = await announce({ announcements, port: one.port });
  await vi.waitFor(() => expect(announcer.routes()['203.0.113.10']).toEqual(['10.255.0.1', '10.255.0.2']));
  one.worker.answers = false;
  await vi.waitFor(() => expect(announcer.status()).toEqual({ ld1: 'dead', ld2: 'serving' }));
  await vi.waitFor(() => expect(announcer.routes()['203.0.113.10']).toEqual(['10.255.0.2']));
  expect(announcer.routes()['10.254.1.1']).toEqual(['10.255.0.2']);
  expect(commands).toContain('route replace 203.0.113.10/32 proto 76 via 10.255.0.2');
  one.worker.answers = true;
  two.worker.status = HeartbeatStatus.Draining;
  await vi.waitFor(() => expect(announcer.routes()['203.0.113.10']).toEqual(['10.255.0.1']));
  expect(announcer.routes()['10.254.2.1']).toEqual(['10.255.0.2']);
  two.worker.status = HeartbeatStatus.Leaving;
  await vi.waitFor(() => expect(announcer.routes()['10.254.2.1']).toEqual(['10.255.0.1']));
});

test('what to announce is learned from the controller, and its loss changes nothing', async () => {
  const { port } = await fakeWorker('127.0.0.2', 0);
  const server = createServer((request, response) => {
    expect(request.headers.authorization).toBe('Bearer key');
    response.end(JSON.stringify(announcements));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { announcer } = await announce({ controller: { url, token: 'key' }, refreshMs: 20, port });
  await vi.waitFor(() => expect(announcer.routes()['203.0.113.10']).toEqual(['10.255.0.1']));
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(announcer.routes()['203.0.113.10']).toEqual(['10.255.0.1']);
  expect(announcer.status()['ld1']).toBe('serving');
});

test('an address that is none never reaches a command line', async () => {
  const server = createServer((_, response) =>
    response.end(
      JSON.stringify({ directors: [], addresses: [{ address: '1.2.3.4\nroute del default', kind: 'vip' }] }),
    ),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => server.close());
  const warnings: string[] = [];
  const log = { debug() {}, info() {}, error() {}, warn: (data: object) => void warnings.push(JSON.stringify(data)) };
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { commands } = await announce({ controller: { url, token: 'key' }, log });
  await vi.waitFor(() => expect(warnings.join()).toContain('not an address'));
  expect(commands).toEqual([]);
});

test('routes of an earlier run stay until something is known, and then those of addresses that are gone are removed', async () => {
  const { port } = await fakeWorker('127.0.0.2', 0);
  const { announcer, commands } = await announce({ port, leftOver: async () => ['203.0.113.10', '203.0.113.99'] });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(commands).toEqual([]);
  announcer.update(announcements);
  await vi.waitFor(() => expect(commands).toContain('route del 203.0.113.99/32 proto 76'));
  expect(commands.some((line) => line.startsWith('route del 203.0.113.10/'))).toBe(false);
  await vi.waitFor(() => expect(announcer.routes()['203.0.113.10']).toEqual(['10.255.0.1']));
});
