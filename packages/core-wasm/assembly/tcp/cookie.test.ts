// SYN cookies (RFC 4987, 3.6; P26): what the SYN/ACK says, what comes back, what is refused; SipHash against the vector
// of its paper.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { CookieVerdict, TcpOption, meterLimits } from '../../layout/index.ts';
import {
  CLIENT,
  CLIENT6,
  PLACE,
  VIP,
  VIP6,
  headerBytes,
  isTcpChecksumValid,
  lay,
  metersWire,
  packetOf,
  reread,
  segment,
  segmentOf,
  viewOf,
  writeCookieState,
} from '../../test/meters-fixture.ts';
import { tcp } from '../../../../tools/testkit/build.ts';
import type { Wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await metersWire()));

const EPOCH = 27_000_000;
const LINUX = '020405b40402080a000030390000000001030307';
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
const u32 = fc.integer({ min: 0, max: 0xffffffff });

interface SynOptions {
  options?: string;
  client?: string;
  vip?: string;
  isn?: number;
  net?: number;
  epoch?: number;
  room?: number;
  now?: number;
  mss?: number;
}

/** The SYN/ACK that a SYN is answered with; undefined when it is not. */
function synAck(options: SynOptions = {}): Buffer | undefined {
  writeCookieState(under, options.epoch ?? EPOCH);
  const { client = CLIENT, vip = VIP, isn = 1000, net = 0, room = 200, now = 0x12345678, mss = 1440 } = options;
  const at = lay(under, packetOf(client, vip, segment(options.options ?? LINUX, { sequence: isn })));
  const bytes = under.call['makeSynAckOne']!(
    at.ip,
    at.tcp,
    room,
    PLACE.state,
    PLACE.view,
    PLACE.segment,
    net,
    mss,
    now,
  );
  return bytes === 0 ? undefined : under.take(PLACE.packet, bytes);
}

/** The client's answer to it, as its stack would write it. */
function answer(
  packet: Buffer,
  more: { flags?: string; ahead?: number; timestamp?: boolean; payload?: Buffer } = {},
): Buffer {
  const at = headerBytes(packet);
  const ip = reread(packet);
  const tsval = tsvalOf(packet);
  const list =
    tsval === undefined || more.timestamp === false ? '' : `0101080a00003040${tsval.toString(16).padStart(8, '0')}`;
  return packetOf(
    ip.destination,
    ip.source,
    segment(list, {
      flags: more.flags ?? 'A',
      sequence: (packet.readUInt32BE(at + 8) + (more.ahead ?? 0)) >>> 0,
      acknowledgement: (packet.readUInt32BE(at + 4) + 1) >>> 0,
      payload: more.payload ?? Buffer.alloc(0),
    }),
  );
}

function tsvalOf(packet: Buffer): number | undefined {
  const at = lay(under, packet);
  under.call['readOptionsOne']!(PLACE.view, at.tcp);
  const view = viewOf(under);
  return (view.flags & TcpOption.Timestamp) === 0 ? undefined : view.tsval;
}

function check(packet: Buffer, epoch = EPOCH, net = 0): number {
  writeCookieState(under, epoch);
  const at = lay(under, packet);
  return under.call['checkCookieOne']!(at.ip, at.tcp, PLACE.state, PLACE.view, PLACE.segment, net);
}

