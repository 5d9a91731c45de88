// Properties of NAT64: there and back is the identity but for what RFC 7915 loses, and any bytes give a verdict, no trap, and no write
// outside the room.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { type IpLayer, parseIp } from '../../../../tools/testkit/parse.ts';
import { Nat64State } from '../../layout/index.ts';
import { type Nat64, createNat64 } from '../../src/nat64.ts';
import type { Nat64Memory } from '../../src/nat64-memory.ts';
import { embedded, fragmentHeader, icmp, ipv4, only, translator, withExtensions } from './translator.ts';

const PREFIXES = [
  '64:ff9b::/96',
  '2001:db8:122:344::/96',
  '2001:db8::/32',
  '2001:db8:100::/40',
  '2001:db8:122::/48',
  '2001:db8:122:300::/56',
  '2001:db8:122:344::/64',
];
const translators = await Promise.all(PREFIXES.map((prefix) => translator({ prefix, allowNonGlobal: true })));
const text = (packet: Buffer): IpLayer => parseIp(packet, packet.readUInt8(0) >> 4 === 6 ? 0x86dd : 0x0800) as IpLayer;

const address = fc
  .tuple(fc.integer({ min: 1, max: 223 }), fc.nat(255), fc.nat(255), fc.nat(255))
  .filter(([first]) => first !== 127)
  .map((octets) => octets.join('.'));
const port = fc.nat(65_535);
const payload = fc.uint8Array({ maxLength: 1200 }).map((bytes) => Buffer.from(bytes));
const transport = fc.oneof(
  fc.record({ sourcePort: port, destinationPort: port, payload, sequence: fc.nat() }).map((options) => tcp(options)),
  fc.tuple(port, port, payload).map(([from, to, bytes]) => udp(from, to, bytes)),
  // SCTP, ESP, AH, anything: the payload is not looked into.
  fc.tuple(fc.constantFrom(50, 51, 132, 200), payload).map(([protocol, bytes]) => ({ protocol, bytes })),
);

/**
 * What RFC 7915 keeps. Lost: one hop each way, the identification of a whole packet and DF (4.1, 5.1), IPv4 options, IPv6 extension headers
 * and flow label, the high half of a fragment's identification, a UDP checksum of zero.
 */
const kept = (packet: Buffer) => {
  const { source, destination, protocol, tcp: segment, udp: datagram } = text(packet);
  const l4 = packet.subarray(packet.readUInt8(0) >> 4 === 6 ? 40 : 20).toString('hex');
  return { source, destination, protocol, l4, segment, datagram };
};

/** UDP whose checksum happens to be written as "none". */
const isUnsummed = (packet: Buffer): boolean => {
  const { protocol, totalLength } = text(packet);
  const l4 = packet.readUInt8(0) >> 4 === 6 ? 40 : 20;
  return protocol === 17 && totalLength >= l4 + 8 && packet.readUInt16BE(l4 + 6) === 0;
};

