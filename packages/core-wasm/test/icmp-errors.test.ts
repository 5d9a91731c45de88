// ICMP errors through a director, both ways (data-plane.md P16; RFC 792, 4443, 5508): the receiver must find its own packet in the quote, with
// true checksums, whatever the translation and however little is quoted.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, expectIpv6, innerIs, sourceIs } from '../../../tools/testkit/expect.ts';
import { parseIp, sum } from '../../../tools/testkit/parse.ts';
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

const ROUTER = '192.0.2.1';
const ROUTER6 = '2001:db8:ffff::1';
const VM6 = 'fd00:100::2';

/** An error of ICMPv4 (RFC 792) or, with a checksum over the pseudo header, of ICMPv6. */
function error(
  family: 4 | 6,
  type: number,
  code: number,
  mtu: number,
  quoted: Buffer,
): { protocol: number; bytes: Buffer; checksumAt?: number } {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, mtu >> 8, mtu & 255]), quoted]);
  if (family === 6) return { protocol: 58, bytes, checksumAt: 2 };
  bytes.writeUInt16BE(~sum(bytes) & 0xffff, 2);
  return { protocol: 1, bytes };
}

/** Addresses and ports of the packet quoted in an error that begins at `at` of a frame; the checksum when all of it is quoted. */
function quoteOf(frame: Buffer, at: number) {
  const quoted = frame.subarray(at + 8);
  const isV4 = quoted.readUInt8(0) >> 4 === 4;
  const header = isV4 ? 20 : 40;
  const ip = parseIp(quoted, isV4 ? 0x0800 : 0x86dd)!;
  const transport = ip.tcp ?? ip.udp;
  return {
    source: ip.source,
    destination: ip.destination,
    ports: [quoted.readUInt16BE(header), quoted.readUInt16BE(header + 2)],
    isHeaderTrue: ip.isChecksumValid,
    isTransportTrue: quoted.length >= ip.totalLength ? transport?.isChecksumValid : undefined,
  };
}

const lengths = [
  ['all of it', Number.MAX_SAFE_INTEGER, true],
  ['eight bytes', 8, undefined],
] as const;

describe.each(lengths)('with %s of the transport quoted', (_name, left, isTransportTrue) => {
  const cut = (packet: Buffer): Buffer =>
    packet.subarray(0, (packet.readUInt8(0) >> 4 === 4 ? 20 : 40) + Math.min(left, packet.length));
  const truth = { isHeaderTrue: true, isTransportTrue };

  test('IPv4, to the VIP: the target finds what it has sent', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    const sent = ipPacket(VIP, CLIENT, tcp({ sourcePort: 80, destinationPort: 40000, flags: 'A' }));
    const { frame } = receive(ipPacket(ROUTER, VIP, error(4, 3, 4, 1400, cut(sent))));
    expectIpv4(frame, innerIs(sourceIs(ROUTER), destinationIs(VM_A1)));
    expect(quoteOf(frame, 14 + 28 + 20)).toEqual({
      source: VM_A1,
      destination: CLIENT,
      ports: [8080, 40000],
      ...truth,
    });
  });

  test('IPv4, from the target: the client finds what it has sent', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT, VIP, udp(5353, 53, Buffer.from('query'))));
    const sent = ipPacket(CLIENT, VM_A1, udp(5353, 8080, Buffer.from('query')));
    const { frame } = receive(ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, CLIENT, error(4, 3, 3, 0, cut(sent))))));
    expectIpv4(frame, sourceIs(VIP), destinationIs(CLIENT));
    expect(quoteOf(frame, 14 + 20)).toEqual({ source: CLIENT, destination: VIP, ports: [5353, 53], ...truth });
  });

  test('IPv6, to the VIP (packet too big) and from the target (port unreachable)', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    const sent = ipPacket(VIP6, CLIENT6, tcp({ sourcePort: 80, destinationPort: 40000, flags: 'A' }));
    const inbound = receive(ipPacket(ROUTER6, VIP6, error(6, 2, 0, 1400, cut(sent)))).frame;
    expectIpv6(inbound, innerIs(sourceIs(ROUTER6), destinationIs(VM6)));
    expect(quoteOf(inbound, 14 + 48 + 40)).toEqual({
      source: VM6,
      destination: CLIENT6,
      ports: [8080, 40000],
      ...truth,
    });
    expect(inbound.readUInt32BE(14 + 48 + 40 + 4)).toBe(1400);
    const asked = ipPacket(CLIENT6, VM6, tcp({ destinationPort: 8080 }));
    const outbound = receive(
      ipPacket(HOST6, T1V6, gre(100, ipPacket(VM6, CLIENT6, error(6, 1, 4, 0, cut(asked))))),
    ).frame;
    expectIpv6(outbound, sourceIs(VIP6), destinationIs(CLIENT6));
    expect(quoteOf(outbound, 14 + 40)).toEqual({ source: CLIENT6, destination: VIP6, ports: [40000, 80], ...truth });
  });

  test('full NAT: the local address stands in no quote for the client, and in every one for the target', async () => {
    const { receive } = await director();
    const seen = expectIpv4(receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 95 }))).frame).inner;
    const [local, port] = [seen?.source ?? '', seen?.tcp?.sourcePort ?? 0];
    const sent = ipPacket(VIP, CLIENT, tcp({ sourcePort: 95, destinationPort: 40000, flags: 'A' }));
    const inbound = receive(ipPacket(ROUTER, VIP, error(4, 3, 4, 1400, cut(sent)))).frame;
    expect(quoteOf(inbound, 14 + 28 + 20)).toEqual({
      source: VM_A1,
      destination: local,
      ports: [8080, port],
      ...truth,
    });
    const asked = ipPacket(local, VM_A1, tcp({ sourcePort: port, destinationPort: 8080 }));
    const outbound = receive(
      ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, local, error(4, 3, 1, 0, cut(asked))))),
    ).frame;
    expectIpv4(outbound, sourceIs(VIP), destinationIs(CLIENT));
    expect(quoteOf(outbound, 14 + 20)).toEqual({ source: CLIENT, destination: VIP, ports: [40000, 95], ...truth });
  });

  test('a port that was rewritten because the tuple was taken (P6)', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
    const port =
      expectIpv4(receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 81 }))).frame).inner?.tcp?.sourcePort ?? 0;
    expect(port).not.toBe(40000);
    const sent = ipPacket(VIP, CLIENT, tcp({ sourcePort: 81, destinationPort: 40000, flags: 'A' }));
    const { frame } = receive(ipPacket(ROUTER, VIP, error(4, 11, 0, 0, cut(sent))));
    expect(quoteOf(frame, 14 + 28 + 20)).toEqual({ source: VM_A1, destination: CLIENT, ports: [8080, port], ...truth });
  });

  test('EIP, both ways', async () => {
    const { receive } = await director();
    const sent = ipPacket(EIP, CLIENT, udp(1234, 53, Buffer.from('query')));
    const inbound = receive(ipPacket(ROUTER, EIP, error(4, 3, 4, 1400, cut(sent)))).frame;
    expectIpv4(inbound, innerIs(sourceIs(ROUTER), destinationIs(VM_A2)));
    expect(quoteOf(inbound, 14 + 28 + 20)).toEqual({ source: VM_A2, destination: CLIENT, ports: [1234, 53], ...truth });
    const asked = ipPacket(CLIENT, VM_A2, udp(1000, 2000, Buffer.from('query')));
    const outbound = receive(
      ipPacket(HOST2, ANYCAST, gre(100, ipPacket(VM_A2, CLIENT, error(4, 3, 3, 0, cut(asked))))),
    ).frame;
    expectIpv4(outbound, sourceIs(EIP), destinationIs(CLIENT));
    expect(quoteOf(outbound, 14 + 20)).toEqual({ source: CLIENT, destination: EIP, ports: [1000, 2000], ...truth });
  });
});