test('SipHash-2-4 gives the value that its definition in plain whole numbers gives', () => {
  const mask = (1n << 64n) - 1n;
  const rotl = (value: bigint, by: bigint): bigint => ((value << by) | (value >> (64n - by))) & mask;
  const sip = (key: Buffer, message: Buffer): bigint => {
    const [k0, k1] = [key.readBigUInt64LE(0), key.readBigUInt64LE(8)];
    const v = [
      k0 ^ 0x736f6d6570736575n,
      k1 ^ 0x646f72616e646f6dn,
      k0 ^ 0x6c7967656e657261n,
      k1 ^ 0x7465646279746573n,
    ] as [bigint, bigint, bigint, bigint];
    const round = (): void => {
      v[0] = (v[0] + v[1]) & mask;
      v[1] = rotl(v[1], 13n) ^ v[0];
      v[0] = rotl(v[0], 32n);
      v[2] = (v[2] + v[3]) & mask;
      v[3] = rotl(v[3], 16n) ^ v[2];
      v[0] = (v[0] + v[3]) & mask;
      v[3] = rotl(v[3], 21n) ^ v[0];
      v[2] = (v[2] + v[1]) & mask;
      v[1] = rotl(v[1], 17n) ^ v[2];
      v[2] = rotl(v[2], 32n);
    };
    const last = Buffer.alloc(8);
    message.copy(last, 0, message.length & ~7);
    last.writeUInt8(message.length & 255, 7);
    for (const word of [
      ...Array.from({ length: message.length >> 3 }, (_, at) => message.readBigUInt64LE(at * 8)),
      last.readBigUInt64LE(0),
    ]) {
      v[3] ^= word;
      round();
      round();
      v[0] ^= word;
    }
    v[2] ^= 0xffn;
    for (let again = 0; again < 4; again++) round();
    return v[0] ^ v[1] ^ v[2] ^ v[3];
  };
  const rising = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => index));
  // Appendix A of the paper: the message of 15 bytes.
  expect(sip(rising(16), rising(15))).toBe(0xa129ca6149be45e5n);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.uint8Array({ minLength: 48, maxLength: 48 }),
      (key, message) => {
        under.put(key, PLACE.address);
        under.put(message, PLACE.packet);
        const half = (which: number): bigint =>
          BigInt(under.call['sipHashHalf']!(PLACE.address, PLACE.packet, which) >>> 0);
        expect((half(1) << 32n) | half(0)).toBe(sip(Buffer.from(key), Buffer.from(message)));
      },
    ),
    { numRuns: 50 },
  );
});

test('a SYN with every option is answered with MSS, SACK, timestamps and scale 7; window 16 KiB, never 0', () => {
  const packet = synAck()!;
  expect(reread(packet)).toMatchObject({
    source: VIP,
    destination: CLIENT,
    ttl: 64,
    dontFragment: true,
    isChecksumValid: true,
    tcp: { sourcePort: 80, destinationPort: 40000, mss: 1440, isChecksumValid: true },
  });
  expect(packet.readUInt8(33)).toBe(0x12);
  expect(packet.readUInt32BE(28)).toBe(1001);
  expect(packet.readUInt16BE(34)).toBe(meterLimits.PROXY_WINDOW_BYTES);
  expect(packet.length).toBe(60);
  lay(under, packet);
  under.call['readOptionsOne']!(PLACE.view, PLACE.packet + 20);
  expect(viewOf(under)).toMatchObject({ flags: 15, mss: 1440, scale: 7, tsecr: 12345 });
  // The clock with its low five bits replaced: scale 7, SACK 16; never ahead of the clock.
  expect(viewOf(under).tsval).toBe(0x12345677);
});

test('a SYN without timestamps is answered with the MSS alone, since nothing else could be recovered', () => {
  const packet = synAck({ options: '020405b40101040201030307' })!;
  expect(packet.length).toBe(44);
  expect(reread(packet).tcp).toMatchObject({ mss: 1440, isChecksumValid: true });
  expect(check(answer(packet))).toBe(CookieVerdict.Valid);
  expect(segmentOf(under)).toMatchObject({ mss: 1460, scale: meterLimits.NO_SCALE, sackPermitted: 0, hasTimestamp: 0 });
});

test('a SYN without options and without room for the MSS is left alone', () => {
  expect(synAck({ options: '', room: 43 })).toBeUndefined();
  expect(synAck({ options: '', room: 44 })?.length).toBe(44);
});

