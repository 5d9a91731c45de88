// Stateless NAT64 (RFC 7915): rows named by their section, a packet in, verdict and packet out.
import { describe, expect, test } from 'vitest';
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { parseIp, sum } from '../../../../tools/testkit/parse.ts';
import { embedded, fragmentHeader, icmp, ipv4, only, translator, withExtensions } from './translator.ts';

const A4 = '198.51.100.7';
const B4 = '203.0.113.10';
const A6 = embedded(A4);
const B6 = embedded(B4);
const nat64 = await translator({ allowNonGlobal: true });
const text = (packet: Uint8Array) => parseIp(Buffer.from(packet), (packet[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800);
const PAYLOAD = Buffer.from('forty-two bytes of payload, more or less..');

describe('RFC 7915, 4.1: IPv4 header to IPv6', () => {
  test('addresses, traffic class, hop limit and payload length', () => {
    const out = only(
      nat64.translate46(ipv4(A4, B4, tcp({ payload: PAYLOAD }), { tos: 0xb9, ttl: 17, fragment: 0x4000 })),
    );
    expect(text(out)).toMatchObject({
      version: 6,
      source: A6,
      destination: B6,
      protocol: 6,
      ttl: 16,
      tcp: { isChecksumValid: true },
    });
    expect((out.readUInt16BE(0) >> 4) & 0xff).toBe(0xb9);
    expect(out.readUInt32BE(0) & 0xfffff).toBe(0);
    expect(out.readUInt16BE(4)).toBe(20 + PAYLOAD.length);
    expect(out.subarray(60).equals(PAYLOAD)).toBe(true);
  });

  test('a TTL that runs out is answered with time exceeded that quotes the packet as it came', () => {
    const packet = ipv4(A4, B4, udp(1, 2, PAYLOAD), { ttl: 1 });
    const result = nat64.translate46(packet);
    expect(result).toMatchObject({ verdict: 'answered', reason: 'HopLimit' });
    const out = only(result);
    expect(text(out)).toMatchObject({
      source: '192.0.2.254',
      destination: A4,
      isChecksumValid: true,
      icmp: { type: 11, code: 0, isChecksumValid: true },
    });
    expect(out.subarray(28).equals(packet)).toBe(true);
  });

  test('options are ignored; a source route that is not finished is refused with 3/5', () => {
    const timestamp = Buffer.from([1, 1, 1, 0]);
    const plain = nat64.translate46(ipv4(A4, B4, tcp(), { options: timestamp, fragment: 0x4000 }));
    expect(only(plain).equals(only(nat64.translate46(ipv4(A4, B4, tcp(), { fragment: 0x4000 }))))).toBe(true);
    const route = (pointer: number) => Buffer.from([131, 7, pointer, 10, 0, 0, 1, 0]);
    expect(nat64.translate46(ipv4(A4, B4, tcp(), { options: route(8) })).verdict).toBe('translated');
    const refused = nat64.translate46(ipv4(A4, B4, tcp(), { options: route(4) }));
    expect(refused).toMatchObject({ verdict: 'answered', reason: 'SourceRoute' });
    expect(text(only(refused))).toMatchObject({ destination: A4, icmp: { type: 3, code: 5, isChecksumValid: true } });
  });

  test('a fragment gets a fragment header with the low half of the identification', () => {
    const out = only(
      nat64.translate46(ipv4(A4, B4, { protocol: 17, bytes: PAYLOAD }, { id: 0xbeef, fragment: 0x2000 | 5 })),
    );
    expect(out.readUInt8(6)).toBe(44);
    expect(out.readUInt16BE(4)).toBe(8 + PAYLOAD.length);
    expect(out.subarray(40, 48).toString('hex')).toBe('110000290000beef');
    expect(out.subarray(48).equals(PAYLOAD)).toBe(true);
  });

  test('a whole packet gets none, with DF and without (no atomic fragments, RFC 8021)', () => {
    for (const fragment of [0, 0x4000])
      expect(only(nat64.translate46(ipv4(A4, B4, tcp(), { fragment }))).readUInt8(6)).toBe(6);
  });

  test('without DF a packet over 1280 becomes fragments that fit, and they are the datagram', () => {
    const packet = ipv4(A4, B4, udp(53, 53, Buffer.alloc(3000, 'x')), { id: 77 });
    const { packets } = nat64.translate46(packet);
    expect(packets.map((part) => part.length)).toEqual([1280, 1280, 48 + 3008 - 2 * 1232]);
    const whole = Buffer.concat(packets.map((part) => part.subarray(48)));
    packets.forEach((part, index) => {
      expect(Buffer.from(part).readUInt16BE(42)).toBe(index * 1232 + (index < 2 ? 1 : 0));
      expect(Buffer.from(part).readUInt32BE(44)).toBe(77);
    });
    const head = Buffer.from(packets[0] as Uint8Array).subarray(0, 40);
    head.writeUInt16BE(whole.length, 4);
    head.writeUInt8(17, 6);
    expect(text(Buffer.concat([head, whole]))?.udp).toMatchObject({ isChecksumValid: true });
  });

  test('with DF a packet over the MTU is answered with 3/4 and the MTU minus 20', () => {
    const packet = ipv4(A4, B4, udp(53, 53, Buffer.alloc(1480 - 27)), { fragment: 0x4000 });
    expect(packet.length).toBe(1481);
    const result = nat64.translate46(packet);
    expect(result).toMatchObject({ verdict: 'answered', reason: 'TooBig' });
    const out = only(result);
    expect(out.readUInt8(20)).toBe(3);
    expect(out.readUInt8(21)).toBe(4);
    expect(out.readUInt16BE(26)).toBe(1480);
    expect(out.length).toBe(576);
    expect(sum(out.subarray(20))).toBe(0xffff);
    expect(nat64.translate46(ipv4(A4, B4, udp(53, 53, Buffer.alloc(1452)), { fragment: 0x4000 })).verdict).toBe(
      'translated',
    );
  });

  test('protocols that would read as extension headers, ICMPv6 and IGMP are dropped; unknown ones keep their payload', () => {
    for (const protocol of [0, 2, 43, 44, 58, 60])
      expect(nat64.translate46(ipv4(A4, B4, { protocol, bytes: PAYLOAD })).verdict).toBe('dropped');
    for (const protocol of [47, 50, 51, 132, 200]) {
      const out = only(nat64.translate46(ipv4(A4, B4, { protocol, bytes: PAYLOAD })));
      expect(out.readUInt8(6)).toBe(protocol);
      expect(out.subarray(40).equals(PAYLOAD)).toBe(true);
    }
  });
});

describe('RFC 7915, 4.5: UDP over IPv4 without a checksum', () => {
  const zero = { protocol: 17, bytes: udp(53, 4000, PAYLOAD).bytes };

  test('is given one, or refused by the settings; a fragment of it is always refused with 3/13', async () => {
    expect(text(only(nat64.translate46(ipv4(A4, B4, zero))))?.udp).toMatchObject({ isChecksumValid: true });
    const strict = await translator({ allowNonGlobal: true, zeroChecksum: 'drop' });
    expect(strict.translate46(ipv4(A4, B4, zero))).toMatchObject({ verdict: 'answered', reason: 'ZeroChecksum' });
    const refused = nat64.translate46(ipv4(A4, B4, zero, { fragment: 0x2000 }));
    expect(refused).toMatchObject({ verdict: 'answered', reason: 'ZeroChecksum' });
    expect(text(only(refused))?.icmp).toMatchObject({ type: 3, code: 13, isChecksumValid: true });
  });
});

describe('RFC 7915, 5.1: IPv6 header to IPv4', () => {
  test('addresses, TOS, TTL, total length, DF clear up to 1260', () => {
    const packet = ipPacket(A6, B6, tcp({ payload: PAYLOAD }), 9);
    packet.writeUInt16BE(0x6000 | (0xb9 << 4) | 5, 0);
    const out = only(nat64.translate64(packet));
    expect(text(out)).toMatchObject({
      source: A4,
      destination: B4,
      ttl: 8,
      protocol: 6,
      dontFragment: false,
      totalLength: 40 + PAYLOAD.length,
      isChecksumValid: true,
      tcp: { isChecksumValid: true, payload: PAYLOAD },
    });
    expect(out.readUInt8(1)).toBe(0xb9);
    const ids = [1, 2].map(() => only(nat64.translate64(packet)).readUInt16BE(4));
    expect(ids[1]).toBe(((ids[0] as number) + 1) & 0xffff);
  });

  test('DF is set over 1260', () => {
    for (const [bytes, dontFragment] of [
      [1260, false],
      [1261, true],
    ] as const) {
      const out = only(nat64.translate64(ipPacket(A6, B6, udp(1, 2, Buffer.alloc(bytes - 28)))));
      expect(text(out)).toMatchObject({ totalLength: bytes, dontFragment, udp: { isChecksumValid: true } });
    }
  });

  test('hop-by-hop, destination and finished routing headers are skipped', () => {
    const packet = withExtensions(ipPacket(A6, B6, tcp()), [
      [0, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
      [60, Buffer.from([0, 1, 1, 12, ...Array.from({ length: 12 }, () => 0)])],
      [43, Buffer.from([0, 2, 0, 0, 0, 0, 0, 0, ...Array.from({ length: 16 }, () => 0)])],
    ]);
    const out = only(nat64.translate64(packet));
    expect(text(out)).toMatchObject({ protocol: 6, totalLength: 40, tcp: { isChecksumValid: true } });
  });

  test('segments left is answered with parameter problem at its byte', () => {
    const route = Buffer.from([0, 2, 0, 1, 0, 0, 0, 0, ...Array.from({ length: 16 }, () => 0)]);
    const packet = withExtensions(ipPacket(A6, B6, tcp()), [
      [60, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
      [43, route],
    ]);
    const result = nat64.translate64(packet);
    expect(result).toMatchObject({ verdict: 'answered', reason: 'SourceRoute' });
    const out = only(result);
    expect(text(out)).toMatchObject({
      source: '2001:db8::fe',
      destination: A6,
      icmp: { type: 4, code: 0, isChecksumValid: true },
    });
    expect(out.readUInt32BE(44)).toBe(48 + 3);
    expect(out.subarray(48).equals(packet)).toBe(true);
  });

  test('a hop limit that runs out is answered, a packet over the MTU too, never below 1280', async () => {
    const expired = only(nat64.translate64(ipPacket(A6, B6, tcp(), 1)));
    expect(text(expired)).toMatchObject({ icmp: { type: 3, code: 0, isChecksumValid: true } });
    const narrow = await translator({ allowNonGlobal: true, mtu4: 1400 });
    const large = only(narrow.translate64(ipPacket(A6, B6, udp(1, 2, Buffer.alloc(1400)))));
    expect(text(large)).toMatchObject({ icmp: { type: 2, code: 0, isChecksumValid: true }, totalLength: 1280 });
    expect(large.readUInt32BE(44)).toBe(1420);
    const tiny = await translator({ allowNonGlobal: true, mtu4: 600 });
    expect(only(tiny.translate64(ipPacket(A6, B6, udp(1, 2, Buffer.alloc(1400))))).readUInt32BE(44)).toBe(1280);
    const parts = tiny.translate64(ipPacket(A6, B6, udp(1, 2, Buffer.alloc(1200)))).packets;
    expect(parts.map((part) => part.length)).toEqual([596, 596, 76]);
    expect(parts.every((part) => text(part)?.isChecksumValid)).toBe(true);
    expect(parts.map((part) => Buffer.from(part).readUInt16BE(6))).toEqual([0x2000, 0x2000 | 72, 144]);
  });
});

describe('RFC 7915, 5.1.1: fragments of IPv6', () => {
  test('offset, M and the low half of the identification are copied, DF is clear', () => {
    const packet = withExtensions(ipPacket(A6, B6, { protocol: 17, bytes: PAYLOAD }), [
      [44, fragmentHeader(1448, true, 0x1234abcd)],
    ]);
    const out = only(nat64.translate64(packet));
    expect(text(out)).toMatchObject({
      identification: 0xabcd,
      dontFragment: false,
      totalLength: 20 + PAYLOAD.length,
      isChecksumValid: true,
    });
    expect(out.readUInt16BE(6)).toBe(0x2000 | 181);
  });

  test('an atomic fragment becomes a whole packet that keeps its identification', () => {
    const packet = withExtensions(ipPacket(A6, B6, tcp()), [[44, fragmentHeader(0, false, 0x99)]]);
    const out = only(nat64.translate64(packet));
    expect(text(out)).toMatchObject({ identification: 0x99, dontFragment: false, tcp: { isChecksumValid: true } });
    expect(out.readUInt16BE(6)).toBe(0);
  });

  test('an extension header behind it is refused with 1/1, fragmented ICMP is dropped', () => {
    const behind = withExtensions(ipPacket(A6, B6, tcp()), [
      [44, fragmentHeader(0, true, 1)],
      [60, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
    ]);
    const refused = nat64.translate64(behind);
    expect(refused).toMatchObject({ verdict: 'answered', reason: 'ExtensionHeaders' });
    expect(text(only(refused))?.icmp).toMatchObject({ type: 1, code: 1, isChecksumValid: true });
    expect(only(refused).subarray(48).equals(behind)).toBe(true);
    const ping = withExtensions(ipPacket(A6, B6, icmp(6, 128, 0, 1, PAYLOAD)), [[44, fragmentHeader(0, true, 1)]]);
    expect(nat64.translate64(ping)).toMatchObject({ verdict: 'dropped', reason: 'IcmpFragment' });
    expect(nat64.translate46(ipv4(A4, B4, icmp(4, 8, 0, 1, PAYLOAD), { fragment: 0x2000 }))).toMatchObject({
      reason: 'IcmpFragment',
    });
  });
});

describe('RFC 7915, 4.4 and 5.4: errors of the translator', () => {
  test('are as many in a second as were asked for, and none about an error or without an address of ours', async () => {
    const limited = await translator({ allowNonGlobal: true, errorsPerSecond: 3 });
    const dying = ipPacket(A6, B6, udp(1, 2, PAYLOAD), 1);
    const at = (ms: number): string => limited.translate(dying, ms).verdict;
    expect([0, 0, 0, 0].map(at)).toEqual(['answered', 'answered', 'answered', 'dropped']);
    expect([300, 334, 334].map(at)).toEqual(['dropped', 'answered', 'dropped']);
    expect(Array.from({ length: 5 }, () => at(60_000)).filter((verdict) => verdict === 'answered').length).toBe(3);
    await expect(translator({ errorsPerSecond: 0.5 })).rejects.toThrow(/errorsPerSecond/);
    const error = ipPacket(A6, B6, icmp(6, 1, 0, 0, ipPacket(B6, A6, udp(1, 2, PAYLOAD))), 1);
    expect(nat64.translate64(error)).toMatchObject({ verdict: 'dropped', reason: 'HopLimit' });
    const mute = await translator({ allowNonGlobal: true, own4: undefined, own6: undefined });
    expect(mute.translate64(dying)).toMatchObject({ verdict: 'dropped', reason: 'HopLimit' });
  });
});

describe('what is refused without an answer', () => {
  test('wrong lengths, wrong header checksum, groups, loopback, other prefixes', () => {
    const packet = ipv4(A4, B4, tcp());
    const wrong = Buffer.from(packet);
    wrong.writeUInt16BE(wrong.readUInt16BE(10) ^ 1, 10);
    expect(nat64.translate46(wrong)).toMatchObject({ reason: 'BadChecksum' });
    for (let bytes = 0; bytes < packet.length; bytes++) {
      expect(nat64.translate(packet.subarray(0, bytes))).toMatchObject({ verdict: 'dropped' });
      expect(nat64.translate(ipPacket(A6, B6, tcp()).subarray(0, bytes))).toMatchObject({ verdict: 'dropped' });
    }
    for (const [source, destination] of [
      [A4, '224.0.0.1'],
      ['127.0.0.1', B4],
      ['0.0.0.0', B4],
      [A4, '255.255.255.255'],
    ] as const) {
      expect(nat64.translate46(ipv4(source, destination, tcp()))).toMatchObject({
        verdict: 'dropped',
        reason: 'Martian',
      });
      expect(nat64.translate64(ipPacket(embedded(source), embedded(destination), tcp()))).toMatchObject({
        reason: 'Martian',
      });
    }
    expect(nat64.translate64(ipPacket('2001:db8::1', B6, tcp()))).toMatchObject({ reason: 'NotTranslatable' });
  });

  test('Ethernet padding behind the packet is not translated', () => {
    const packet = Buffer.concat([ipv4(A4, B4, udp(1, 2, Buffer.from('x'))), Buffer.alloc(17, 0xee)]);
    expect(only(nat64.translate46(packet)).length).toBe(49);
  });
});
