// Questions between directors (data-plane.md P8, P9, P16): the packet itself goes to the peers, the one that has the flow forwards it and
// tells it, the others drop it; who gets no answer is reset. Between real cores; nothing is mocked.
import { expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, keyIs, portsAre, sourceIs } from '../../../tools/testkit/expect.ts';
import { type DirectorTables, SyncTable } from '../src/index.ts';
import {
  CLIENT,
  DIRECTOR_MAC,
  type DirectorUnderTest,
  HOST1,
  HOST2,
  type Outcome,
  SWITCH_MAC,
  T1,
  T2,
  TABLES,
  VIP,
  VM_A1,
  VM_A2,
  director,
  id,
  outcome,
  targetSlot,
} from './director-fixture.ts';

const KEY = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const NODES = [
  { ordinal: 1, v4: T1 },
  { ordinal: 2, v4: T2 },
];

async function node(ordinal: number, more: Partial<DirectorTables> = {}): Promise<DirectorUnderTest> {
  const made = await director({ artefact: 'shared', withoutImage: true });
  made.apply({
    ...TABLES,
    self: { id: `ld${ordinal}`, ordinal },
    tunnels: NODES.map(({ ordinal: own, v4 }) => ({ node: `ld${own}`, worker: 0, v4 })),
    peers: NODES.filter((peer) => peer.ordinal !== ordinal),
    peerKey: KEY,
    ...more,
  });
  return made;
}

/** Every record of the burst that the packet makes, questions included. */
function burst(one: DirectorUnderTest, packet: Buffer, nowMs: number): Outcome[] {
  one.core.inject([ethernet(SWITCH_MAC, DIRECTOR_MAC, packet)], 0);
  return Array.from({ length: one.core.forwardBurst(1, nowMs) }, (_, index) => outcome(one.core, index));
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const inner = (frame: Buffer): Buffer => frame.subarray(14);
const client = (flags: string, more: object = {}): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: 40_000, destinationPort: 82, flags, ...more }));

/** A connection through weighted round robin, which nobody else can compute; the target's address. */
function connect(one: DirectorUnderTest): string {
  one.receive(client('S'), 1_000);
  const isFirst = targetSlot(one.core, 0) === one.slots.targets.slotOf(id('a1'));
  const target = isFirst ? VM_A1 : VM_A2;
  one.receive(reply(target, 'SA'), 1_000);
  one.receive(client('A'), 1_000);
  return target;
}
const reply = (target: string, flags: string): Buffer =>
  ipPacket(
    target === VM_A1 ? HOST1 : HOST2,
    T1,
    gre(100, ipPacket(target, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40_000, flags }))),
  );

test('a client’s packet that only a peer knows goes there, is forwarded from there, and its flow is told', async () => {
  const [one, two] = [await node(1), await node(2)];
  const target = connect(one);
  const [asked, question] = burst(two, client('A'), 2_000);
  expect(asked).toMatchObject({ verdict: 'Consumed', reason: 'Asked' });
  expect(question?.verdict).toBe('Forward');
  expectIpv4(question!.frame, sourceIs(T2), destinationIs(T1), keyIs(0xffffff00));
  const [answered, ...more] = burst(one, inner(question!.frame), 2_001);
  expect(more).toEqual([]);
  expectIpv4(answered!.frame, sourceIs(T1), keyIs(100), innerIs(destinationIs(target), sourceIs(CLIENT)));
  expect(one.core.counters()['asksAnswered']).toBe(1);
  const table = await SyncTable.open(one.plan, one.memory, one.slots);
  table.begin(2_010);
  const { records } = table.sweep(0, 0, 100);
  expect(records).toHaveLength(1);
  const standby = await SyncTable.open(two.plan, two.memory, two.slots);
  standby.learnSlots();
  standby.begin(2_020);
  standby.take(records[0]!);
  const [local] = burst(two, client('A'), 2_030);
  expectIpv4(local!.frame, sourceIs(T2), keyIs(100), innerIs(destinationIs(target)));
});

test('a reply that only a peer knows leaves from there, to the client', async () => {
  const [one, two] = [await node(1), await node(2)];
  const target = connect(one);
  const [, question] = burst(two, reply(target, 'A'), 2_000);
  const [answered] = burst(one, inner(question!.frame), 2_001);
  expectIpv4(answered!.frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(82, 40_000));
});

