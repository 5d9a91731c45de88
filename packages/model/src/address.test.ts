// RFC 4291 2.2 (reading), RFC 5952 (writing). Expected texts are written by hand; Node's own parser is the second opinion.
import { isIPv4, isIPv6 } from 'node:net';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  address,
  canonicalAddress,
  cidr,
  cidrContains,
  cidrsOverlap,
  compareAddresses,
  formatAddress,
  formatCidr,
  fromBytes16,
  type IpAddress,
  parseAddress,
  parseCidr,
  toBytes16,
} from './address.ts';

const v4 = fc.bigInt(0n, 0xffff_ffffn).map((value): IpAddress => ({ family: 4, value }));
const v6 = fc
  .array(fc.oneof(fc.constant(0n), fc.bigInt(0n, 0xffffn)), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.reduce((value, group) => (value << 16n) | group, 0n))
  .filter((value) => value >> 32n !== 0xffffn)
  .map((value): IpAddress => ({ family: 6, value }));
const any = fc.oneof(v4, v6);

describe('reading', () => {
  test.each([
    ['203.0.113.10', '203.0.113.10'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['fe80:0:0:0:0:0:0:1', 'fe80::1'],
  ])('%s is written %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '1.2.3.-4',
    'a.b.c.d',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8:9',
    'fe80::1%eth0',
    '12345::',
    'g::',
    '::1.2.3',
    '1.2.3.4::',
    '::ffff:1.2.3.4',
    '::ffff:102:304',
    '[::1]',
    '1.2.3.4/24',
    ' ::1',
  ])('%j is refused', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  test('what is accepted is what Node accepts, but zones and IPv4-mapped addresses', () => {
    const text = fc.stringMatching(/^[0-9a-f:.]{1,20}$/);
    fc.assert(
      fc.property(text, (candidate) => {
        const isMapped =
          isIPv6(candidate) && parseAddress(candidate) === undefined && candidate.toLowerCase().includes('ffff');
        expect(parseAddress(candidate) !== undefined || isMapped).toBe(isIPv4(candidate) || isIPv6(candidate));
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('writing', () => {
  test('every address survives text and bytes', () => {
    fc.assert(
      fc.property(any, (value) => {
        expect(address(formatAddress(value))).toEqual(value);
        expect(fromBytes16(toBytes16(value))).toEqual(value);
      }),
    );
  });

  test('IPv4 lies in tables as ::ffff:a.b.c.d, in network order', () => {
    expect([...toBytes16(address('198.51.100.1'))]).toEqual([
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 1,
    ]);
  });

  test('comparison is antisymmetric, and inside a family it agrees with the bytes', () => {
    fc.assert(
      fc.property(any, any, (a, b) => {
        expect(compareAddresses(a, b) > 0).toBe(compareAddresses(b, a) < 0);
      }),
    );
    fc.assert(
      fc.property(v6, v6, (a, b) => {
        expect(Math.sign(compareAddresses(a, b))).toBe(Math.sign(Buffer.compare(toBytes16(a), toBytes16(b))));
      }),
    );
  });
});

describe('blocks', () => {
  test.each(['10.0.0.1/24', '10.0.0.0/33', '10.0.0.0', '10.0.0.0/', '10.0.0.0/08', '2001:db8::1/64', '::/129'])(
    '%j is no block',
    (text) => {
      expect(parseCidr(text)).toBeUndefined();
    },
  );

  test('a block contains its first and last address and not their neighbours', () => {
    const block = cidr('100.64.0.0/10');
    expect(['100.64.0.0', '100.127.255.255'].map((text) => cidrContains(block, address(text)))).toEqual([true, true]);
    expect(['100.63.255.255', '100.128.0.0', '::6440:0'].map((text) => cidrContains(block, address(text)))).toEqual([
      false,
      false,
      false,
    ]);
  });

  test('overlap is symmetric and knows families apart', () => {
    expect(cidrsOverlap(cidr('10.0.0.0/8'), cidr('10.1.0.0/16'))).toBe(true);
    expect(cidrsOverlap(cidr('10.1.0.0/16'), cidr('10.0.0.0/8'))).toBe(true);
    expect(cidrsOverlap(cidr('10.0.0.0/9'), cidr('10.128.0.0/9'))).toBe(false);
    expect(cidrsOverlap(cidr('0.0.0.0/0'), cidr('::/0'))).toBe(false);
    expect(formatCidr(cidr('2001:DB8::/32'))).toBe('2001:db8::/32');
  });
});
