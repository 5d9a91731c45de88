// ICMP through NAT64 (RFC 7915, 4.2, 4.3, 5.2, 5.3; RFC 4884; RFC 6791): every type and code, pointers, MTU, the quoted packet.
import { describe, expect, test } from 'vitest';
import { addressBytes, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { parseIp, pseudoSum, sum } from '../../../../tools/testkit/parse.ts';
import type { Nat64Result } from '../../src/nat64.ts';
import { embedded, fragmentHeader, icmp, ipv4, only, translator, withExtensions } from './translator.ts';

const A4 = '198.51.100.7';
const B4 = '203.0.113.10';
const ROUTER4 = '198.51.100.1';
const [A6, B6, ROUTER6] = [A4, B4, ROUTER4].map(embedded) as [string, string, string];
const nat64 = await translator({ allowNonGlobal: true });
const text = (packet: Buffer) => parseIp(packet, packet.readUInt8(0) >> 4 === 6 ? 0x86dd : 0x0800);
const PAYLOAD = Buffer.from('the payload of a ping');

/** An error from the router to A about a packet that A had sent to B. */
const error4 = (type: number, code: number, rest = 0, quote = ipv4(A4, B4, udp(7, 9, PAYLOAD))) =>
  ipv4(ROUTER4, A4, icmp(4, type, code, rest, quote));
const error6 = (type: number, code: number, rest = 0, quote = ipPacket(A6, B6, udp(7, 9, PAYLOAD))) =>
  ipPacket(ROUTER6, A6, icmp(6, type, code, rest, quote));

/** type/code of the translated message, with a mark when its checksum is wrong, or the reason why there is none. */
const outcome = (result: Nat64Result): string => {
  if (result.verdict !== 'translated') return `${result.verdict} ${result.reason}`;
  const { type, code, isChecksumValid } = text(only(result))?.icmp ?? {};
  return `${type}/${code}${isChecksumValid === true ? '' : ' wrong checksum'}`;
};
const NO_TYPE = 'dropped IcmpType';
/** What every number from 0 on gives, where it gives something. */
const tableOf = (count: number, what: (number: number) => string): Record<number, string> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, number) => [number, what(number)] as const).filter(
      ([, said]) => said !== NO_TYPE,
    ),
  );
/** Rows as the RFC writes them: numbers or ranges, then the outcome. */
const rows = (...lines: readonly (readonly [from: number, to: number, outcome: string])[]): Record<number, string> =>
  Object.fromEntries(
    lines.flatMap(([from, to, said]) => Array.from({ length: to - from + 1 }, (_, index) => [from + index, said])),
  );

describe('RFC 7915, 4.2: ICMPv4 to ICMPv6', () => {
  test('every code of destination unreachable, and no other', () => {
    expect(tableOf(256, (code) => outcome(nat64.translate46(error4(3, code))))).toEqual(
      rows(
        [0, 1, '1/0'],
        [2, 2, '4/1'],
        [3, 3, '1/4'],
        [4, 4, '2/0'],
        [5, 8, '1/0'],
        [9, 10, '1/1'],
        [11, 12, '1/0'],
        [13, 13, '1/1'],
        [15, 15, '1/1'],
      ),
    );
    expect(only(nat64.translate46(error4(3, 2))).readUInt32BE(44)).toBe(6);
  });

  test('every type', () => {
    expect(tableOf(256, (type) => outcome(nat64.translate46(error4(type, 0))))).toEqual(
      rows([0, 0, '129/0'], [3, 3, '1/0'], [8, 8, '128/0'], [11, 11, '3/0'], [12, 12, '4/0']),
    );
    expect(outcome(nat64.translate46(error4(11, 1)))).toBe('3/1');
    expect(outcome(nat64.translate46(error4(12, 1)))).toBe(NO_TYPE);
  });

  test('figure 3: every pointer', () => {
    for (const code of [0, 2]) {
      const pointers = tableOf(256, (pointer) => {
        const result = nat64.translate46(error4(12, code, pointer << 24));
        return result.verdict === 'translated' ? `${only(result).readUInt32BE(44)}` : outcome(result);
      });
      expect(pointers).toEqual(
        rows([0, 0, '0'], [1, 1, '1'], [2, 3, '4'], [8, 8, '7'], [9, 9, '6'], [12, 15, '8'], [16, 19, '24']),
      );
    }
  });

  test('the MTU grows by 20, never over the links, never under 1280; 0 means the plateau below the packet', async () => {
    const links = await translator({ allowNonGlobal: true, mtu6: 1490, mtu4: 1500 });
    for (const [mtu, expected] of [
      [1400, 1420],
      [576, 1280],
      [1480, 1490],
      [9000, 1490],
      [1260, 1280],
      [1261, 1281],
    ] as const)
      expect(only(links.translate46(error4(3, 4, mtu))).readUInt32BE(44)).toBe(expected);
    const wide = await translator({ allowNonGlobal: true, mtu6: 65_535, mtu4: 65_535 });
    for (const [length, expected] of [
      [1500, 1512],
      [1493, 1512],
      [1492, 1280],
      [3000, 2022],
      [9000, 8186],
      [600, 1280],
    ] as const) {
      const quote = ipv4(A4, B4, udp(7, 9, Buffer.alloc(length - 28))).subarray(0, 100);
      expect(only(wide.translate46(error4(3, 4, 0, quote))).readUInt32BE(44)).toBe(expected);
    }
  });
});

