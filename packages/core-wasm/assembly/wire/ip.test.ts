// IPv4 and IPv6: what is refused, what a rewrite changes and what it leaves, and the walk over extension headers (RFC
// 8200).
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { parseIp } from '../../../../tools/testkit/parse.ts';
import { bytes16 } from '../../test/endpoint-fixture.ts';
import { AT, type Wire, wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await wire()));

const ADDRESS = 64;
const v4 = (): Buffer => ipPacket('198.51.100.1', '203.0.113.10', tcp());
const isWellFormed = (packet: Uint8Array, bytes = packet.length): boolean =>
  under.call['ipv4IsWellFormed']!(under.put(packet), bytes) !== 0;

test('an IPv4 header is refused when its version, header length or total length cannot be', () => {
  expect(isWellFormed(v4())).toBe(true);
  expect(isWellFormed(v4(), 100)).toBe(true);
  for (let bytes = 0; bytes < v4().length; bytes++) expect(isWellFormed(v4(), bytes)).toBe(false);
  for (const [offset, value] of [
    [0, 0x65],
    [0, 0x44],
    [0, 0x4f],
    [2, 0xff],
    [3, 19],
  ] as const) {
    const packet = v4();
    packet.writeUInt8(value, offset);
    expect(isWellFormed(packet, offset === 0 && value === 0x4f ? 44 : packet.length)).toBe(false);
  }
});

test('rewritten addresses, TTL and ECN keep the header checksum right and touch nothing else', () => {
  fc.assert(
    fc.property(
      fc.ipV4(),
      fc.ipV4(),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 0, max: 3 }),
      (source, destination, ttl, ecn) => {
        const before = v4();
        under.put(before);
        under.call['ipv4RewriteSource']!(AT, under.put(bytes16(source), ADDRESS));
        under.call['ipv4RewriteDestination']!(AT, under.put(bytes16(destination), ADDRESS));
        under.call['ipv4RewriteTtl']!(AT, ttl);
        under.call['ipv4RewriteEcn']!(AT, ecn);
        const after = under.take(AT, before.length);
        expect(parseIp(after, 0x0800)).toMatchObject({ source, destination, ttl, isChecksumValid: true });
        expect(after.readUInt8(1)).toBe(ecn);
        expect(after.subarray(20).equals(before.subarray(20))).toBe(true);
      },
    ),
  );
});

test('an IPv4 address is copied as ::ffff:a.b.c.d', () => {
  under.call['ipv4CopySource']!(under.put(v4()), ADDRESS);
  expect(under.take(ADDRESS, 16).equals(bytes16('198.51.100.1'))).toBe(true);
  expect(under.call['isMapped']!(ADDRESS)).toBe(1);
});

test('an IPv6 header is refused when it is cut, of another version or a jumbogram', () => {
  const packet = ipPacket('2001:db8::1', 'fd00::2', udp(1, 2, Buffer.from('x')));
  const check = (bytes: Uint8Array, length = bytes.length): number =>
    under.call['ipv6IsWellFormed']!(under.put(bytes), length);
  expect(check(packet)).toBe(1);
  for (let bytes = 0; bytes < packet.length; bytes++) expect(check(packet, bytes)).toBe(0);
  const jumbo = Buffer.from(packet);
  jumbo.writeUInt16BE(0, 4);
  expect(check(jumbo)).toBe(0);
});

/** An IPv6 packet with extension headers: [type, bytes without their next-header byte]. */
const chain = (...headers: readonly (readonly [number, string])[]): Buffer => {
  const parts = headers.map(([, rest], index) =>
    Buffer.from(`${(headers[index + 1]?.[0] ?? 6).toString(16).padStart(2, '0')}${rest}`, 'hex'),
  );
  const packet = ipPacket('2001:db8::1', 'fd00::2', {
    protocol: headers[0]?.[0] ?? 6,
    bytes: Buffer.concat([...parts, tcp().bytes]),
  });
  return packet;
};
const walk = (packet: Buffer): { protocol: number; offset: number; fragment: boolean; later: boolean } | null => {
  const found = under.call['findTransport']!(under.put(packet)) >>> 0;
  if (found === 0xffffffff) return null;
  return {
    protocol: found & 255,
    offset: (found >>> 8) & 0xffff,
    fragment: (found & (1 << 30)) !== 0,
    later: (found & (1 << 29)) !== 0,
  };
};
const OPTIONS = '00000000000000';

test('the walk passes hop-by-hop, routing without segments left, destination options and authentication', () => {
  expect(walk(chain())).toEqual({ protocol: 6, offset: 40, fragment: false, later: false });
  expect(walk(chain([0, OPTIONS], [60, `01${'00'.repeat(14)}`]))).toMatchObject({ protocol: 6, offset: 40 + 8 + 16 });
  expect(walk(chain([43, OPTIONS], [51, `0400${'00'.repeat(21)}`]))).toMatchObject({
    protocol: 6,
    offset: 40 + 8 + 24,
  });
});

test('fragments are told: an atomic one is none, a later one has no transport header', () => {
  expect(walk(chain([44, `00000000000007`]))).toMatchObject({ protocol: 6, fragment: false });
  expect(walk(chain([44, `00000100000007`]))).toMatchObject({ protocol: 6, offset: 48, fragment: true, later: false });
  expect(walk(chain([44, `00000800000007`]))).toMatchObject({ fragment: true, later: true });
});

test('a chain that is source-routed, endless or cut is malformed', () => {
  expect(walk(chain([43, '00000100000000']))).toBeNull();
  expect(walk(chain(...Array.from({ length: 9 }, () => [60, OPTIONS] as const)))).toBeNull();
  expect(walk(chain([60, 'ff000000000000']))).toBeNull();
});

test('any bytes behind an IPv6 header end the walk inside the packet', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.constantFrom(0, 43, 44, 51, 60, 135, 139, 140),
      (bytes, protocol) => {
        const packet = ipPacket('2001:db8::1', 'fd00::2', { protocol, bytes: Buffer.from(bytes) });
        const found = walk(packet);
        expect(found === null || found.offset <= packet.length).toBe(true);
      },
    ),
  );
});
