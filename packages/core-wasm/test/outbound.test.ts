// Target to client, EIPs, ICMP (data-plane.md P3, P8, P14, P16, P17, P28, P38).
import { describe, expect, test } from 'vitest';
import { addressBytes, gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import {
  destinationIs,
  expectIpv4,
  expectIpv6,
  innerIs,
  keyIs,
  portsAre,
  sourceIs,
  ttlIs,
} from '../../../tools/testkit/expect.ts';
import { sum } from '../../../tools/testkit/parse.ts';
import {
  ANYCAST,
  CLIENT,
  CLIENT6,
  EIP,
  HOST1,
  HOST2,
  HOST6,
  SERVER,
  T1,
  T1V6,
  T2,
  VIP,
  VIP6,
  VM_A1,
  VM_A2,
  director,
} from './director-fixture.ts';

const syn = (port: number): Buffer => ipPacket(CLIENT, VIP, tcp({ destinationPort: port, mss: 1460 }));
const fromVm = (flags = 'SA', source = VM_A1): Buffer =>
  ipPacket(source, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags }));

describe('replies', () => {
  test('the source becomes the VIP again and the tunnel is gone', async () => {
    const { receive } = await director();
    receive(syn(80));
    expectIpv4(
      receive(ipPacket(HOST1, T1, gre(100, fromVm()))).frame,
      sourceIs(VIP),
      destinationIs(CLIENT),
      portsAre(80, 40000),
      ttlIs(63),
    );
  });

  test('a reply to the tunnel address of another director is served as well', async () => {
    const { receive } = await director();
    receive(syn(80));
    expectIpv4(receive(ipPacket(HOST1, T2, gre(100, fromVm()))).frame, sourceIs(VIP));
  });

  test('a physical server’s reply comes in IP in IP', async () => {
    const { receive } = await director();
    receive(syn(90));
    const reply = ipPacket(SERVER, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    expectIpv4(receive(ipPacket(SERVER, T1, { protocol: 4, bytes: reply })).frame, sourceIs(VIP), portsAre(90, 40000));
  });

  test('a target without a tunnel: its reply comes as it is', async () => {
    const { receive } = await director();
    receive(syn(94));
    const reply = ipPacket('10.255.0.43', CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    expectIpv4(receive(reply).frame, sourceIs(VIP), portsAre(94, 40000));
  });

  test('full NAT: the client gets its own address and port back', async () => {
    const { receive } = await director();
    const inner = expectIpv4(receive(syn(95)).frame).inner;
    const reply = ipPacket(
      VM_A1,
      inner?.source ?? '',
      tcp({ sourcePort: 8080, destinationPort: inner?.tcp?.sourcePort ?? 0, flags: 'SA' }),
    );
    expectIpv4(
      receive(ipPacket(HOST1, T1, gre(100, reply))).frame,
      sourceIs(VIP),
      destinationIs(CLIENT),
      portsAre(95, 40000),
    );
  });

  test('IPv6', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    const reply = ipPacket('fd00:100::2', CLIENT6, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    expectIpv6(
      receive(ipPacket(HOST6, T1V6, gre(100, reply))).frame,
      sourceIs(VIP6),
      destinationIs(CLIENT6),
      portsAre(80, 40000),
    );
  });

  test('the same address in another VPC is not this flow', async () => {
    const { receive } = await director();
    receive(syn(80));
    expect(receive(ipPacket(HOST2, T1, gre(200, fromVm())))).toMatchObject({ verdict: 'Drop', reason: 'NoFlow' });
  });

  test('a reply without a flow makes it again when one listener alone has the target', async () => {
    const { core, receive } = await director();
    const reply = ipPacket(SERVER, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'A' }));
    expectIpv4(receive(ipPacket(SERVER, T1, { protocol: 4, bytes: reply })).frame, sourceIs(VIP), portsAre(90, 40000));
    expect(core.counters().flowsPickedUp).toBe(1);
    // a1 stands behind several listeners: nobody can tell whose reply this is.
    expect(receive(ipPacket(HOST1, T1, gre(100, fromVm('A'))))).toMatchObject({ verdict: 'Drop', reason: 'NoFlow' });
  });

  test.each([
    ['an unknown outer source', ipPacket('10.99.0.1', T1, gre(100, fromVm())), 'UntrustedTunnel'],
    [
      'GRE with a wrong checksum',
      (() => {
        const packet = gre(100, fromVm());
        packet.bytes.writeUInt16BE(0xa000, 0);
        return ipPacket(HOST1, T1, packet);
      })(),
      'TunnelChecksum',
    ],
    ['a tunnel in a tunnel', ipPacket(HOST1, T1, gre(100, ipPacket(HOST1, T1, gre(100, fromVm())))), 'NestedTunnel'],
  ])('refused: %s', async (_name, packet, reason) => {
    const { receive } = await director();
    expect(receive(packet)).toMatchObject({ verdict: 'Drop', reason });
  });

  test('the congestion mark of the tunnel reaches the packet', async () => {
    const { receive } = await director();
    receive(syn(80));
    const inner = fromVm();
    inner.writeUInt8(2, 1);
    const fixed = refreshed(inner);
    const outer = ipPacket(HOST1, T1, gre(100, fixed));
    outer.writeUInt8(3, 1);
    const { frame } = receive(refreshed(outer));
    expectIpv4(frame);
    expect(frame.readUInt8(15) & 3).toBe(3);
  });
});