test('SCTP: ports in the quote are translated; its CRC is nobody’s to check', async () => {
  const under = await director({ withoutImage: true });
  under.apply({
    ...TABLES,
    listeners: [...TABLES.listeners, { ...TABLES.listeners[0]!, id: id('sctp'), vport: 36, protocol: 132 }],
  });
  const packet = (source: string, destination: string, ports: readonly [number, number], chunk: number): Buffer => {
    const bytes = Buffer.alloc(32);
    bytes.writeUInt16BE(ports[0], 0);
    bytes.writeUInt16BE(ports[1], 2);
    bytes.writeUInt8(chunk, 12);
    bytes.writeUInt16BE(20, 14);
    return ipPacket(source, destination, { protocol: 132, bytes });
  };
  under.receive(packet(CLIENT, VIP, [5000, 36], 1));
  const sent = packet(VIP, CLIENT, [36, 5000], 2);
  const { frame } = under.receive(ipPacket(ROUTER, VIP, error(4, 3, 4, 1400, sent)));
  expect(quoteOf(frame, 14 + 28 + 20)).toMatchObject({ source: VM_A1, destination: CLIENT, ports: [8080, 5000] });
});

test.each([
  ['a quote of seven bytes', (sent: Buffer) => sent.subarray(0, 27)],
  ['a quote that is no IPv4', (sent: Buffer) => Buffer.concat([Buffer.from([0x65]), sent.subarray(1)])],
  [
    'a later fragment in the quote',
    (sent: Buffer) => Buffer.concat([sent.subarray(0, 6), Buffer.from([0, 9]), sent.subarray(8)]),
  ],
])('refused: %s', async (_name, damage) => {
  const { receive, core } = await director();
  receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 })));
  const sent = ipPacket(VIP, CLIENT, tcp({ sourcePort: 80, destinationPort: 40000, flags: 'A' }));
  expect(receive(ipPacket(ROUTER, VIP, error(4, 3, 4, 1400, damage(sent))))).toMatchObject({
    verdict: 'Drop',
    reason: 'IcmpUnmatched',
  });
  expect(core.counters().flowsActive).toBe(1);
});