test('an ICMP error at the wrong director reaches the target that it is about', async () => {
  const [one, two] = [await node(1), await node(2)];
  const target = connect(one);
  const quote = ipPacket(VIP, CLIENT, tcp({ sourcePort: 82, destinationPort: 40_000, flags: 'A' }));
  const message = Buffer.concat([Buffer.from([3, 4, 0, 0, 0, 0, 0x05, 0x14]), quote.subarray(0, 28)]);
  message.writeUInt16BE(checksum(message), 2);
  const error = ipPacket('192.0.2.99', VIP, { protocol: 1, bytes: message });
  const [asked, question] = burst(two, error, 2_000);
  expect(asked?.reason).toBe('Asked');
  const [answered] = burst(one, inner(question!.frame), 2_001);
  expectIpv4(answered!.frame, keyIs(100), innerIs(destinationIs(target)));
});

test('a peer that knows nothing drops the question and asks nobody; without an answer the client is reset', async () => {
  const [one, two] = [await node(1), await node(2)];
  const [, question] = burst(two, client('A', { acknowledgement: 777 }), 2_000);
  const [unknown, ...more] = burst(one, inner(question!.frame), 2_001);
  expect([unknown?.reason, more]).toEqual(['PeerUnknown', []]);
  expect(burst(two, client('A'), 2_150)[0]?.reason).toBe('Asked');
  const [reset, ...none] = burst(two, client('A', { acknowledgement: 777 }), 2_210);
  expect([reset?.verdict, none]).toEqual(['Forward', []]);
  expectIpv4(reset!.frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(82, 40_000));
  expect(reset!.frame[14 + 20 + 13]).toBe(4);
  expect(reset!.frame.readUInt32BE(14 + 20 + 4)).toBe(777);
  expect(two.core.counters()['midFlowResets']).toBe(1);
  // After a while it is a new question.
  expect(burst(two, client('A'), 6_000)[0]?.reason).toBe('Asked');
});

test('a listener may have such packets dropped in silence', async () => {
  const listeners = TABLES.listeners.map((row) => ({ ...row, onUnknown: 'drop' as const }));
  const two = await node(2, { listeners });
  burst(two, client('A'), 2_000);
  expect(burst(two, client('A'), 2_300)[0]).toMatchObject({ verdict: 'Drop', reason: 'MidFlow' });
});

test('what a target sends into the blue is never answered with a reset', async () => {
  const two = await node(2);
  burst(two, reply(VM_A1, 'A'), 2_000);
  expect(burst(two, reply(VM_A1, 'A'), 2_300)[0]?.reason).toBe('Asked');
});

test('a question with a wrong tag, without one, or from a stranger is refused and counted', async () => {
  const [one, two] = [await node(1), await node(2, { peerKey: Buffer.alloc(16, 9) })];
  connect(one);
  const [, forged] = burst(two, client('A'), 2_000);
  expect(burst(one, inner(forged!.frame), 2_001)[0]?.reason).toBe('PeerTag');
  const bare = ipPacket(T2, T1, gre(0xffffff00, client('A')));
  expect(burst(one, bare, 2_002)[0]?.reason).toBe('PeerTag');
  expect(burst(one, ipPacket(T2, T1, gre(100, client('A'))), 2_003)[0]?.reason).toBe('UntrustedTunnel');
  const right = await node(2);
  const [, question] = burst(right, client('A'), 2_000);
  const changed = Buffer.from(inner(question!.frame));
  changed[changed.length - 12]! ^= 1;
  expect(burst(one, changed, 2_004)[0]?.reason).toBe('PeerTag');
  expect(one.core.counters()['asksAnswered']).toBe(0);
});

test('no more than a thousand questions a second', async () => {
  const two = await node(2);
  let asked = 0;
  for (let number = 0; number < 1_500; number++) {
    const packet = ipPacket(CLIENT, VIP, tcp({ sourcePort: 1_000 + number, destinationPort: 82, flags: 'A' }));
    if (burst(two, packet, 5_000)[0]?.reason === 'Asked') asked++;
  }
  expect(asked).toBe(1_000);
  expect(two.core.counters()['asksLimited']).toBe(500);
});

test('what every director computes alike is not asked about', async () => {
  const two = await node(2);
  const packet = ipPacket(CLIENT, VIP, tcp({ sourcePort: 40_000, destinationPort: 80, flags: 'A' }));
  expect(burst(two, packet, 2_000)).toMatchObject([{ verdict: 'Forward' }]);
});
