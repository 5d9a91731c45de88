// CRC32c against the check values of RFC 3720, B.4, and the plain definition; SCTP by RFC 9260: chunks, truncations,
// ports.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { metersWire } from '../../test/meters-fixture.ts';
import { AT, type Wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await metersWire()));

/** Bit by bit, as the polynomial says. */
function plainCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
const crcOf = (bytes: Uint8Array, at = AT): number => under.call['crc32c']!(under.put(bytes, at), bytes.length) >>> 0;

/** A packet with one chunk; the checksum is the plain definition's. */
function packet(type: number, body: Uint8Array, tag = 0x01020304): Buffer {
  const chunk = Buffer.concat([Buffer.from([type, 0, (4 + body.length) >> 8, (4 + body.length) & 255]), body]);
  const padding = Buffer.alloc((4 - (chunk.length % 4)) % 4);
  const bytes = Buffer.concat([Buffer.from('9c4013880000000000000000', 'hex'), chunk, padding]);
  bytes.writeUInt32BE(tag, 4);
  bytes.writeUInt32LE(plainCrc(bytes), 8);
  return bytes;
}
const isValid = (bytes: number): boolean => under.call['sctpIsChecksumValid']!(AT, bytes) === 1;

test('RFC 3720 B.4: 32 bytes of zeros, of ones, rising and falling', () => {
  expect(crcOf(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crcOf(Buffer.alloc(32))).toBe(0x8a9136aa);
  expect(crcOf(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
  expect(crcOf(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
  expect(crcOf(Uint8Array.from({ length: 32 }, (_, index) => 31 - index))).toBe(0x113fdb5c);
});

test('the CRC of any bytes of any length at any address is the one of the definition', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000, size: 'max' }), fc.integer({ min: 0, max: 7 }), (bytes, shift) => {
      expect(crcOf(bytes, AT + shift)).toBe(plainCrc(bytes));
    }),
    { numRuns: 60 },
  );
});

test('RFC 9260, 6.8: the checksum is computed over the packet with its own field as zeros', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1400, size: 'max' }), (body) => {
      const bytes = packet(0, body);
      under.put(bytes);
      expect(isValid(bytes.length)).toBe(true);
      under.bytes[AT + 8]! ^= 1;
      expect(isValid(bytes.length)).toBe(false);
      under.call['sctpSetChecksum']!(AT, bytes.length);
      expect(under.take(AT, bytes.length).equals(bytes)).toBe(true);
    }),
    { numRuns: 40 },
  );
});

test('other ports keep a right checksum right and a damaged packet damaged', () => {
  const port = fc.integer({ min: 0, max: 65535 });
  fc.assert(
    fc.property(
      port,
      port,
      fc.uint8Array({ maxLength: 1400, size: 'max' }),
      fc.boolean(),
      (source, destination, body, isDamaged) => {
        const bytes = packet(0, body);
        under.put(bytes);
        if (isDamaged) under.bytes[AT + bytes.length - 1]! ^= 0x10;
        under.call['sctpRewritePorts']!(AT, bytes.length, source, destination);
        const out = under.take(AT, bytes.length);
        expect([out.readUInt16BE(0), out.readUInt16BE(2)]).toEqual([source, destination]);
        expect(isValid(bytes.length)).toBe(!isDamaged);
        const checksum = out.readUInt32LE(8);
        out.writeUInt32LE(0, 8);
        expect(checksum === plainCrc(out)).toBe(!isDamaged);
      },
    ),
    { numRuns: 60 },
  );
});

test('RFC 9653: no checksum stays no checksum', () => {
  const bytes = packet(0, Buffer.from('data'));
  bytes.writeUInt32LE(0, 8);
  under.put(bytes);
  under.call['sctpRewritePorts']!(AT, bytes.length, 1, 2);
  expect(under.take(AT + 8, 4).readUInt32LE()).toBe(0);
});

test('RFC 9260, 8.5.1: INIT opens with the tag 0 and alone, or it opens nothing', () => {
  const init = Buffer.alloc(16);
  const isInit = (bytes: Buffer): number => under.call['sctpIsInit']!(under.put(bytes), bytes.length);
  expect(isInit(packet(1, init, 0))).toBe(1);
  expect(isInit(packet(1, init, 7))).toBe(0);
  expect(isInit(packet(2, init, 0))).toBe(0);
  expect(isInit(Buffer.concat([packet(1, init, 0), Buffer.from('00000004', 'hex')]))).toBe(0);
  const isEnd = (bytes: Buffer): number => under.call['sctpIsEnd']!(under.put(bytes));
  expect([0, 6, 7, 8, 14].map((type) => isEnd(packet(type, Buffer.alloc(0))))).toEqual([0, 1, 0, 0, 1]);
});

test('an SCTP packet is refused at every cut and with an impossible chunk length', () => {
  const sctp = packet(1, Buffer.alloc(16), 0);
  const ip = Buffer.alloc(20);
  ip.set([0x45], 0);
  ip.set([132], 9);
  const at = (length: number, chunk = 20): number => {
    ip.writeUInt16BE(20 + length, 2);
    const bytes = Buffer.concat([ip, sctp.subarray(0, length)]);
    if (length > 16) bytes.writeUInt16BE(chunk, 34);
    return under.call['transportAt']!(under.put(bytes), bytes.length, 132);
  };
  for (let length = 0; length < sctp.length; length++) expect(at(length)).toBe(0);
  expect(at(sctp.length)).toBe(20);
  for (const chunk of [0, 3, 21, 65535]) expect(at(sctp.length, chunk)).toBe(0);
});
