// Fragments through a director (data-plane.md P15): RFC 791, 815, 1858, 3128, 5722, 6946, 8200. What leaves is put together by other code
// than the core's and judged by the test kit's parser.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, expectIpv6, sourceIs } from '../../../tools/testkit/expect.ts';
import { limits } from '../layout/index.ts';
import {
  ANYCAST,
  CLIENT,
  CLIENT6,
  EIP,
  HOST1,
  HOST2,
  HOST6,
  T1,
  T1V6,
  TABLES,
  VIP,
  VIP6,
  VM_A1,
  VM_A2,
  director,
  id,
} from './director-fixture.ts';
import { burstOf, fragmentOf, fragmentsOf, innerPackets, plainPackets, reassemble } from './fragments.ts';

const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index * 11) & 255));
const query = (length = 2400, source = 5353): Buffer => ipPacket(CLIENT, VIP, udp(source, 53, bytes(length)));
const CUTS = [0, 800, 1600];
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

const base = TABLES.listeners[0]!;
const WITH_UDP = {
  ...TABLES,
  listeners: [
    ...TABLES.listeners,
    { ...base, id: id('u95'), vport: 95, protocol: 17, group: id('ga1'), translation: 'fullnat' as const },
    { ...base, id: id('u6'), vip: VIP6, vport: 53, protocol: 17, group: id('g6') },
    {
      ...base,
      id: id('u91'),
      vport: 91,
      protocol: 17,
      group: id('gproxy'),
      translation: 'none' as const,
      directReturn: true,
    },
  ],
};

async function withUdp() {
  const under = await director();
  under.apply(WITH_UDP);
  return under;
}

describe('RFC 791: inbound fragments follow the first', () => {
  test.each(ORDERS)('in the order %i %i %i', async (...order) => {
    const under = await director();
    const parts = fragmentsOf(query(), CUTS);
    const pieces = order.flatMap((index) => innerPackets(burstOf(under, [parts[index]!])));
    expect(pieces.length).toBe(3);
    const whole = expectIpv4(reassemble(pieces), sourceIs(CLIENT), destinationIs(VM_A1));
    expect(whole.udp).toMatchObject({ sourcePort: 5353, destinationPort: 8080, payload: bytes(2400) });
    expect(whole.ttl).toBe(63);
    expect(under.core.counters().flowsCreated).toBe(1);
  });

  test('all in one burst, the first last', async () => {
    const under = await director();
    const outcomes = burstOf(under, fragmentsOf(query(), CUTS).reverse());
    expect(outcomes.map(({ verdict }) => verdict)).toEqual(['Consumed', 'Consumed', 'Forward', 'Forward', 'Forward']);
    expectIpv4(reassemble(innerPackets(outcomes)), destinationIs(VM_A1));
    const { received, forwarded, consumed, added, fragmentsHeld, fragmentsExpired } = under.core.counters();
    expect({ received, forwarded, consumed, added }).toEqual({ received: 3, forwarded: 3, consumed: 2, added: 2 });
    expect({ fragmentsHeld, fragmentsExpired }).toEqual({ fragmentsHeld: 2, fragmentsExpired: 0 });
  });

  test('a TCP segment in fragments: the checksum is updated in the first one only', async () => {
    const under = await director();
    under.receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    const segment = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, flags: 'A', payload: bytes(1400) }));
    const pieces = innerPackets(burstOf(under, fragmentsOf(segment, [0, 600, 1200])));
    expect(expectIpv4(reassemble(pieces), destinationIs(VM_A1)).tcp?.payload).toEqual(bytes(1400));
    expect(under.core.counters()).toMatchObject({ flowsCreated: 1, flowsPickedUp: 0 });
  });

  test('full NAT: later fragments get the local address as well, and the reply’s fragments find home', async () => {
    const under = await withUdp();
    const request = ipPacket(CLIENT, VIP, udp(5353, 95, bytes(2400)));
    const seen = expectIpv4(reassemble(innerPackets(burstOf(under, fragmentsOf(request, CUTS)))), destinationIs(VM_A1));
    expect(seen.source).toMatch(/^100\.80\.16\./);
    const reply = ipPacket(VM_A1, seen.source, udp(8080, seen.udp?.sourcePort ?? 0, bytes(2000)));
    const parts = fragmentsOf(reply, [0, 1000, 1800]).map((part) => ipPacket(HOST1, T1, gre(100, part)));
    const whole = expectIpv4(
      reassemble(plainPackets(burstOf(under, parts.reverse()))),
      sourceIs(VIP),
      destinationIs(CLIENT),
    );
    expect(whole.udp).toMatchObject({ sourcePort: 95, destinationPort: 5353, payload: bytes(2000) });
  });

  test('none × GRE: the proxy gets every fragment as the client has sent it', async () => {
    const under = await withUdp();
    const request = ipPacket(CLIENT, VIP, udp(5353, 91, bytes(2400)));
    const whole = reassemble(innerPackets(burstOf(under, fragmentsOf(request, CUTS))));
    expectIpv4(whole, destinationIs(VIP));
    expect(whole.udp?.destinationPort).toBe(91);
  });
});

