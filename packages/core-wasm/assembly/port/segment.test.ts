// Software segmentation before a tunnel (data-plane.md P37): the segments are judged by the test kit's parser, and put together again.
import { describe, expect, test, beforeAll } from 'vitest';
import { ipPacket, tcp } from '../../../../tools/testkit/build.ts';
import { checksumFault } from '../../../../tools/testkit/expect.ts';
import { parseIp } from '../../../../tools/testkit/parse.ts';
import { type Wire, wire } from '../../test/wire.ts';

const AT = 8192;
const TO = 8192 + 65_536;
let under: Wire;
beforeAll(async () => {
  under = await wire();
});

const call = (name: string, ...values: number[]): number => under.call[name]?.(...values) ?? -1;

/** Every segment of a packet. */
function segments(packet: Buffer, mss: number): Buffer[] {
  under.put(packet, AT);
  const count = call('segmentCount', AT, packet.length, mss);
  return Array.from({ length: count }, (_, index) => {
    const length = call('writeSegment', AT, packet.length, mss, index, TO);
    return under.take(TO, length);
  });
}

const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index * 13) & 255));
const ETHER = { 4: 0x0800, 6: 0x86dd } as const;

describe.each([
  ['IPv4', '198.51.100.1', '203.0.113.10', 20],
  ['IPv6', '2001:db8::1', '2001:db8::2', 40],
] as const)('%s', (_name, source, destination, header) => {
  const family = header === 20 ? 4 : 6;
  const superFrame = (length: number, flags = 'FPAEC'): Buffer =>
    ipPacket(source, destination, tcp({ flags, sequence: 0xfffffff0, payload: bytes(length) }));

  test.each([
    [65_495 - header, 1432],
    [65_000, 1],
    [4096, 1432],
    [1433, 1432],
    [1432, 1432],
    [1, 1432],
  ])('%i bytes of data at an MSS of %i', (length, mss) => {
    const whole = superFrame(length);
    const parts = segments(whole, mss).slice(0, 2000);
    const read = parts.map((part) => parseIp(part, ETHER[family])!);
    expect(read.map(checksumFault).filter(Boolean)).toEqual([]);
    const data = Buffer.concat(read.map((part) => part.tcp?.payload ?? Buffer.alloc(0)));
    expect(data.equals(bytes(length).subarray(0, data.length))).toBe(true);
    expect(data.length).toBe(Math.min(length, 2000 * mss));
    for (const [index, part] of parts.entries()) {
      expect(part.readUInt32BE(header + 4)).toBe((0xfffffff0 + index * mss) >>> 0);
      expect(part.length).toBeLessThanOrEqual(header + 20 + mss);
    }
  });

  test('FIN and PSH on the last segment, CWR on the first, ECE and ACK on all (RFC 3168, 6.1.2)', () => {
    const read = segments(superFrame(3000), 1000).map((part) => parseIp(part, ETHER[family])?.tcp?.flags);
    expect(read).toEqual(['AEC', 'AE', 'FPAE']);
  });

  test('a partial checksum is as good as a true one', () => {
    const whole = superFrame(3000);
    const partial = Buffer.from(whole);
    partial.writeUInt16BE(0x1234, header + 16);
    expect(segments(partial, 1000)).toEqual(segments(whole, 1000));
  });

  test('options stand in every segment', () => {
    const whole = ipPacket(source, destination, tcp({ flags: 'A', mss: 1400, payload: bytes(2000) }));
    expect(segments(whole, 700).map((part) => parseIp(part, ETHER[family])?.tcp?.mss)).toEqual([1400, 1400, 1400]);
  });

  test('what must not be cut is refused', () => {
    for (const flags of ['S', 'SA', 'R', 'UA']) {
      const packet = superFrame(3000, flags);
      under.put(packet, AT);
      expect(call('segmentCount', AT, packet.length, 1000)).toBe(0);
    }
    const whole = superFrame(3000);
    under.put(whole, AT);
    expect(call('segmentCount', AT, whole.length, 0)).toBe(0);
    for (const length of [0, 1, header - 1, header, header + 19, whole.length - 1])
      expect(call('segmentCount', AT, length, 1000)).toBe(0);
    under.put(ipPacket(source, destination, { protocol: 17, bytes: bytes(3000) }), AT);
    expect(call('segmentCount', AT, header + 3000, 1000)).toBe(0);
  });
});

test('IPv4: the identification goes on by one, and wraps', () => {
  const whole = ipPacket('198.51.100.1', '203.0.113.10', tcp({ flags: 'A', payload: bytes(3000) }));
  whole.writeUInt16BE(0xffff, 4);
  expect(segments(whole, 1000).map((part) => part.readUInt16BE(4))).toEqual([0xffff, 0, 1]);
});
