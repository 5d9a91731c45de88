// Next hops from a real kernel in a namespace of the test: routes are copied, neighbours are asked for, packets wait for them, and the
// far end of the wire answers ARP by hand. The director's port is `packet`.
import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type Director, startDirector } from './director.ts';
import { referenceImage, referenceSyn } from '../test/director-fixture.ts';
import { silentLog } from './log.ts';
import { readDevice } from './port/device.ts';
import { type RawSocket, makeVeth, openRawSocket } from './port/rigs.ts';
import { enterNamespace } from './port/test-namespace.ts';

const namespace = enterNamespace();
const ip = (line: string): void => void execFileSync('ip', line.split(' '), { stdio: ['ignore', 'ignore', 'pipe'] });
const HOST_MAC = Buffer.from('0200000000bb', 'hex');
const HOST = '0aff000b';
let director: Director;
let wire: RawSocket;
let own: Buffer;
const seen: Buffer[] = [];

beforeAll(() => {
  if (!namespace.isInside) return;
  makeVeth('up0', 'up1', 1600);
  ip('addr add 10.255.0.1/24 dev up0');
  ip('route add default via 10.255.0.254');
});
afterAll(() => namespace.leave());
beforeEach(async (context) => {
  context.skip(!namespace.isInside, namespace.why);
  own = Buffer.from(readDevice('up0').mac);
  wire = openRawSocket('up1');
  seen.length = 0;
  // As a director leaves them that was killed.
  ip('route replace blackhole 203.0.113.99/32 proto 76');
  ip('-6 route replace blackhole 2001:db8::99/128 dev lo proto 76');
  director = await startDirector({
    id: 'ld1',
    device: 'up0',
    port: 'packet',
    flows: 1_024,
    plan: { portChunks: 256, maglevSlots: 65_536 },
    image: referenceImage(1),
    log: silentLog,
  });
});
afterEach(async () => {
  await director?.close();
  wire?.close();
  if (namespace.isInside) ip('neigh flush dev up0');
});

function look(): Buffer[] {
  seen.push(...wire.receive().map((frame) => Buffer.from(frame)));
  return seen;
}
const arpRequests = (address: string): Buffer[] =>
  look().filter(
    (frame) => frame.readUInt16BE(12) === 0x0806 && frame[21] === 1 && frame.toString('hex', 38, 42) === address,
  );
const tunnelled = (): Buffer[] => look().filter((frame) => frame.readUInt16BE(12) === 0x0800 && frame[23] === 47);

function answerArp(request: Buffer): void {
  const reply = Buffer.alloc(42);
  request.copy(reply, 0, 6, 12);
  HOST_MAC.copy(reply, 6);
  Buffer.from('08060001080006040002', 'hex').copy(reply, 12);
  HOST_MAC.copy(reply, 22);
  request.copy(reply, 28, 38, 42);
  request.copy(reply, 32, 22, 32);
  wire.send(reply);
}

function syn(): Buffer {
  const frame = Buffer.from(referenceSyn());
  own.copy(frame, 0);
  return frame;
}

test('a packet waits for its next hop, the kernel is asked for it, and the packet leaves when the answer comes', async () => {
  wire.send(syn());
  await vi.waitFor(() => expect(arpRequests(HOST).length).toBeGreaterThan(0));
  expect(tunnelled()).toEqual([]);
  expect(director.counters()['core.held']).toBe(1);
  answerArp(arpRequests(HOST)[0]!);
  await vi.waitFor(() => expect(tunnelled()).toHaveLength(1));
  expect(tunnelled()[0]!.toString('hex', 0, 12)).toBe(HOST_MAC.toString('hex') + own.toString('hex'));
  // From now on nothing waits.
  wire.send(syn());
  await vi.waitFor(() => expect(tunnelled()).toHaveLength(2));
  expect(director.counters()['core.held']).toBe(1);
});

test('four packets wait for a host that never answers, for a second; the rest and they are counted as lost', async () => {
  for (let count = 0; count < 6; count++) wire.send(syn());
  await vi.waitFor(() => expect(director.counters()['worker.heldExpired']).toBe(4), { timeout: 5_000 });
  expect(director.counters()['worker.heldOverflow']).toBe(2);
  expect(tunnelled()).toEqual([]);
});

test('the gateway of the default route is resolved before the first packet needs it', async () => {
  await vi.waitFor(() => expect(arpRequests('0aff00fe').length).toBeGreaterThan(0));
});

test('the kernel keeps silent about every address of ours and no others, and gets its routes back', async () => {
  const show = (family: string): string =>
    execFileSync('ip', [family, 'route', 'show', 'type', 'blackhole'], { encoding: 'utf8' });
  const routes = (): string => show('-4') + show('-6');
  expect(routes()).toContain('203.0.113.10 ');
  expect(routes()).not.toMatch(/203\.0\.113\.99|2001:db8::99/);
  wire.send(syn());
  await new Promise((resolve) => setTimeout(resolve, 100));
  const answers = look().filter((frame) => frame.readUInt16BE(12) === 0x0800 && frame.readUInt32BE(26) === 0xcb00710a);
  expect(answers).toEqual([]);
  await director.close();
  expect(routes()).not.toContain('203.0.113.10');
});
