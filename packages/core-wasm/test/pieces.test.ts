// Packets that their way cannot take whole: cut (RFC 791), or refused with the ICMP error of RFC 792, 1191, 4443 and 8201 in the right name
// (data-plane.md P14, P17); and 802.1Q tags that come back as they came.
import { describe, expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import {
  destinationIs,
  expectIpv4,
  expectIpv6,
  innerIs,
  keyIs,
  sourceIs,
  ttlIs,
} from '../../../tools/testkit/expect.ts';
import { parseFrame, parseIp } from '../../../tools/testkit/parse.ts';
import {
  ANYCAST,
  CLIENT,
  CLIENT6,
  DIRECTOR_MAC,
  EIP,
  HOST1,
  HOST2,
  HOST6,
  SWITCH_MAC,
  T1,
  T1V6,
  VIP,
  VIP6,
  VM_A1,
  VM_A2,
  director,
} from './director-fixture.ts';
import { burstOf, innerPackets, plainPackets, reassemble, refreshIpv4, withoutDf } from './fragments.ts';

const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index * 7) & 255));
const query = (length: number): Buffer => ipPacket(CLIENT, VIP, udp(5353, 53, bytes(length)));
const answerOf = (length: number): Buffer => ipPacket(VM_A1, CLIENT, udp(8080, 5353, bytes(length)));
const fromHost = (inner: Buffer): Buffer => ipPacket(HOST1, T1, gre(100, inner));

describe('RFC 791, 3.2: an IPv4 packet without DF is cut inside the tunnel', () => {
  test('into pieces that fit, of which the target makes the same datagram', async () => {
    const under = await director();
    const outcomes = burstOf(under, [withoutDf(query(1472))]);
    expect(outcomes.map(({ verdict }) => verdict)).toEqual(['Forward', 'Forward']);
    for (const { frame } of outcomes) {
      expect(frame.length).toBeLessThanOrEqual(1514);
      expectIpv4(Buffer.from(frame.subarray(0, 14 + 20)), sourceIs(T1), destinationIs(HOST1));
    }
    const whole = reassemble(innerPackets(outcomes));
    expectIpv4(whole, sourceIs(CLIENT), destinationIs(VM_A1), ttlIs(63));
    expect(whole.identification).toBe(77);
    expect(whole.udp).toMatchObject({ sourcePort: 5353, destinationPort: 8080, payload: bytes(1472) });
    expect(under.core.counters()).toMatchObject({ received: 1, forwarded: 2, added: 1, fragmented: 1 });
  });

  test('into as many pieces as a learned tunnel MTU asks for', async () => {
    const under = await director({ mtu: 604 });
    const pieces = innerPackets(burstOf(under, [withoutDf(query(1472))]));
    expect(pieces.length).toBe(3);
    for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(576);
    expect(reassemble(pieces).udp?.isChecksumValid).toBe(true);
  });

  test('options stand in every piece only when their copied bit says so', async () => {
    const under = await director({ mtu: 604 });
    const plain = withoutDf(query(1400));
    // Record route (7) stays in the first piece; a router alert (148) goes into all.
    const options = Buffer.from([7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0]);
    const packet = Buffer.concat([plain.subarray(0, 20), options, plain.subarray(20)]);
    packet.writeUInt8(0x48, 0);
    packet.writeUInt16BE(packet.length, 2);
    const pieces = innerPackets(burstOf(under, [refreshIpv4(packet)]));
    expect(pieces.map((piece) => piece.readUInt8(0) & 15)).toEqual([8, 6, 6]);
    expect(pieces[0]?.subarray(20, 32)).toEqual(options);
    expect(pieces[1]?.subarray(20, 24)).toEqual(Buffer.from([148, 4, 0, 0]));
    expect(reassemble(pieces).udp?.payload).toEqual(bytes(1400));
  });

  test('towards an EIP, and out of a VPC', async () => {
    const under = await director();
    const inbound = innerPackets(burstOf(under, [withoutDf(ipPacket(CLIENT, EIP, udp(1, 2, bytes(1472))))]));
    expect(inbound.length).toBe(2);
    expectIpv4(reassemble(inbound), sourceIs(CLIENT), destinationIs(VM_A2));
    const wide = await director({ mtu: 1600 });
    wide.hops.setPort(0, { mac: Uint8Array.of(2, 16, 0, 0, 0, 1), mtu: 900, kind: 'ethernet' });
    burstOf(wide, [query(10)]);
    const outbound = plainPackets(burstOf(wide, [fromHost(withoutDf(answerOf(1400)))]));
    expect(outbound.length).toBe(2);
    expectIpv4(reassemble(outbound), sourceIs(VIP), destinationIs(CLIENT));
    const direct = ipPacket(HOST2, ANYCAST, gre(100, withoutDf(ipPacket(VM_A2, CLIENT, udp(1, 2, bytes(1200))))));
    const eip = plainPackets(burstOf(wide, [direct]));
    expect(eip.length).toBe(2);
    expectIpv4(reassemble(eip), sourceIs(EIP), destinationIs(CLIENT));
  });

  test('a fragment that is too large is cut again, and its offsets go on', async () => {
    const under = await director({ mtu: 604 });
    const datagram = query(2000);
    const head = Buffer.concat([datagram.subarray(0, 20 + 1480)]);
    head.writeUInt16BE(head.length, 2);
    head.writeUInt16BE(77, 4);
    head.writeUInt16BE(0x2000, 6);
    const tail = Buffer.concat([datagram.subarray(0, 20), datagram.subarray(20 + 1480)]);
    tail.writeUInt16BE(tail.length, 2);
    tail.writeUInt16BE(77, 4);
    tail.writeUInt16BE(1480 >> 3, 6);
    const pieces = innerPackets(burstOf(under, [refreshIpv4(head), refreshIpv4(tail)]));
    expect(pieces.length).toBe(4);
    expect(reassemble(pieces).udp).toMatchObject({
      destinationPort: 8080,
      payload: bytes(2000),
      isChecksumValid: true,
    });
  });

  test('no more pieces than a burst has room for, and the rest is counted', async () => {
    const under = await director({ mtu: 604 });
    const outcomes = burstOf(
      under,
      Array.from({ length: 40 }, () => withoutDf(query(1472))),
    );
    expect(outcomes.filter(({ reason }) => reason === 'BurstFull').length).toBe(8);
    expect(outcomes.filter(({ verdict }) => verdict === 'Forward').length).toBe(32 + 64);
  });
});