test('only a SYN is answered, and nothing before there are keys', () => {
  writeCookieState(under, EPOCH);
  for (const flags of ['SA', 'A', 'SR', 'F']) {
    const at = lay(under, packetOf(CLIENT, VIP, tcp({ flags })));
    expect(under.call['makeSynAckOne']!(at.ip, at.tcp, 200, PLACE.state, PLACE.view, PLACE.segment, 0, 1440, 0)).toBe(
      0,
    );
  }
  const packet = synAck()!;
  under.bytes.fill(0, PLACE.state, PLACE.state + 4);
  const at = lay(under, answer(packet));
  expect(under.call['checkCookieOne']!(at.ip, at.tcp, PLACE.state, PLACE.view, PLACE.segment, 0)).toBe(
    CookieVerdict.NotReady,
  );
});

test('IPv4 options and IPv6 extension headers of the SYN do not come back', () => {
  writeCookieState(under, EPOCH);
  const syn = packetOf(CLIENT6, VIP6, segment(LINUX));
  const extended = Buffer.concat([syn.subarray(0, 40), Buffer.from('0600010400000000', 'hex'), syn.subarray(40)]);
  extended.writeUInt8(0, 6);
  extended.writeUInt16BE(syn.length - 40 + 8, 4);
  under.put(extended, PLACE.packet);
  const bytes = under.call['makeSynAckOne']!(
    PLACE.packet,
    PLACE.packet + 48,
    200,
    PLACE.state,
    PLACE.view,
    PLACE.segment,
    0,
    1420,
    0,
  );
  const packet = under.take(PLACE.packet, bytes);
  expect(reread(packet)).toMatchObject({
    source: VIP6,
    destination: CLIENT6,
    totalLength: 80,
    tcp: { mss: 1420, isChecksumValid: true },
  });
  expect(check(answer(packet))).toBe(CookieVerdict.Valid);
});

test('MSS rounded down, scale, SACK, timestamps and both sequence numbers come back; any first segment proves it', () => {
  const families = fc.constantFrom([CLIENT, VIP] as const, [CLIENT6, VIP6] as const);
  const options = fc.record({
    families,
    isn: u32,
    mss: fc.integer({ min: 216, max: 65535 }),
    scale: fc.option(fc.integer({ min: 0, max: 14 })),
    sack: fc.boolean(),
    now: u32,
    net: u32,
    flags: fc.constantFrom('A', 'PA', 'FA'),
    payload: fc.uint8Array({ maxLength: 20 }),
  });
  const MSS = [216, 536, 1220, 1340, 1380, 1420, 1440, 1460];
  fc.assert(
    fc.property(options, ({ families: [client, vip], isn, mss, scale, sack, now, net, flags, payload }) => {
      const list = `0204${hex(mss, 4)}${sack ? '0402' : ''}080a0000303900000000${scale === null ? '' : `0303${hex(scale, 2)}`}`;
      const packet = synAck({ options: list, client, vip, isn, now, net })!;
      expect(isTcpChecksumValid(packet)).toBe(true);
      const tsval = tsvalOf(packet)!;
      expect((now - tsval) >>> 0).toBeLessThan(32);
      const segmentOfClient = answer(packet, { flags, payload: Buffer.from(payload) });
      expect(check(segmentOfClient, EPOCH, net | 0)).toBe(CookieVerdict.Valid);
      expect(segmentOf(under)).toMatchObject({
        sequence: isn,
        acknowledgment: packet.readUInt32BE(headerBytes(packet) + 4),
        sourcePort: 40000,
        destinationPort: 80,
        mss: MSS.findLast((value) => value <= mss),
        scale: scale ?? meterLimits.NO_SCALE,
        sackPermitted: Number(sack),
        hasTimestamp: 1,
        tsval: 0x3040,
        tsecr: tsval,
        flags: 2,
      });
      // The segment is the SYN to the target as it stands.
      const bytes = under.call['writeSegmentOne']!(PLACE.packet, 200, PLACE.segment);
      const syn = under.take(PLACE.packet, bytes);
      expect(reread(syn)).toMatchObject({
        source: client,
        destination: vip,
        tcp: { flags: 'S', isChecksumValid: true },
      });
      expect(syn.readUInt32BE(headerBytes(syn) + 4)).toBe(isn);
    }),
    { numRuns: 200 },
  );
});