describe('there and back', () => {
  test('IPv4 → IPv6 → IPv4 keeps addresses, ports, payload, checksums and TOS', () => {
    fc.assert(
      fc.property(fc.nat(PREFIXES.length - 1), address, address, transport, fc.nat(255), (which, from, to, l4, tos) => {
        const nat64 = translators[which] as Nat64;
        const packet = ipv4(from, to, l4, { tos, fragment: 0x4000, id: 7 });
        fc.pre(!isUnsummed(packet));
        const there = only(nat64.translate46(packet));
        expect(text(there)).toMatchObject({ source: nat64.embed(from), destination: nat64.embed(to), ttl: 63 });
        const back = only(nat64.translate64(there));
        expect(kept(back)).toEqual(kept(packet));
        expect(text(back)).toMatchObject({ ttl: 62, isChecksumValid: true });
        expect(back.readUInt8(1)).toBe(tos);
      }),
      { numRuns: 400 },
    );
  });

  test('IPv6 → IPv4 → IPv6 keeps the whole packet but its hop limit and flow label', () => {
    fc.assert(
      fc.property(fc.nat(PREFIXES.length - 1), address, address, transport, (which, from, to, l4) => {
        const nat64 = translators[which] as Nat64;
        const packet = ipPacket(nat64.embed(from), nat64.embed(to), l4);
        fc.pre(!isUnsummed(packet));
        const back = only(nat64.translate46(only(nat64.translate64(packet))));
        packet.writeUInt8(62, 7);
        expect(back.equals(packet)).toBe(true);
      }),
      { numRuns: 400 },
    );
  });

  test('fragments of IPv4 come back byte by byte but for TTL and header checksum', () => {
    fc.assert(
      fc.property(
        address,
        address,
        payload,
        fc.nat(65_535),
        fc.nat(8191),
        fc.boolean(),
        (from, to, bytes, id, offset, more) => {
          fc.pre(offset !== 0 || more);
          const nat64 = translators[0] as Nat64;
          const packet = ipv4(
            from,
            to,
            { protocol: 6, bytes },
            { id, fragment: offset | (more ? 0x2000 : 0), ttl: 64 },
          );
          fc.pre(offset !== 0 || bytes.length >= 20);
          const back = only(nat64.translate64(only(nat64.translate46(packet))));
          const expected = ipv4(
            from,
            to,
            { protocol: 6, bytes: back.subarray(20) },
            { id, fragment: offset | (more ? 0x2000 : 0), ttl: 62 },
          );
          expect(back.equals(expected)).toBe(true);
          expect(back.subarray(40).equals(packet.subarray(40))).toBe(true);
        },
      ),
    );
  });

  test('ICMP errors come back with the quote that they had', () => {
    fc.assert(
      fc.property(
        address,
        address,
        address,
        transport,
        fc.constantFrom([3, 1], [3, 3], [11, 0]),
        (from, to, router, l4, [type, code]) => {
          const nat64 = translators[0] as Nat64;
          const quote = ipv4(from, to, l4, { ttl: 3 }).subarray(0, 548);
          fc.pre(quote.length >= 28);
          const packet = ipv4(router, from, icmp(4, type as number, code as number, 0, quote));
          const there = only(nat64.translate46(packet));
          expect(text(there).icmp?.isChecksumValid).toBe(true);
          const back = only(nat64.translate64(there));
          expect(text(back)).toMatchObject({
            source: router,
            destination: from,
            icmp: { type, code, isChecksumValid: true },
          });
          expect(back.subarray(48).equals(packet.subarray(48))).toBe(true);
        },
      ),
    );
  });

  test('a stateful reply reaches the port that asked', async () => {
    const nat64 = await translator({ allowNonGlobal: true, stateful: { pool: ['198.51.100.64', '198.51.100.65'] } });
    fc.assert(
      fc.property(
        fc.nat(0xffff),
        port,
        address,
        port,
        payload,
        fc.boolean(),
        (host, from, to, toPort, bytes, isTcp) => {
          fc.pre(!to.startsWith('198.51.100.6'));
          const client = `2001:db8:1::${(host | 1).toString(16)}`;
          const l4 = isTcp
            ? tcp({ sourcePort: from, destinationPort: toPort, payload: bytes })
            : udp(from, toPort, bytes);
          const out = text(only(nat64.translate(ipPacket(client, embedded(to), l4))));
          const seen = (out.tcp ?? out.udp) as { sourcePort: number; isChecksumValid: boolean };
          expect(seen.isChecksumValid).toBe(true);
          const answer = isTcp
            ? tcp({ sourcePort: toPort, destinationPort: seen.sourcePort, flags: 'SA', payload: bytes })
            : udp(toPort, seen.sourcePort, bytes);
          const back = text(only(nat64.translate(ipPacket(to, out.source, answer))));
          expect(back).toMatchObject({ source: embedded(to), destination: client });
          expect(back.tcp ?? back.udp).toMatchObject({
            sourcePort: toPort,
            destinationPort: from,
            payload: bytes,
            isChecksumValid: true,
          });
        },
      ),
    );
  });
});

/** Packets that reach every step, to be broken. */
const SEEDS = [
  ipv4('1.1.1.1', '8.8.8.8', tcp({ payload: Buffer.alloc(40) })),
  ipv4('1.1.1.1', '8.8.8.8', udp(1, 2, Buffer.alloc(1400)), { options: Buffer.from([131, 7, 4, 1, 2, 3, 4, 0]) }),
  ipv4('1.1.1.1', '8.8.8.8', { protocol: 17, bytes: udp(1, 2, Buffer.alloc(30)).bytes }, { fragment: 0x2000 }),
  ipv4('1.1.1.1', '8.8.8.8', icmp(4, 3, 4, 0, ipv4('8.8.8.8', '1.1.1.1', udp(1, 2, Buffer.alloc(64))))),
  ipv4(
    '1.1.1.1',
    '8.8.8.8',
    icmp(
      4,
      11,
      0,
      32 << 16,
      Buffer.concat([ipv4('8.8.8.8', '1.1.1.1', tcp({ payload: Buffer.alloc(88) })), Buffer.alloc(12)]),
    ),
  ),
  ipv4('1.1.1.1', '8.8.8.8', icmp(4, 8, 0, 1, Buffer.alloc(64))),
  ipPacket(embedded('1.1.1.1'), embedded('8.8.8.8'), tcp({ payload: Buffer.alloc(40) })),
  withExtensions(ipPacket(embedded('1.1.1.1'), embedded('8.8.8.8'), udp(1, 2, Buffer.alloc(64))), [
    [0, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
    [43, Buffer.from([0, 0, 0, 0, 0, 0, 0, 0])],
    [44, fragmentHeader(0, true, 7)],
  ]),
  ipPacket(
    embedded('1.1.1.1'),
    embedded('8.8.8.8'),
    icmp(6, 2, 0, 1400, ipPacket(embedded('8.8.8.8'), embedded('1.1.1.1'), udp(1, 2, Buffer.alloc(64)))),
  ),
  ipPacket(
    embedded('1.1.1.1'),
    embedded('8.8.8.8'),
    icmp(
      6,
      3,
      0,
      16 << 24,
      Buffer.concat([
        ipPacket(embedded('8.8.8.8'), embedded('1.1.1.1'), tcp({ payload: Buffer.alloc(68) })),
        Buffer.alloc(12),
      ]),
    ),
  ),
  ipPacket('2001:db8::9', embedded('8.8.8.8'), udp(9, 53, Buffer.alloc(64))),
  ipPacket('2001:db8::9', embedded('8.8.8.8'), tcp({ sourcePort: 9 })),
  ipv4('8.8.8.8', '198.51.100.64', tcp({ sourcePort: 80, destinationPort: 9, flags: 'SA' })),
];

const hostile = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom(...SEEDS),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.nat(2000),
        fc.integer({ min: 0, max: 3 }).map((one) => one === 0),
      )
      .map(([seed, changes, cut, isCut]) => {
        const packet = Buffer.from(seed);
        for (const [at, value] of changes) packet.writeUInt8(value, at % Math.min(packet.length, 120));
        // The header checksum is mended, or nothing broken would get past it.
        const header = (packet.readUInt8(0) & 15) * 4;
        if (packet.readUInt8(0) >> 4 === 4 && header >= 20 && header <= packet.length) {
          packet.writeUInt16BE(0, 10);
          packet.writeUInt16BE(ipv4Checksum(packet.subarray(0, header)), 10);
        }
        return isCut ? packet.subarray(0, cut) : packet;
      }),
  },
);