describe('RFC 1191 and RFC 8201: what may not be cut is answered with the MTU that is left', () => {
  const bigReply = (): Buffer =>
    fromHost(
      ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'A', payload: bytes(900) })),
    );

  test('a target hears it from the VIP, through its own tunnel, about the packet that it has sent', async () => {
    const under = await director({ mtu: 1600 });
    under.receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    under.hops.setPort(0, { mac: Uint8Array.of(2, 16, 0, 0, 0, 1), mtu: 900, kind: 'ethernet' });
    const { frame } = under.receive(bigReply());
    const ip = expectIpv4(
      frame,
      sourceIs(T1),
      destinationIs(HOST1),
      keyIs(100),
      innerIs(sourceIs(VIP), destinationIs(VM_A1)),
    );
    expect(ip.inner?.icmp).toMatchObject({ type: 3, code: 4 });
    const icmp = frame.subarray(14 + 28 + 20);
    expect(icmp.readUInt16BE(6)).toBe(900);
    expectIpv4(
      { ...parseIp(icmp.subarray(8), 0x0800)!, tcp: undefined as never },
      sourceIs(VM_A1),
      destinationIs(CLIENT),
      ttlIs(64),
    );
    expect(icmp.readUInt16BE(8 + 20)).toBe(8080);
  });

  test('IPv6 likewise (RFC 4443, 3.2)', async () => {
    const under = await director({ mtu: 1600 });
    under.receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    under.hops.setPort(0, { mac: Uint8Array.of(2, 16, 0, 0, 0, 1), mtu: 1400, kind: 'ethernet' });
    const reply = ipPacket(
      'fd00:100::2',
      CLIENT6,
      tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'A', payload: bytes(1400) }),
    );
    const { frame } = under.receive(ipPacket(HOST6, T1V6, gre(100, reply)));
    const ip = expectIpv6(
      frame,
      sourceIs(T1V6),
      destinationIs(HOST6),
      innerIs(sourceIs(VIP6), destinationIs('fd00:100::2')),
    );
    expect(ip.inner?.icmp).toMatchObject({ type: 2, code: 0 });
    expect(frame.readUInt32BE(14 + 48 + 40 + 4)).toBe(1400);
  });

  test('a VM with an EIP hears it from its EIP', async () => {
    const under = await director();
    under.hops.setPort(0, { mac: Uint8Array.of(2, 16, 0, 0, 0, 1), mtu: 900, kind: 'ethernet' });
    const { frame } = under.receive(
      ipPacket(HOST2, ANYCAST, gre(100, ipPacket(VM_A2, CLIENT, udp(1, 2, bytes(1200))))),
    );
    const ip = expectIpv4(frame, sourceIs(ANYCAST), destinationIs(HOST2), innerIs(sourceIs(EIP), destinationIs(VM_A2)));
    expect(ip.inner?.icmp).toMatchObject({ type: 3, code: 4 });
  });

  test('never about an ICMP error or a later fragment (RFC 1122, 3.2.2), and at a limited rate', async () => {
    const under = await director({ mtu: 900 });
    under.receive(ipPacket(CLIENT, VIP, udp(5353, 53, bytes(8))));
    const big = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, flags: 'A', payload: bytes(1000) }));
    const outcomes = Array.from({ length: 400 }, () => under.receive(big).verdict);
    expect(new Set(outcomes)).toEqual(new Set(['Forward', 'Drop']));
  });
});