describe('replies in fragments', () => {
  test.each(ORDERS)('in the order %i %i %i', async (...order) => {
    const under = await director();
    under.receive(query(10));
    const reply = ipPacket(VM_A1, CLIENT, udp(8080, 5353, bytes(2400)));
    const parts = fragmentsOf(reply, CUTS).map((part) => ipPacket(HOST1, T1, gre(100, part)));
    const pieces = order.flatMap((index) => plainPackets(burstOf(under, [parts[index]!])));
    const whole = expectIpv4(reassemble(pieces), sourceIs(VIP), destinationIs(CLIENT));
    expect(whole.udp).toMatchObject({ sourcePort: 53, destinationPort: 5353, payload: bytes(2400) });
  });

  test('the same identification in two VPCs is two datagrams', async () => {
    const under = await director();
    under.receive(query(10));
    const reply = ipPacket(VM_A1, CLIENT, udp(8080, 5353, bytes(2400)));
    const parts = fragmentsOf(reply, CUTS);
    const strange = burstOf(under, [ipPacket(HOST1, T1, gre(200, parts[1]!))]);
    expect(strange[0]).toMatchObject({ verdict: 'Consumed', reason: 'FragmentHeld' });
    const own = burstOf(
      under,
      parts.map((part) => ipPacket(HOST1, T1, gre(100, part))),
    );
    expectIpv4(reassemble(plainPackets(own)), sourceIs(VIP));
    expect(own.length).toBe(3);
  });
});

describe('EIPs need no table', () => {
  test('inbound and outbound, in any order, without anything held', async () => {
    const under = await director();
    const inbound = ipPacket(CLIENT, EIP, udp(1000, 2000, bytes(2400)));
    const pieces = innerPackets(burstOf(under, fragmentsOf(inbound, CUTS).reverse()));
    expect(expectIpv4(reassemble(pieces), destinationIs(VM_A2)).udp?.payload).toEqual(bytes(2400));
    const outbound = fragmentsOf(ipPacket(VM_A2, CLIENT, udp(2000, 1000, bytes(2400))), CUTS);
    const back = plainPackets(
      burstOf(
        under,
        outbound.reverse().map((part) => ipPacket(HOST2, ANYCAST, gre(100, part))),
      ),
    );
    expectIpv4(reassemble(back), sourceIs(EIP), destinationIs(CLIENT));
    expect(under.core.counters().fragmentsHeld).toBe(0);
  });
});

describe('RFC 8200, 4.5: IPv6', () => {
  test.each(ORDERS)('fragments in the order %i %i %i', async (...order) => {
    const under = await withUdp();
    const parts = fragmentsOf(ipPacket(CLIENT6, VIP6, udp(5353, 53, bytes(2400))), CUTS, 0xdeadbeef);
    const pieces = order.flatMap((index) => innerPackets(burstOf(under, [parts[index]!])));
    const whole = expectIpv6(reassemble(pieces), sourceIs(CLIENT6), destinationIs('fd00:100::2'));
    expect(whole.udp).toMatchObject({ destinationPort: 8080, payload: bytes(2400) });
  });

  test('replies', async () => {
    const under = await withUdp();
    under.receive(ipPacket(CLIENT6, VIP6, udp(5353, 53, bytes(10))));
    const parts = fragmentsOf(ipPacket('fd00:100::2', CLIENT6, udp(8080, 5353, bytes(2400))), CUTS, 9);
    const tunnelled = parts.map((part) => ipPacket(HOST6, T1V6, gre(100, part)));
    expectIpv6(reassemble(plainPackets(burstOf(under, tunnelled.reverse()))), sourceIs(VIP6), destinationIs(CLIENT6));
  });

  test('RFC 6946: an atomic fragment is a whole packet', async () => {
    const under = await withUdp();
    const atomic = fragmentOf(ipPacket(CLIENT6, VIP6, udp(5353, 53, bytes(64))), 0, 72, true);
    const [out] = burstOf(under, [atomic]);
    expect(out).toMatchObject({ verdict: 'Forward' });
    expect(reassemble(innerPackets([out!])).udp?.destinationPort).toBe(8080);
  });
});

