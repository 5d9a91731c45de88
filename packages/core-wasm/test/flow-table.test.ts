// The flow table under pressure (data-plane.md P6, P20): who is evicted, how many may be new, when flows end; SCTP.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { setFlowTimeouts } from '../src/index.ts';
import { crc32c, sctp } from './headers.ts';
import { CLIENT, HOST1, T1, TABLES, VIP, VM_A1, director, id, type DirectorUnderTest } from './director-fixture.ts';

const toVip = (port: number, source: number, flags = 'S', client = CLIENT): Buffer =>
  ipPacket(client, VIP, tcp({ sourcePort: source, destinationPort: port, flags }));
const fromTarget = (port: number, flags: string, client = CLIENT): Buffer =>
  ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, client, tcp({ sourcePort: 8080, destinationPort: port, flags }))));

function establish({ receive }: DirectorUnderTest, source: number, nowMs = 1000): void {
  receive(toVip(80, source), nowMs);
  receive(fromTarget(source, 'SA'), nowMs);
  receive(toVip(80, source, 'A'), nowMs);
}

/** True when the packet went to a flow that was there. */
function isKnown({ core, receive }: DirectorUnderTest, packet: Buffer): boolean {
  const before = core.counters().flowsCreated;
  return receive(packet).verdict === 'Forward' && core.counters().flowsCreated === before;
}

describe('eviction', () => {
  test('SYNs that a target answers are still half-open, and a flood of them pushes itself out', async () => {
    const under = await director({ plan: { flows: 256 } });
    establish(under, 1);
    for (let port = 2; port < 1000; port++) {
      under.receive(toVip(80, port));
      expect(under.receive(fromTarget(port, 'SA')).verdict).toBe('Forward');
    }
    expect(isKnown(under, toVip(80, 1, 'A'))).toBe(true);
    expect(under.core.counters()['reason.FlowTableFull']).toBeUndefined();
  });

  test('forged SYN and ACK, or SYN and FIN, make no direct-return flow that stays', async () => {
    const under = await director({ plan: { flows: 256 } });
    for (let packet = 0; packet < 6; packet++) under.receive(toVip(91, 1, packet === 0 ? 'S' : 'A'));
    establish(under, 1);
    for (let port = 2; port < 2000; port++) {
      under.receive(toVip(91, port));
      under.receive(toVip(91, port, port % 2 === 0 ? 'A' : 'FA'));
    }
    expect(isKnown(under, toVip(80, 1, 'A'))).toBe(true);
    expect(isKnown(under, toVip(91, 1, 'A'))).toBe(true);
    expect(under.receive(toVip(80, 5000)).verdict).toBe('Forward');
  });

  test('datagrams with one answer give way to new flows, conversations do not', async () => {
    const under = await director({ plan: { flows: 256 } });
    const ask = (source: number): Buffer => ipPacket(CLIENT, VIP, udp(source, 53, Buffer.from('ask')));
    const answer = (port: number): Buffer =>
      ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, CLIENT, udp(8080, port, Buffer.from('answer')))));
    for (const packet of [ask(1), answer(1), ask(1), answer(1)]) under.receive(packet);
    for (let port = 2; port < 1000; port++) {
      under.receive(ask(port));
      under.receive(answer(port));
    }
    expect(isKnown(under, ask(1))).toBe(true);
    expect(under.core.counters()['reason.FlowTableFull']).toBeUndefined();
  });

  test('a table of established flows takes no new one, and says so', async () => {
    const under = await director({ plan: { flows: 64 } });
    for (let port = 1; port <= 64; port++) establish(under, port);
    expect(under.receive(toVip(80, 100))).toMatchObject({ verdict: 'Drop', reason: 'FlowTableFull' });
    for (let port = 1; port <= 64; port++) expect(isKnown(under, toVip(80, port, 'A'))).toBe(true);
  });
});