test('a cookie is valid in its own epoch and the one on either side, and in no other', () => {
  for (const epoch of [EPOCH, EPOCH + 1, EPOCH + 2, EPOCH + 3, 0, 0xffffffff]) {
    const packet = answer(synAck({ epoch })!);
    const verdicts = [-3, -2, -1, 0, 1, 2, 3].map((off) => check(packet, (epoch + off) >>> 0));
    const valid = CookieVerdict.Valid;
    expect(verdicts.slice(2, 5)).toEqual([valid, valid, valid]);
    expect(verdicts.filter((verdict) => verdict === valid).length).toBe(3);
    expect([verdicts[1], verdicts[5]]).toEqual([CookieVerdict.Aged, CookieVerdict.Aged]);
  }
});

test('4 epochs later the low bits are the same and the key is another: forged', () => {
  const packet = answer(synAck()!);
  writeCookieState(under, EPOCH + 4);
  const at = lay(under, packet);
  expect(under.call['checkCookieOne']!(at.ip, at.tcp, PLACE.state, PLACE.view, PLACE.segment, 0)).toBe(
    CookieVerdict.Forged,
  );
});

test('another client, VIP, port, net, sequence number or cookie is refused, and what acknowledges nothing', () => {
  const packet = answer(synAck()!);
  expect(check(packet)).toBe(CookieVerdict.Valid);
  for (const at of [12, 15, 16, 19, 20, 21, 22, 23, 24, 27, 28, 29, 30]) {
    const forged = Buffer.from(packet);
    forged.writeUInt8(forged.readUInt8(at) ^ 0x04, at);
    expect(check(forged), `byte ${at}`).toBe(CookieVerdict.Forged);
  }
  expect(check(packet, EPOCH, 7)).toBe(CookieVerdict.Forged);
  expect(check(answer(synAck()!, { ahead: 1 }))).toBe(CookieVerdict.Forged);
  for (const flags of ['S', 'SA', 'R', 'RA', 'F'])
    expect(check(answer(synAck()!, { flags }))).toBe(CookieVerdict.NoAck);
});

test('of all acknowledgments the share that is believed is 3 epochs x 8 MSS of 2^32', () => {
  const at = lay(under, packetOf(CLIENT, VIP, segment('', { flags: 'A' })));
  writeCookieState(under, EPOCH);
  // 2^24 of them: 0.09 are expected; two or more would be a hash that is ten times too easy to hit.
  expect(
    under.call['countValidCookies']!(at.ip, at.tcp, PLACE.state, PLACE.view, PLACE.segment, 12345, 1 << 24),
  ).toBeLessThan(3);
  // Exactly one in 2^32 for each epoch and MSS: around a true cookie nothing else is valid, and the seven other MSS are
  // elsewhere.
  const packet = synAck()!;
  const cookie = packet.readUInt32BE(24);
  const there = lay(under, answer(packet));
  expect(
    under.call['countValidCookies']!(there.ip, there.tcp, PLACE.state, PLACE.view, PLACE.segment, cookie - 999, 2000),
  ).toBe(1);
});

test('cookies of one SYN after another spread over all bits', () => {
  const ones = Array.from({ length: 32 }, () => 0);
  for (let isn = 0; isn < 1000; isn++) {
    const cookie = synAck({ isn })!.readUInt32BE(24);
    for (let bit = 0; bit < 32; bit++) ones[bit]! += (cookie >>> bit) & 1;
  }
  // The low five are epoch and MSS; of the hash every bit is set half of the time.
  for (const count of ones.slice(5)) expect(Math.abs(count - 500)).toBeLessThan(80);
});