describe('what is refused', () => {
  const reasons = (outcomes: readonly { reason: string }[]): string[] => outcomes.map(({ reason }) => reason);

  test('RFC 1858, 3: a first TCP fragment without its whole header', async () => {
    const under = await director();
    const segment = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, mss: 1460, payload: bytes(64) }));
    expect(reasons(burstOf(under, [fragmentOf(segment, 0, 16, false), fragmentOf(segment, 0, 8, false)]))).toEqual([
      'FragmentTiny',
      'FragmentTiny',
    ]);
  });

  test('RFC 3128: a later TCP fragment that would write over the flags', async () => {
    const under = await director();
    const segment = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, payload: bytes(64) }));
    expect(reasons(burstOf(under, [fragmentOf(segment, 8, 16, true), fragmentOf(segment, 16, 8, true)]))).toEqual([
      'FragmentTiny',
      'FragmentTiny',
    ]);
  });

  test.each([
    ['RFC 791', CLIENT, VIP],
    ['RFC 5722', CLIENT6, VIP6],
  ])('%s: overlapping fragments, and everything of their datagram from then on', async (_name, source, vip) => {
    const under = await withUdp();
    const packet = ipPacket(source, vip, udp(5353, 53, bytes(2400)));
    const outcomes = burstOf(under, [
      fragmentOf(packet, 0, 800, false),
      fragmentOf(packet, 400, 800, false),
      fragmentOf(packet, 1200, 1208, true),
    ]);
    expect(reasons(outcomes)).toEqual(['None', 'FragmentOverlap', 'FragmentOverlap']);
  });

  test('RFC 5722: what had waited is forgotten with the datagram', async () => {
    const under = await director();
    const packet = query();
    burstOf(under, [fragmentOf(packet, 800, 800, false), fragmentOf(packet, 1000, 800, false)]);
    expect(reasons(burstOf(under, [fragmentOf(packet, 0, 800, false)]))).toEqual(['FragmentOverlap']);
    expect(under.core.counters()).toMatchObject({ fragmentsHeld: 1, fragmentsExpired: 1 });
  });

  test('two ends of one datagram, and data behind its end', async () => {
    const under = await director();
    const packet = query();
    expect(
      reasons(
        burstOf(under, [
          fragmentOf(packet, 0, 800, false),
          fragmentOf(packet, 1600, 8, true),
          fragmentOf(packet, 800, 8, true),
        ]),
      ),
    ).toEqual(['None', 'None', 'FragmentOverlap']);
    const other = ipPacket(CLIENT, VIP, udp(6000, 53, bytes(2400)));
    expect(
      reasons(
        burstOf(under, [
          fragmentOf(other, 0, 800, false, 5),
          fragmentOf(other, 800, 8, true, 5),
          fragmentOf(other, 1600, 800, false, 5),
        ]),
      ),
    ).toEqual(['None', 'None', 'FragmentOverlap']);
  });

  test('a duplicate is dropped and harms nothing', async () => {
    const under = await director();
    const [first, second, third] = fragmentsOf(query(), CUTS);
    const outcomes = burstOf(under, [first!, first!, second!, second!, third!]);
    expect(reasons(outcomes)).toEqual(['None', 'FragmentDuplicate', 'None', 'FragmentDuplicate', 'None']);
    expectIpv4(reassemble(innerPackets(outcomes)), destinationIs(VM_A1));
  });

  test('lengths that are no multiple of eight, and ends behind 64 KiB', async () => {
    const under = await director();
    const packet = query();
    const late = fragmentOf(packet, 0, 800, true);
    late.writeUInt16BE(0x1fff, 6);
    late.writeUInt16BE(0, 10);
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += late.readUInt16BE(at);
    late.writeUInt16BE(~((sum & 0xffff) + (sum >> 16)) & 0xffff, 10);
    expect(reasons(burstOf(under, [fragmentOf(packet, 0, 801, false), late]))).toEqual(['FragmentBad', 'FragmentBad']);
  });

  test('more holes in a datagram than are kept track of', async () => {
    const under = await director();
    const packet = query();
    const outcomes = burstOf(under, [
      fragmentOf(packet, 0, 800, false),
      ...Array.from({ length: 8 }, (_, index) => fragmentOf(packet, 816 + index * 16, 8, false)),
    ]);
    expect(reasons(outcomes).slice(-2)).toEqual(['None', 'FragmentLimit']);
  });

  test('tunnels and echoes to a VIP in fragments; fragments of a listener that does not exist; fragments for others', async () => {
    const under = await director();
    const echo = ipPacket(CLIENT, VIP, {
      protocol: 1,
      bytes: Buffer.concat([Buffer.from('0800f7fd00010001', 'hex'), bytes(64)]),
    });
    const outer = ipPacket(HOST1, T1, gre(100, query(64)));
    const unknown = ipPacket(CLIENT, VIP, udp(1, 4444, bytes(64)));
    expect(
      reasons(
        burstOf(under, [
          fragmentOf(echo, 0, 32, false),
          fragmentOf(outer, 0, 64, false),
          fragmentOf(unknown, 0, 32, false),
          fragmentOf(ipPacket(CLIENT, '192.0.2.9', udp(1, 2, bytes(64))), 0, 32, false),
        ]),
      ),
    ).toEqual(['Fragment', 'Fragment', 'NoListener', 'NotOurs']);
  });
});