function refreshed(packet: Buffer): Buffer {
  packet.writeUInt16BE(0, 10);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  packet.writeUInt16BE(~sum & 0xffff, 10);
  return packet;
}

describe('EIPs', () => {
  test('inbound: to the instance, from the anycast tunnel address, without a flow', async () => {
    const { core, receive } = await director();
    const { frame } = receive(ipPacket(CLIENT, EIP, tcp({ destinationPort: 22 })));
    expectIpv4(
      frame,
      sourceIs(ANYCAST),
      destinationIs(HOST2),
      keyIs(100),
      innerIs(sourceIs(CLIENT), destinationIs(VM_A2), portsAre(40000, 22), ttlIs(63)),
    );
    expect(core.counters().flowsActive).toBe(0);
  });

  test('outbound: what comes to the anycast address leaves with the EIP as its source', async () => {
    const { receive } = await director();
    const packet = ipPacket(VM_A2, CLIENT, udp(1234, 53, Buffer.from('query')));
    expectIpv4(
      receive(ipPacket(HOST2, ANYCAST, gre(100, packet))).frame,
      sourceIs(EIP),
      destinationIs(CLIENT),
      portsAre(1234, 53),
    );
    expect(receive(ipPacket(HOST1, ANYCAST, gre(100, fromVm())))).toMatchObject({ verdict: 'Drop', reason: 'NoEip' });
  });

  test('UDP-Lite goes both ways with a checksum that holds, whatever it covers (RFC 3828)', async () => {
    const { receive } = await director();
    const lite = (source: string, destination: string): Buffer => {
      const bytes = Buffer.from('303900350008000068656c6c6f', 'hex');
      const pseudo = Buffer.concat([
        addressBytes(source),
        addressBytes(destination),
        Buffer.from([0, 136, 0, bytes.length]),
      ]);
      bytes.writeUInt16BE(~sum(Buffer.concat([pseudo, bytes.subarray(0, 8)])) & 0xffff, 6);
      return ipPacket(source, destination, { protocol: 136, bytes });
    };
    const isLite = (packet: Buffer, source: string, destination: string): void =>
      expect(packet.subarray(20).toString('hex')).toBe(lite(source, destination).subarray(20).toString('hex'));
    isLite(receive(lite(CLIENT, EIP)).frame.subarray(14 + 28), CLIENT, VM_A2);
    isLite(receive(ipPacket(HOST2, ANYCAST, gre(100, lite(VM_A2, CLIENT)))).frame.subarray(14), EIP, CLIENT);
    expect(receive(lite(CLIENT, VIP))).toMatchObject({ verdict: 'Drop', reason: 'UdpLite' });
    const short = ipPacket(CLIENT, EIP, { protocol: 136, bytes: Buffer.alloc(7) });
    expect(receive(short)).toMatchObject({ verdict: 'Drop', reason: 'TooShort' });
  });

  test('another host cannot speak for an EIP', async () => {
    const { receive } = await director();
    const packet = ipPacket(VM_A2, CLIENT, udp(1234, 53, Buffer.from('query')));
    expect(receive(ipPacket(HOST1, ANYCAST, gre(100, packet)))).toMatchObject({
      verdict: 'Drop',
      reason: 'SourceElsewhere',
    });
  });

  test('echo passes both ways', async () => {
    const { receive } = await director();
    const echo = { protocol: 1, bytes: Buffer.from('0800f7fd00010001', 'hex') };
    expectIpv4(receive(ipPacket(CLIENT, EIP, echo)).frame, innerIs(destinationIs(VM_A2)));
  });
});