describe('RFC 5961: resets that may be forged', () => {
  test('a client that goes on speaking keeps its flow, and a real end stays one', async () => {
    const under = await director();
    establish(under, 1);
    under.receive(toVip(80, 1, 'R'));
    under.receive(toVip(80, 1, 'A'), 2000);
    expect(under.core.expireFlows(60_000)).toBe(0);
    under.receive(toVip(80, 1, 'R'), 60_000);
    expect(under.core.expireFlows(70_001)).toBe(1);
  });

  test('a half-open flow does not become established that way', async () => {
    const under = await director();
    for (const flags of ['S', 'R', 'A', 'A']) under.receive(toVip(80, 1, flags), 1000);
    expect(under.core.expireFlows(11_001)).toBe(1);
  });
});

describe('new flows a second', () => {
  test('of one listener, by the second, without a word about flows that are there', async () => {
    const under = await director({ withoutImage: true });
    under.apply({
      ...TABLES,
      listeners: TABLES.listeners.map((row) => (row.id === id('l80') ? { ...row, newFlowsPerSecond: 10 } : row)),
    });
    const open = (nowMs: number, from: number): number =>
      Array.from({ length: 20 }, (_, index) => under.receive(toVip(80, from + index), nowMs)).filter(
        ({ verdict }) => verdict === 'Forward',
      ).length;
    expect(open(10_000, 1000)).toBe(10);
    expect(under.core.counters()['reason.NewFlowLimit']).toBe(10);
    expect(under.receive(toVip(80, 1000, 'A'), 10_001).verdict).toBe('Forward');
    expect(open(10_500, 2000)).toBe(5);
    expect(open(13_000, 3000)).toBe(10);
    expect(under.receive(toVip(81, 1), 13_000).verdict).toBe('Forward');
  });
});

describe('idle times', () => {
  test('are configurable', async () => {
    const under = await director();
    setFlowTimeouts(under.plan, under.memory, { synSeenMs: 500 });
    under.receive(toVip(80, 1), 1000);
    expect(under.core.expireFlows(1500)).toBe(0);
    expect(under.core.expireFlows(1501)).toBe(1);
    expect(() => setFlowTimeouts(under.plan, under.memory, { closedMs: 0 })).toThrow(
      'closedMs must be a whole number of milliseconds',
    );
  });
});

describe('RFC 9260: SCTP', () => {
  const isTrue = (bytes: Buffer): boolean => {
    const copy = Buffer.from(bytes);
    copy.writeUInt32LE(0, 8);
    return crc32c(copy) === bytes.readUInt32LE(8);
  };

  test('an association opens, is translated with true checksums, and ends', async () => {
    const under = await director({ withoutImage: true });
    under.apply({
      ...TABLES,
      listeners: [...TABLES.listeners, { ...TABLES.listeners[0]!, id: id('sctp'), vport: 36, protocol: 132 }],
    });
    const client = (chunk: number): Buffer => ipPacket(CLIENT, VIP, sctp(5000, 36, chunk));
    const server = (chunk: number): Buffer =>
      ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, CLIENT, sctp(8080, 5000, chunk))));
    const inner = under.receive(client(1)).frame.subarray(14 + 28 + 20);
    expect([inner.readUInt16BE(0), inner.readUInt16BE(2), isTrue(inner)]).toEqual([5000, 8080, true]);
    const outer = under.receive(server(2)).frame.subarray(14 + 20);
    expect([outer.readUInt16BE(0), outer.readUInt16BE(2), isTrue(outer)]).toEqual([36, 5000, true]);
    for (const packet of [client(10), server(11), client(0)]) expect(under.receive(packet).verdict).toBe('Forward');
    expect(under.core.expireFlows(32_000)).toBe(0);
    for (const packet of [client(7), server(8), client(14)])
      expect(under.receive(packet, 33_000).verdict).toBe('Forward');
    expect(under.core.expireFlows(43_001)).toBe(1);
    expect(under.core.counters().flowsCreated).toBe(1);
  });
});
