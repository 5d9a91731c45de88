// TCP, UDP, ICMP, GRE, ARP and 802.1Q: truncations, options at odd offsets, and rewrites whose checksums a second
// reader verifies.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { parseIp, type IpLayer } from '../../../../tools/testkit/parse.ts';
import { bytes16, icmpv4 } from '../../test/endpoint-fixture.ts';
import { AT, type Wire, wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await wire()));

const L4 = AT + 20;
const OLD = 64;
const NEW = 96;
const reread = (length: number): IpLayer => parseIp(under.take(AT, length), 0x0800)!;
const port = fc.integer({ min: 0, max: 65535 });

test('a TCP header is refused at every cut and with an impossible data offset', () => {
  const { bytes } = tcp({ mss: 1460 });
  const check = (length: number): number => under.call['tcpIsWellFormed']!(under.put(bytes), length);
  for (let length = 0; length < bytes.length; length++) expect(check(length)).toBe(0);
  expect(check(bytes.length)).toBe(1);
  under.bytes[AT + 12] = 0x40;
  expect(under.call['tcpIsWellFormed']!(AT, bytes.length)).toBe(0);
});

test('ports and addresses of TCP are rewritten and the checksum stays right', () => {
  fc.assert(
    fc.property(port, port, fc.ipV4(), fc.uint8Array({ maxLength: 33 }), (source, destination, address, payload) => {
      const packet = ipPacket('198.51.100.1', '203.0.113.10', tcp({ payload, flags: 'A' }));
      under.put(packet);
      under.call['tcpRewritePorts']!(L4, source, destination);
      under.call['tcpUpdateAddress']!(L4, under.put(bytes16('203.0.113.10'), OLD), under.put(bytes16(address), NEW));
      under.call['ipv4RewriteDestination']!(AT, NEW);
      expect(reread(packet.length)).toMatchObject({
        isChecksumValid: true,
        tcp: { sourcePort: source, destinationPort: destination, isChecksumValid: true },
      });
    }),
  );
});

test('UDP likewise, and without a checksum it stays without', () => {
  fc.assert(
    fc.property(
      port,
      port,
      fc.ipV4(),
      fc.uint8Array({ maxLength: 33 }),
      fc.boolean(),
      (source, destination, address, payload, has) => {
        const packet = ipPacket('198.51.100.1', '203.0.113.10', udp(1, 2, payload));
        if (!has) packet.writeUInt16BE(0, 26);
        under.put(packet);
        under.call['udpRewritePorts']!(L4, source, destination);
        under.call['udpUpdateAddress']!(L4, under.put(bytes16('203.0.113.10'), OLD), under.put(bytes16(address), NEW));
        under.call['ipv4RewriteDestination']!(AT, NEW);
        expect(reread(packet.length).udp).toMatchObject({ sourcePort: source, isChecksumValid: true });
        expect(under.take(L4 + 6, 2).readUInt16BE() !== 0).toBe(has);
      },
    ),
  );
});

test('the MSS option is found and lowered wherever it stands, also at an odd offset', () => {
  for (const lead of ['', '01', '0101', '010101', '0303070101', '080a0000000100000002']) {
    const options = Buffer.concat([Buffer.from(lead, 'hex'), Buffer.from('020405b4', 'hex')]);
    const padded = Buffer.concat([options, Buffer.alloc((4 - (options.length % 4)) % 4)]);
    const built = tcp();
    const bytes = Buffer.concat([built.bytes, padded]);
    bytes.writeUInt8((bytes.length / 4) << 4, 12);
    const packet = ipPacket('198.51.100.1', '203.0.113.10', { ...built, bytes });
    under.put(packet);
    expect(under.call['tcpMss']!(L4)).toBe(1460);
    expect(under.call['tcpClampMss']!(L4, 1460)).toBe(0);
    expect(under.call['tcpClampMss']!(L4, 1432)).toBe(1);
    expect(under.call['tcpMss']!(L4)).toBe(1432);
    expect(reread(packet.length).tcp?.isChecksumValid).toBe(true);
  }
});

test('any option bytes end the search inside the header', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), (options) => {
      const bytes = Buffer.concat([tcp().bytes, options]);
      bytes.writeUInt8(0xf0, 12);
      under.put(bytes);
      under.bytes.fill(2, AT + 60, AT + 80);
      const before = under.take(AT + 60, 20);
      under.call['tcpClampMss']!(AT, 1);
      expect(under.take(AT + 60, 20).equals(before)).toBe(true);
    }),
  );
});

test('a UDP length that does not fit is refused', () => {
  const { bytes } = udp(1, 2, Buffer.from('abc'));
  const check = (length: number, said = bytes.length): number => {
    under.put(bytes);
    under.bytes.set([said >> 8, said & 255], AT + 4);
    return under.call['udpIsWellFormed']!(AT, length);
  };
  expect(check(11)).toBe(1);
  expect(check(20)).toBe(1);
  for (const [length, said] of [
    [7, 11],
    [11, 12],
    [11, 7],
    [11, 0],
  ] as const)
    expect(check(length, said)).toBe(0);
});

test('an echo becomes a reply with a right checksum', () => {
  const packet = ipPacket('198.51.100.1', '203.0.113.10', icmpv4(Buffer.from('08000000123400ff6162', 'hex')));
  under.put(packet);
  under.call['icmpv4RewriteType']!(L4, 0);
  expect(reread(packet.length).icmp).toEqual({ type: 0, code: 0, isChecksumValid: true });
});

test('only GRE with a key and nothing else is ours', () => {
  const { bytes } = gre(0xfffffeff, ipPacket('10.0.0.1', '10.0.0.2', tcp()));
  expect(under.call['greIsWellFormed']!(under.put(bytes), bytes.length)).toBe(1);
  expect(under.call['greVpcId']!(AT) >>> 0).toBe(0xfffffeff);
  expect(under.call['greIsWellFormed']!(AT, 7)).toBe(0);
  for (const flags of [0x0000, 0x8000, 0xa000, 0x3000, 0x2001]) {
    under.bytes.set([flags >> 8, flags & 255], AT);
    expect(under.call['greIsWellFormed']!(AT, bytes.length)).toBe(0);
  }
});

test('ARP of another hardware or protocol is not read', () => {
  const packet = Buffer.from('00010800060400010a0000000a010a000002000000000000000a000001'.slice(0, 56), 'hex');
  expect(under.call['arpIsWellFormed']!(under.put(packet), 28)).toBe(1);
  expect(under.call['arpSender']!(AT) >>> 0).toBe(0x0a000002);
  expect(under.call['arpIsWellFormed']!(AT, 27)).toBe(0);
  for (const offset of [1, 2, 4, 5]) {
    under.put(packet);
    under.bytes[AT + offset] = 9;
    expect(under.call['arpIsWellFormed']!(AT, 28)).toBe(0);
  }
});

test('an 802.1Q tag and an Ethernet header are read as they lie', () => {
  under.put(Buffer.from('ffffffffffff0a0000000a0181002064 0800'.replace(' ', ''), 'hex'));
  expect(under.call['ethernetEtherType']!(AT)).toBe(0x8100);
  expect(under.call['ethernetIsGroup']!(AT)).toBe(1);
  expect(under.call['vlanId']!(AT + 14)).toBe(0x064);
  expect(under.call['vlanEtherType']!(AT + 14)).toBe(0x0800);
});
