// The packet kit judges the product, so it is judged here: against bytes written down by hand (data-plane.md P39) and against broken ones.
import { expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp, udp } from './build.ts';
import { pcap } from './capture.ts';
import {
  checksumFault,
  destinationIs,
  expectIpv4,
  expectIpv6,
  innerIs,
  keyIs,
  portsAre,
  sourceIs,
  ttlIs,
} from './expect.ts';
import { parseFrame } from './parse.ts';
import type { IpLayer } from './parse.ts';

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'] as const;
const frame = (packet: Buffer): Buffer => ethernet(...MACS, packet);
const syn = (): Buffer =>
  ipPacket('198.51.100.1', '10.0.0.2', tcp({ sourcePort: 40000, destinationPort: 8080, mss: 1460 }), 63);

test('a SYN in GRE is read layer by layer, as P39 writes it down', () => {
  const bytes = frame(ipPacket('10.254.1.1', '10.255.0.11', gre(100, syn())));
  expect(bytes.subarray(34, 42).toString('hex')).toBe('2000080000000064');
  expectIpv4(
    bytes,
    sourceIs('10.254.1.1'),
    destinationIs('10.255.0.11'),
    keyIs(100),
    innerIs(sourceIs('198.51.100.1'), destinationIs('10.0.0.2'), portsAre(40000, 8080), ttlIs(63)),
  );
  expect(parseFrame(bytes).ip?.inner?.tcp).toMatchObject({ flags: 'S', mss: 1460 });
});

test('a header checksum known from RFC 1071 practice is accepted as it stands', () => {
  const known = Buffer.from('45000073000040004011b861c0a80001c0a800c7', 'hex');
  expect(parseFrame(frame(Buffer.concat([known, Buffer.alloc(95)]))).ip?.isChecksumValid).toBe(true);
});

test('one flipped bit in any layer is found', () => {
  const whole = frame(ipPacket('10.254.1.1', '10.255.0.11', gre(100, syn())));
  const faultAt = (at: number): string | undefined => {
    const broken = Buffer.from(whole);
    broken.writeUInt8(broken.readUInt8(at) ^ 1, at);
    return checksumFault(parseFrame(broken).ip as IpLayer);
  };
  expect(checksumFault(parseFrame(whole).ip as IpLayer)).toBeUndefined();
  expect(faultAt(14 + 8)).toMatch(/IPv4 header checksum of 10.254.1.1/);
  expect(faultAt(14 + 28 + 8)).toMatch(/IPv4 header checksum of 198.51.100.1/);
  expect(faultAt(14 + 28 + 20 + 4)).toMatch(/TCP checksum/);
});

test('IPv6 with UDP is read and verified as well', () => {
  const packet = expectIpv6(
    frame(ipPacket('2001:db8::1', 'fd00::2', udp(1000, 53, Buffer.from('odd')))),
    portsAre(1000, 53),
  );
  expect(packet).toMatchObject({ source: '2001:db8::1', destination: 'fd00::2' });
  expect(packet.udp?.payload.toString()).toBe('odd');
});

test('a capture file has the header that every reader knows', () => {
  const file = pcap([{ atMs: 1_500, bytes: frame(syn()) }]);
  expect(file.subarray(0, 4).toString('hex')).toBe('d4c3b2a1');
  expect(file.readUInt32LE(24 + 4)).toBe(500_000);
  expect(file.length).toBe(24 + 16 + frame(syn()).length);
});
