// RFC 1071 sums against the plain definition, RFC 1624 updates against a recomputation, for any bytes.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { sum } from '../../../../tools/testkit/parse.ts';
import { AT, type Wire, wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await wire()));

const swapped = (value: number): number => ((value & 0xff) << 8) | (value >> 8);
/** Our sums are over words as they lie in memory; both zeros of one's complement are the same number. */
const sumAt = (at: number, bytes: number): number => swapped(under.call['sumOf']!(at, bytes)) % 0xffff;

test('the example of RFC 1071 sums up to ddf2', () => {
  under.put(Buffer.from('0001f203f4f5f6f7', 'hex'));
  expect(swapped(under.call['sumOf']!(AT, 8))).toBe(0xddf2);
});

test('sums of any bytes at any address equal the plain definition', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1600 }), fc.integer({ min: 0, max: 7 }), (bytes, shift) => {
      under.put(bytes, AT + shift);
      expect(sumAt(AT + shift, bytes.length)).toBe(sum(bytes) % 0xffff);
    }),
  );
});

test('an updated checksum verifies like one computed afresh, whatever changed', () => {
  const words = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(words, words, fc.uint8Array({ minLength: 1, maxLength: 64 }), (before, after, rest) => {
      const data = Buffer.concat([before, rest]);
      const checksum = ~swapped(sum(data)) & 0xffff;
      under.put(before);
      const from = under.call['sumOfAddress']!(AT);
      under.put(after);
      const to = under.call['sumOfAddress']!(AT);
      const updated = swapped(under.call['update']!(checksum, from, to) & 0xffff);
      expect((sum(Buffer.concat([after, rest])) + updated) % 0xffff).toBe(0);
    }),
  );
});

test('a translation between families is the same update, because the mapping prefix is zero in the sum', () => {
  under.put(Buffer.from('00000000000000000000ffffc6336401', 'hex'));
  expect(swapped(under.call['sumOfAddress']!(AT)) % 0xffff).toBe(sum(Buffer.from('c6336401', 'hex')) % 0xffff);
});

test('UDP keeps "no checksum" and never sends zero for a real one', () => {
  expect(under.call['updateUdp']!(0, 0x1234, 0x4321)).toBe(0);
  const checksum = 0x0001;
  const from = 0x0001;
  const to = 0x0002;
  expect(under.call['update']!(checksum, from, to)).toBe(0);
  expect(under.call['updateUdp']!(checksum, from, to)).toBe(0xffff);
});

test('the pseudo header sums up as RFC 9293 and RFC 8200 say', () => {
  const source = Buffer.from('00000000000000000000ffffc6336401', 'hex');
  const destination = Buffer.from('00000000000000000000ffff0a000002', 'hex');
  under.put(source);
  under.put(destination, AT + 16);
  const plain = sum(Buffer.from('c63364010a00000200060028', 'hex'));
  expect(swapped(under.call['sumOfPseudoHeader']!(AT, AT + 16, 6, 0x28)) % 0xffff).toBe(plain % 0xffff);
});