describe('RFC 7915, 5.2: ICMPv6 to ICMPv4', () => {
  test('every type and code', () => {
    const codesOf = (type: number) => tableOf(256, (code) => outcome(nat64.translate64(error6(type, code))));
    expect(codesOf(1)).toEqual(rows([0, 0, '3/1'], [1, 1, '3/10'], [2, 3, '3/1'], [4, 4, '3/3']));
    expect(codesOf(4)).toEqual(rows([0, 0, '12/0'], [1, 1, '3/2']));
    expect(tableOf(256, (type) => outcome(nat64.translate64(error6(type, 0))))).toEqual(
      rows([1, 1, '3/1'], [2, 2, '3/4'], [3, 3, '11/0'], [4, 4, '12/0'], [128, 128, '8/0'], [129, 129, '0/0']),
    );
    expect(outcome(nat64.translate64(error6(3, 1)))).toBe('11/1');
  });

  test('figure 6: every pointer', () => {
    const pointers = tableOf(300, (pointer) => {
      const result = nat64.translate64(error6(4, 0, pointer));
      return result.verdict === 'translated' ? `${only(result).readUInt8(24)}` : outcome(result);
    });
    expect(pointers).toEqual(
      rows([0, 0, '0'], [1, 1, '1'], [4, 5, '2'], [6, 6, '9'], [7, 7, '8'], [8, 23, '12'], [24, 39, '16']),
    );
  });

  test('the MTU shrinks by 20, by 28 when the packet in error had a fragment header, and to the links, never under 68', async () => {
    const links = await translator({ allowNonGlobal: true, mtu6: 1500, mtu4: 1450 });
    for (const [mtu, expected] of [
      [1400, 1380],
      [1280, 1260],
      [1500, 1450],
      [4_000_000_000, 1450],
      [10, 68],
    ] as const)
      expect(only(links.translate64(error6(2, 0, mtu))).readUInt16BE(26)).toBe(expected);
    const quote = withExtensions(ipPacket(A6, B6, udp(7, 9, PAYLOAD)), [[44, fragmentHeader(0, true, 5)]]);
    expect(only(links.translate64(error6(2, 0, 1400, quote))).readUInt16BE(26)).toBe(1372);
  });

  test('an error of a router without an IPv4 address comes from ours (RFC 6791)', () => {
    const packet = ipPacket('2001:db8:7::1', A6, icmp(6, 3, 0, 0, ipPacket(A6, B6, udp(7, 9, PAYLOAD))));
    expect(text(only(nat64.translate64(packet)))).toMatchObject({
      source: '192.0.2.254',
      destination: A4,
      icmp: { type: 11, isChecksumValid: true },
    });
    expect(nat64.translate64(ipPacket('2001:db8:7::1', A6, icmp(6, 128, 0, 0, PAYLOAD)))).toMatchObject({
      reason: 'NotTranslatable',
    });
  });
});