describe('limits', () => {
  test('sixteen fragments of a source wait, and other sources are not touched by it', async () => {
    const under = await director();
    const early = (source: string, index: number): Buffer =>
      fragmentOf(ipPacket(source, VIP, udp(1, 53, bytes(1600))), 800, 8, false, index);
    const outcomes = burstOf(
      under,
      Array.from({ length: 20 }, (_, index) => early(CLIENT, index)),
    );
    expect(outcomes.filter(({ reason }) => reason === 'FragmentHeld').length).toBe(limits.FRAGMENT_HOLDS_SOURCE);
    expect(outcomes.at(-1)?.reason).toBe('FragmentLimit');
    // Sources may share a counter, so most of twenty are enough.
    const others = burstOf(
      under,
      Array.from({ length: 20 }, (_, index) => early(`198.51.100.${100 + index}`, 1)),
    );
    expect(others.filter(({ reason }) => reason === 'FragmentHeld').length).toBeGreaterThan(15);
  });

  test('a datagram has five seconds, and then its place is free again', async () => {
    const under = await director();
    const [first, second] = fragmentsOf(query(), CUTS);
    burstOf(under, [second!], 1000);
    for (let call = 0; call < limits.FRAGMENT_HOLDS / limits.FRAGMENT_EXPIRE_STEP; call++) under.core.expireFlows(5900);
    expect(under.core.counters().fragmentsExpired).toBe(0);
    for (let call = 0; call < limits.FRAGMENT_HOLDS / limits.FRAGMENT_EXPIRE_STEP; call++) under.core.expireFlows(6001);
    expect(under.core.counters().fragmentsExpired).toBe(1);
    expect(burstOf(under, [first!], 6001).length).toBe(1);
    expect(burstOf(under, [second!], 6002)[0]?.verdict).toBe('Forward');
  });

  test('a full table forgets the oldest datagram, never more than it has', async () => {
    const under = await director({ plan: { fragments: 64 } });
    for (let index = 0; index < 1000; index++)
      burstOf(under, [fragmentOf(query(1600), 0, 800, false, index)], 1000 + index);
    expect(under.core.counters().fragmentsEvicted).toBe(1000 - 64);
    expect(burstOf(under, [fragmentOf(query(1600), 800, 808, true, 999)], 2001)[0]?.verdict).toBe('Forward');
  });

  test('holds are given back, whatever becomes of them', async () => {
    const under = await director();
    for (let round = 0; round < 100; round++) {
      const parts = fragmentsOf(ipPacket(CLIENT, VIP, udp(5353, 53, bytes(2400))), CUTS, round);
      expect(innerPackets(burstOf(under, [parts[2]!, parts[1]!, parts[0]!], 1000 + round)).length).toBe(3);
    }
    expect(under.core.counters().fragmentsHeld).toBe(200);
  });
});