describe('ICMP', () => {
  const echo = { protocol: 1, bytes: Buffer.from('0800f7fd00010001', 'hex') };

  test('a VIP answers echo in place, at a limited rate', async () => {
    const { receive } = await director();
    const ip = expectIpv4(receive(ipPacket(CLIENT, VIP, echo)).frame, sourceIs(VIP), destinationIs(CLIENT), ttlIs(64));
    expect(ip.icmp).toMatchObject({ type: 0, code: 0 });
    const reasons = new Set(Array.from({ length: 400 }, () => receive(ipPacket(CLIENT, VIP, echo)).reason));
    expect(reasons).toEqual(new Set(['None', 'EchoLimited']));
  });

  test('packet-too-big of a router to the VIP reaches the target, which finds its own packet in the quote', async () => {
    const { receive } = await director();
    receive(syn(80));
    const quoted = ipPacket(VIP, CLIENT, tcp({ sourcePort: 80, destinationPort: 40000, flags: 'A' }));
    const { frame } = receive(ipPacket('192.0.2.1', VIP, icmpError(3, 4, 1400, quoted)));
    const inner = expectIpv4(
      frame,
      destinationIs(HOST1),
      keyIs(100),
      innerIs(sourceIs('192.0.2.1'), destinationIs(VM_A1)),
    ).inner;
    expect(inner?.icmp).toMatchObject({ type: 3, code: 4 });
    const quote = frame.subarray(14 + 28 + 28);
    expectIpv4(
      Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0]), quote]),
      sourceIs(VM_A1),
      destinationIs(CLIENT),
      portsAre(8080, 40000),
    );
    expect(frame.readUInt16BE(14 + 28 + 20 + 6)).toBe(1400);
  });

  test('an error for a flow of another director reaches the target that every director computes', async () => {
    const one = await director();
    const two = await director();
    for (let port = 3000; port < 3020; port++) {
      const { inner } = expectIpv4(
        one.receive(ipPacket(CLIENT, VIP, tcp({ sourcePort: port, destinationPort: 200 }))).frame,
      );
      const quoted = ipPacket(VIP, CLIENT, tcp({ sourcePort: 200, destinationPort: port, flags: 'A' }));
      const { frame } = two.receive(ipPacket('192.0.2.1', VIP, icmpError(3, 4, 1400, quoted)));
      expectIpv4(frame, innerIs(destinationIs(inner?.destination ?? '')));
    }
    expect(two.core.counters().flowsActive).toBe(0);
  });

  test('eight quoted bytes are enough', async () => {
    const { receive } = await director();
    receive(syn(80));
    const quoted = ipPacket(VIP, CLIENT, tcp({ sourcePort: 80, destinationPort: 40000, flags: 'A' })).subarray(0, 28);
    const { frame } = receive(ipPacket('192.0.2.1', VIP, icmpError(3, 4, 1400, quoted)));
    expectIpv4(frame, destinationIs(HOST1), innerIs(destinationIs(VM_A1)));
    expect(frame.readUInt16BE(14 + 28 + 28 + 20)).toBe(8080);
  });

  test('port-unreachable of a target reaches the client in the VIP’s name', async () => {
    const { receive } = await director();
    receive(ipPacket(CLIENT, VIP, udp(5353, 53, Buffer.from('query'))));
    const quoted = ipPacket(CLIENT, VM_A1, udp(5353, 8080, Buffer.from('query')));
    const error = ipPacket(VM_A1, CLIENT, icmpError(3, 3, 0, quoted));
    const { frame } = receive(ipPacket(HOST1, T1, gre(100, error)));
    expectIpv4(frame, sourceIs(VIP), destinationIs(CLIENT));
    expectIpv4(
      Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0]), frame.subarray(14 + 28)]),
      sourceIs(CLIENT),
      destinationIs(VIP),
      portsAre(5353, 53),
    );
  });

  test('packet-too-big about a tunnel lowers what its host is sent', async () => {
    const { receive } = await director();
    const quoted = ipPacket(T1, HOST1, gre(100, syn(80)));
    expect(receive(ipPacket('10.255.0.1', T1, icmpError(3, 4, 1300, quoted)))).toMatchObject({
      verdict: 'Consumed',
      reason: 'TunnelPmtu',
    });
    const big = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, flags: 'A', payload: Buffer.alloc(1300) }));
    const { frame } = receive(big);
    expect(frame.readUInt16BE(14 + 20 + 6)).toBe(1300 - 28);
  });

  test('an error that quotes no flow is dropped', async () => {
    const { receive } = await director();
    const quoted = ipPacket(VIP, CLIENT, tcp({ sourcePort: 82, destinationPort: 1, flags: 'A' }));
    expect(receive(ipPacket('192.0.2.1', VIP, icmpError(3, 4, 1400, quoted)))).toMatchObject({
      verdict: 'Drop',
      reason: 'IcmpUnmatched',
    });
  });
});

function icmpError(type: number, code: number, mtu: number, quoted: Buffer): { protocol: number; bytes: Buffer } {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, mtu >> 8, mtu & 255]), quoted]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt8(at) * 256 + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  bytes.writeUInt16BE(~sum & 0xffff, 2);
  return { protocol: 1, bytes };
}