describe('RFC 7915, 4.3 and 5.3: the quoted packet', () => {
  const whole = (inner: Buffer, protocol: number, v6: boolean): boolean => {
    const l4 = inner.subarray(v6 ? 40 : 20);
    return sum(l4, pseudoSum(v6 ? inner.subarray(8, 40) : inner.subarray(12, 20), protocol, l4.length)) === 0xffff;
  };

  test('is translated with its checksums, its TTL as it was', () => {
    for (const [payload, protocol] of [
      [udp(7, 9, PAYLOAD), 17],
      [tcp({ payload: PAYLOAD }), 6],
    ] as const) {
      const out = only(nat64.translate46(error4(11, 0, 0, ipv4(A4, B4, payload, { ttl: 5, tos: 8 }))));
      const inner = out.subarray(48);
      expect(text(inner)).toMatchObject({ source: A6, destination: B6, ttl: 5, protocol, totalLength: inner.length });
      expect(whole(inner, protocol, true)).toBe(true);
      const back = only(nat64.translate64(error6(3, 0, 0, ipPacket(A6, B6, payload, 5))));
      expect(text(back.subarray(28))).toMatchObject({
        source: A4,
        destination: B4,
        ttl: 5,
        isChecksumValid: true,
        totalLength: back.length - 28,
      });
      expect(whole(back.subarray(28), protocol, false)).toBe(true);
    }
  });

  test('an echo inside becomes the echo of the other family', () => {
    const out = only(nat64.translate46(error4(11, 0, 0, ipv4(A4, B4, icmp(4, 8, 0, 0x00070001, PAYLOAD)))));
    expect(text(out.subarray(48))).toMatchObject({ protocol: 58, icmp: { type: 128, isChecksumValid: true } });
    const back = only(nat64.translate64(error6(3, 0, 0, ipPacket(A6, B6, icmp(6, 129, 0, 0x00070001, PAYLOAD)))));
    expect(text(back.subarray(28))).toMatchObject({ protocol: 1, icmp: { type: 0, isChecksumValid: true } });
  });

  test('eight bytes of transport are enough, seven and an error inside an error are not', () => {
    const quote = ipv4(A4, B4, tcp());
    const out = only(nat64.translate46(error4(3, 1, 0, quote.subarray(0, 28))));
    expect(text(out)).toMatchObject({ icmp: { isChecksumValid: true }, totalLength: 40 + 8 + 40 + 8 });
    expect(out.subarray(88).equals(quote.subarray(20, 28))).toBe(true);
    expect(nat64.translate46(error4(3, 1, 0, quote.subarray(0, 27)))).toMatchObject({ reason: 'IcmpQuote' });
    expect(nat64.translate46(error4(3, 1, 0, error4(3, 1)))).toMatchObject({ verdict: 'dropped', reason: 'IcmpQuote' });
    expect(nat64.translate64(error6(1, 0, 0, error6(1, 0)))).toMatchObject({ verdict: 'dropped', reason: 'IcmpQuote' });
  });

  test('an ICMPv6 error stays within 1280 bytes', () => {
    const out = only(nat64.translate46(error4(3, 1, 0, ipv4(A4, B4, udp(7, 9, Buffer.alloc(1400, 'q'))))));
    expect(text(out)).toMatchObject({ totalLength: 1280, icmp: { isChecksumValid: true } });
    expect(out.length).toBe(1280);
  });

  test('RFC 4884: extensions move behind the translated quote and the length says where', () => {
    const extension = Buffer.from('20000000000801010001e141', 'hex');
    const quote4 = Buffer.concat([ipv4(A4, B4, udp(7, 9, PAYLOAD)), Buffer.alloc(128)]).subarray(0, 128);
    const out = only(nat64.translate46(error4(11, 0, 32 << 16, Buffer.concat([quote4, extension]))));
    expect(out.readUInt8(44)).toBe(16);
    expect(out.subarray(48 + 128).equals(extension)).toBe(true);
    expect(text(out)?.icmp).toMatchObject({ isChecksumValid: true });
    const long = Buffer.concat([ipv4(A4, B4, udp(7, 9, Buffer.alloc(104, 'z'))), extension]);
    const grown = only(nat64.translate46(error4(11, 0, 33 << 16, long)));
    expect(grown.readUInt8(44)).toBe(19);
    expect(grown.subarray(48 + 152).equals(extension)).toBe(true);
    const back = only(nat64.translate64(error6(3, 0, 19 << 24, grown.subarray(48))));
    expect(back.readUInt8(25)).toBe(33);
    expect(back.subarray(28 + 132).equals(extension)).toBe(true);
    expect(text(back)?.icmp).toMatchObject({ isChecksumValid: true });
  });

  test('RFC 4884: the quote makes way for extensions; what cannot carry them loses them', () => {
    const extension = Buffer.from('20000000000801010001e141', 'hex');
    const long = Buffer.concat([ipv4(A4, B4, udp(7, 9, Buffer.alloc(992, 'z'))), extension]);
    const cut = only(nat64.translate46(error4(11, 0, 255 << 16, long)));
    expect(text(cut)).toMatchObject({ icmp: { isChecksumValid: true } });
    expect(cut.readUInt8(44) * 8 + 48 + extension.length).toBe(cut.length);
    expect(cut.subarray(-extension.length).equals(extension)).toBe(true);
    const huge = Buffer.concat([ipv4(A4, B4, udp(7, 9, Buffer.alloc(100, 'z'))), Buffer.alloc(1200, 0xee)]);
    const without = only(nat64.translate46(error4(11, 0, 32 << 16, huge)));
    expect(without.readUInt8(44)).toBe(0);
    expect(text(without)).toMatchObject({ totalLength: 48 + 40 + 108, icmp: { isChecksumValid: true } });
    const quote = ipv4(A4, B4, udp(7, 9, Buffer.alloc(100, 'z')));
    const pointer = only(nat64.translate46(error4(12, 0, (8 << 24) | (32 << 16), Buffer.concat([quote, extension]))));
    expect(pointer.readUInt32BE(44)).toBe(7);
    expect(text(pointer)).toMatchObject({ totalLength: 48 + 40 + 108, icmp: { type: 4, isChecksumValid: true } });
  });

  test('an error is cut to the link instead of being refused, with DF and without', async () => {
    const narrow = await translator({ allowNonGlobal: true, mtu6: 1280, mtu4: 600 });
    const large = icmp(4, 3, 1, 0, ipv4(A4, B4, udp(7, 9, Buffer.alloc(1400, 'q'))));
    for (const fragment of [0, 0x4000])
      expect(only(narrow.translate46(ipv4(ROUTER4, A4, large, { fragment }))).length).toBe(1280);
    const back = only(narrow.translate64(error6(1, 0, 0, ipPacket(A6, B6, udp(7, 9, Buffer.alloc(1100, 'q'))))));
    expect(text(back)).toMatchObject({ totalLength: 600, icmp: { type: 3, isChecksumValid: true } });
  });

  test('4.1: a router may have an address that no host may have', async () => {
    const strict = await translator();
    for (const router of ['127.0.0.1', '10.0.0.1', '224.0.0.5', '0.0.0.0']) {
      const quote = ipv4('8.8.4.4', '8.8.8.8', udp(7, 9, PAYLOAD));
      const out = only(strict.translate46(ipv4(router, '8.8.4.4', icmp(4, 11, 0, 0, quote))));
      expect(text(out)).toMatchObject({ source: strict.embed(router), icmp: { type: 3, isChecksumValid: true } });
    }
    const quote = ipPacket(embedded('8.8.4.4'), embedded('8.8.8.8'), udp(7, 9, PAYLOAD));
    const out = only(strict.translate64(ipPacket(embedded('10.0.0.1'), embedded('8.8.4.4'), icmp(6, 3, 0, 0, quote))));
    expect(text(out)).toMatchObject({ source: '192.0.2.254', icmp: { type: 11, isChecksumValid: true } });
  });

  test('a wrong checksum stays wrong', () => {
    const packet = error4(3, 1);
    packet.writeUInt16BE(packet.readUInt16BE(22) ^ 0x0100, 22);
    expect(text(only(nat64.translate46(packet)))?.icmp).toMatchObject({ isChecksumValid: false });
  });
});

test('echo request and reply keep identifier, sequence and payload both ways', () => {
  const ping = only(nat64.translate46(ipv4(A4, B4, icmp(4, 8, 0, 0x12345678, PAYLOAD))));
  expect(text(ping)).toMatchObject({ protocol: 58, icmp: { type: 128, code: 0, isChecksumValid: true } });
  expect(ping.subarray(44).equals(Buffer.concat([Buffer.from('12345678', 'hex'), PAYLOAD]))).toBe(true);
  const pong = only(nat64.translate64(ipPacket(B6, A6, icmp(6, 129, 0, 0x12345678, PAYLOAD))));
  expect(text(pong)).toMatchObject({
    protocol: 1,
    source: B4,
    destination: A4,
    icmp: { type: 0, code: 0, isChecksumValid: true },
  });
  expect(addressBytes(A6).length).toBe(16);
});
