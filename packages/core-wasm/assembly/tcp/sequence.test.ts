// Sequence translation: RFC 9293 numbers, RFC 2018 blocks, RFC 7323 timestamps and windows, RFC 1624 checksums, there
// and back.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { CLIENT, PLACE, VIP, lay, metersWire, packetOf, reread, segment } from '../../test/meters-fixture.ts';
import { tcp } from '../../../../tools/testkit/build.ts';
import type { Wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await metersWire()));

interface Adds {
  sequence?: number;
  acknowledgment?: number;
  tsval?: number;
  tsecr?: number;
  shift?: number;
}

function translate(packet: Buffer, adds: Adds): Buffer {
  const at = lay(under, packet);
  const { sequence = 0, acknowledgment = 0, tsval = 0, tsecr = 0, shift = 0 } = adds;
  under.call['translateSegmentOne']!(at.tcp, sequence, acknowledgment, tsval, tsecr, shift);
  const out = under.take(PLACE.packet, packet.length);
  expect(reread(out).tcp?.isChecksumValid).toBe(true);
  return out;
}
const word = (packet: Buffer, offset: number): number => packet.readUInt32BE(20 + offset);
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const negative = (value: number): number => -value >>> 0;

test('an outbound segment: sequence, timestamp and window become ours, what it acknowledges stays', () => {
  const packet = packetOf(
    CLIENT,
    VIP,
    segment('0101080a00001000000020000101050a0000000100000002', {
      flags: 'A',
      sequence: 100,
      acknowledgement: 200,
      window: 1000,
    }),
  );
  const out = translate(packet, { sequence: 0xffffff00, tsval: 0x10, shift: 4 });
  expect([word(out, 4), word(out, 8), word(out, 24), word(out, 28), word(out, 36), word(out, 40)]).toEqual([
    (100 + 0xffffff00) >>> 0,
    200,
    0x1010,
    0x2000,
    1,
    2,
  ]);
  expect(out.readUInt16BE(34)).toBe(1000 >> 4);
});

test('an inbound segment of the client: acknowledgment, SACK blocks and TSecr become the target’s', () => {
  const packet = packetOf(
    CLIENT,
    VIP,
    segment('0101080a000010000000200001010512000000010000000200000003fffffff0', {
      flags: 'A',
      sequence: 100,
      acknowledgement: 5,
    }),
  );
  const out = translate(packet, { acknowledgment: 0xfffffff6, tsecr: negative(0x1000) });
  expect([word(out, 4), word(out, 8), word(out, 24), word(out, 28)]).toEqual([100, 0xfffffffb, 0x1000, 0x1000]);
  expect([word(out, 36), word(out, 40), word(out, 44), word(out, 48)]).toEqual([
    0xfffffff7, 0xfffffff8, 0xfffffff9, 0xffffffe6,
  ]);
});

test('a RST without ACK acknowledges nothing, so its zero stays; one with ACK is translated', () => {
  expect(
    word(translate(packetOf(CLIENT, VIP, tcp({ flags: 'R', acknowledgement: 0 })), { acknowledgment: 77 }), 8),
  ).toBe(0);
  expect(
    word(translate(packetOf(CLIENT, VIP, tcp({ flags: 'RA', acknowledgement: 1 })), { acknowledgment: 77 }), 8),
  ).toBe(78);
});

test('RFC 7323, 2.2: the window of a SYN is never scaled', () => {
  expect(translate(packetOf(CLIENT, VIP, tcp({ flags: 'SA' })), { shift: 4 }).readUInt16BE(34)).toBe(64240);
});

test('a window is rescaled, stays open when it was, shut when it was, and never wraps', () => {
  const scaled = (window: number, shift: number): number => {
    const { bytes, ...rest } = tcp({ flags: 'A' });
    bytes.writeUInt16BE(window, 14);
    return translate(packetOf(CLIENT, VIP, { ...rest, bytes }), { shift }).readUInt16BE(34);
  };
  expect([scaled(64240, 7), scaled(100, 7), scaled(0, 7), scaled(0, -7), scaled(1000, -7), scaled(511, -7)]).toEqual([
    501, 1, 0, 0, 65535, 65408,
  ]);
});

test('options at odd offsets: the checksum stays right', () => {
  for (const lead of ['01', '030307', '01030307'])
    fc.assert(
      fc.property(u32, u32, u32, (sequence, acknowledgment, tsval) => {
        const packet = packetOf(
          CLIENT,
          VIP,
          segment(`${lead}080a0000100000002000050a0000000100000002`, { flags: 'A' }),
        );
        const out = translate(packet, { sequence, acknowledgment, tsval, tsecr: tsval });
        expect(out.equals(packet)).toBe((sequence | acknowledgment | tsval) === 0);
      }),
      { numRuns: 50 },
    );
});

test('there and back is the identity, bytes and checksum', () => {
  const lists = fc.constantFrom(
    '',
    '0101080a0000100000002000',
    '01080a0000100000002000',
    '080a00001000000020000101050a0000000100000002',
    '0522' + 'fffffff0'.repeat(8),
    '0101051a' + '00000001'.repeat(6),
  );
  fc.assert(
    fc.property(
      lists,
      u32,
      u32,
      u32,
      u32,
      fc.uint8Array({ maxLength: 50 }),
      (list, sequence, acknowledgment, tsval, tsecr, payload) => {
        const packet = packetOf(CLIENT, VIP, segment(list, { flags: 'PA', sequence, acknowledgement: tsecr, payload }));
        const there = translate(packet, { sequence, acknowledgment, tsval, tsecr });
        const back = {
          sequence: negative(sequence),
          acknowledgment: negative(acknowledgment),
          tsval: negative(tsval),
          tsecr: negative(tsecr),
        };
        expect(translate(there, back).equals(packet)).toBe(true);
      },
    ),
  );
});

test('a checksum that was wrong stays wrong', () => {
  const packet = packetOf(CLIENT, VIP, tcp({ flags: 'A', payload: Buffer.from('data') }));
  packet.writeUInt8(packet.readUInt8(42) ^ 1, 42);
  const at = lay(under, packet);
  under.call['translateSegmentOne']!(at.tcp, 1, 2, 3, 4, 1);
  expect(reread(under.take(at.ip, packet.length)).tcp?.isChecksumValid).toBe(false);
});

test('an ICMP quote of 8 bytes changes the ICMP checksum; one that reaches to the TCP checksum balances itself', () => {
  const packet = packetOf(CLIENT, VIP, tcp({ flags: 'A', sequence: 1000 }));
  const at = lay(under, packet);
  const change = under.call['translateQuotedOne']!(at.tcp, 8, 0x12345678);
  expect(word(under.take(at.ip, 40), 4)).toBe(1000 + 0x12345678);
  expect((((change & 0xff) << 8) | (change >> 8)) % 0xffff).toBe((0x1234 + 0x5678) % 0xffff);
  lay(under, packet);
  expect(under.call['translateQuotedOne']!(at.tcp, 20, 0x12345678)).toBe(0);
  expect(reread(under.take(at.ip, 40)).tcp?.isChecksumValid).toBe(true);
});