function ipv4Checksum(header: Buffer): number {
  let total = 0;
  for (let at = 0; at < header.length; at += 2) total += header.readUInt16BE(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}

test('the released wasm says and sends the same as the one with assertions', async () => {
  const options = { allowNonGlobal: true, own4: '192.0.2.254', own6: '2001:db8::fe', mtu4: 700 };
  const released = await createNat64(options);
  const checked = await translator(options);
  // An identification begins at random; the sum over it differs with it.
  for (const nat64 of [released, checked]) {
    const { memory } = nat64 as unknown as { memory: Nat64Memory };
    memory.view.setUint32(memory.state + Nat64State.at.identification, 1, true);
  }
  fc.assert(
    fc.property(hostile, (packet) => {
      expect(released.translate(packet)).toEqual(checked.translate(packet));
    }),
    { numRuns: 3000 },
  );
});

const CANARY = 0xa5;
const MARGIN = 200;

test('any bytes in a room of any size: no trap, a verdict, and nothing is written outside the room', async () => {
  const pool = { pool: ['198.51.100.64'], bindings: 32 };
  const subjects = [
    await translator({ allowNonGlobal: true, mtu4: 700, mtu6: 1280 }),
    await translator({ allowNonGlobal: true, mappings: [{ prefix4: '1.1.1.0/24', prefix6: '2001:db8:9::/120' }] }),
    await translator({ allowNonGlobal: true, stateful: pool }),
    await translator({ allowNonGlobal: true, stateful: { ...pool, filtering: 'address-dependent' } }),
  ];
  const seen: Record<string, number> = {};
  let now = 0;
  const room = fc.tuple(fc.constantFrom(0, 20, 47, 48, 48, 64, 64, 64), fc.constantFrom(0, 1, 28, 200));
  fc.assert(
    fc.property(fc.nat(subjects.length - 1), hostile, room, (which, packet, [head, tail]) => {
      const memory = (subjects[which] as unknown as { memory: Nat64Memory }).memory;
      const at = memory.packetAt + MARGIN;
      const [start, end] = [at - head, at + packet.length + tail];
      memory.bytes.fill(CANARY, start - MARGIN, end + MARGIN);
      memory.bytes.set(packet, at);
      memory.view.setUint32(memory.state + Nat64State.at.roomStart, start, true);
      memory.view.setUint32(memory.state + Nat64State.at.roomEnd, end, true);
      const verdict = memory.call('nat64Translate', memory.state, at, packet.length, (now += 997));
      expect(verdict).toBeGreaterThanOrEqual(1);
      expect(verdict).toBeLessThanOrEqual(4);
      expect(memory.bytes.subarray(start - MARGIN, start).every((byte) => byte === CANARY)).toBe(true);
      expect(memory.bytes.subarray(end, end + MARGIN).every((byte) => byte === CANARY)).toBe(true);
      const [from, bytes] = [memory.word(Nat64State.at.address), memory.word(Nat64State.at.bytes)];
      const isSent = verdict === 1 || verdict === 3;
      expect(!isSent || (from >= start && from + bytes <= end)).toBe(true);
      seen[`${verdict}`] = (seen[`${verdict}`] ?? 0) + 1;
    }),
    { numRuns: 20_000 },
  );
  expect(Object.keys(seen).length).toBeGreaterThanOrEqual(3);
  expect(seen[1] ?? 0).toBeGreaterThan(2000);
});