describe('RFC 792 and RFC 4443: hops that run out outbound', () => {
  test('the target hears it from the VIP', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    const late = ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'A' }), 1);
    const ip = expectIpv4(
      receive(fromHost(late)).frame,
      destinationIs(HOST1),
      keyIs(100),
      innerIs(sourceIs(VIP), destinationIs(VM_A1)),
    );
    expect(ip.inner?.icmp).toMatchObject({ type: 11, code: 0 });
  });

  test('a VM’s traceroute shows its EIP', async () => {
    const { receive } = await director();
    const late = ipPacket(VM_A2, CLIENT, udp(1, 33434, bytes(12)), 1);
    const { frame } = receive(ipPacket(HOST2, ANYCAST, gre(100, late)));
    const ip = expectIpv4(frame, sourceIs(ANYCAST), destinationIs(HOST2), innerIs(sourceIs(EIP), destinationIs(VM_A2)));
    expect(ip.inner?.icmp).toMatchObject({ type: 11, code: 0 });
  });

  test('IPv6 likewise', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    const late = ipPacket('fd00:100::2', CLIENT6, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'A' }), 1);
    const ip = expectIpv6(receive(ipPacket(HOST6, T1V6, gre(100, late))).frame, innerIs(sourceIs(VIP6)));
    expect(ip.inner?.icmp).toMatchObject({ type: 3, code: 0 });
  });
});

describe('IEEE 802.1Q', () => {
  test.each([
    ['802.1ad', '88a80005810000070800'],
    ['two of 802.1Q', '81000005810000070800'],
    ['one of 802.1ad', '88a800050800'],
  ])('%s: dropped under a reason of its own', async (_, tags) => {
    const { send } = await director();
    const frame = ethernet(SWITCH_MAC, DIRECTOR_MAC, ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    const tagged = Buffer.concat([frame.subarray(0, 12), Buffer.from(tags, 'hex'), frame.subarray(14)]);
    expect(send(tagged)).toMatchObject({ verdict: 'Drop', reason: 'DoubleTag' });
  });

  test('a tagged packet goes out of its port with the same tag and priority', async () => {
    const { send } = await director();
    const frame = ethernet(SWITCH_MAC, DIRECTOR_MAC, ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    const tagged = Buffer.concat([frame.subarray(0, 12), Buffer.from([0x81, 0, 0xa0, 5]), frame.subarray(12)]);
    const out = send(tagged);
    expect(out.frame.subarray(12, 16)).toEqual(Buffer.from([0x81, 0, 0xa0, 5]));
    expect(parseFrame(out.frame)).toMatchObject({ vlan: 5, destinationMac: SWITCH_MAC, sourceMac: DIRECTOR_MAC });
    expectIpv4(out.frame, sourceIs(T1), innerIs(destinationIs(VM_A1)));
    expect(parseFrame(send(frame).frame).vlan).toBeUndefined();
  });
});
