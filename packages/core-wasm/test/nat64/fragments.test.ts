// Fragments through stateful NAT64 (RFC 6146, 3.4): in order, out of order, ICMP, without a UDP checksum, hostile, limits and time.
import { describe, expect, test } from 'vitest';
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { type IpLayer, parseIp } from '../../../../tools/testkit/parse.ts';
import type { Nat64, Nat64Result, PoolOptions } from '../../src/nat64.ts';
import { embedded, fragmentHeader, icmp, ipv4, only, translator, withExtensions } from './translator.ts';

const POOL = '198.51.100.64';
const CLIENT = '2001:db8:1::10';
const SERVER = '203.0.113.10';
const BODY = Buffer.from(Array.from({ length: 1392 }, (_, index) => index * 7));

const make = (options: Partial<PoolOptions> = {}): Promise<Nat64> =>
  translator({ allowNonGlobal: true, stateful: { pool: [POOL], bindings: 64, ...options } });
const text = (packet: Uint8Array): IpLayer =>
  parseIp(Buffer.from(packet), (packet[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800) as IpLayer;

type Parts = readonly (readonly [from: number, to: number])[];
const THREE: Parts = [
  [0, 464],
  [464, 928],
  [928, 1400],
];
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
];

/** The fragments of a whole packet: of IPv6 with a fragment header, of IPv4 by its fields. */
function fragmentsOf(packet: Buffer, parts: Parts, id = 0xabcd): Buffer[] {
  const isV6 = packet.readUInt8(0) >> 4 === 6;
  const { source, destination, protocol } = text(packet);
  const data = packet.subarray(isV6 ? 40 : 20);
  return parts.map(([from, to]) => {
    const more = to < data.length;
    const l4 = { protocol, bytes: data.subarray(from, to) };
    if (!isV6) return ipv4(source, destination, l4, { id: id & 0xffff, fragment: (from >> 3) | (more ? 0x2000 : 0) });
    return withExtensions(ipPacket(source, destination, l4), [[44, fragmentHeader(from, more, id)]]);
  });
}

/** What the receiver puts together again out of fragments in any order; null when something is missing. */
function joined(packets: readonly Uint8Array[]): IpLayer | null {
  const pieces = packets.map((packet) => {
    const bytes = Buffer.from(packet);
    const isV6 = bytes.readUInt8(0) >> 4 === 6;
    const field = bytes.readUInt16BE(isV6 ? 42 : 6);
    const at = isV6 ? field & 0xfff8 : (field & 0x1fff) * 8;
    return { at, isLast: (field & (isV6 ? 1 : 0x2000)) === 0, data: bytes.subarray(isV6 ? 48 : 20), bytes, isV6 };
  });
  pieces.sort((a, b) => a.at - b.at);
  let end = 0;
  for (const { at, data } of pieces) {
    if (at !== end) return null;
    end += data.length;
  }
  const [first] = pieces;
  if (first === undefined || pieces.at(-1)?.isLast !== true) return null;
  const { source, destination } = text(first.bytes);
  const protocol = first.isV6 ? first.bytes.readUInt8(40) : first.bytes.readUInt8(9);
  return text(ipPacket(source, destination, { protocol, bytes: Buffer.concat(pieces.map(({ data }) => data)) }));
}

const sendAll = (nat64: Nat64, packets: readonly Buffer[]): Nat64Result[] => packets.map((one) => nat64.translate(one));
const sent = (results: readonly Nat64Result[]): Uint8Array[] => results.flatMap(({ packets }) => [...packets]);

describe('RFC 6146, 3.4: fragments in any order', () => {
  const whole6 = ipPacket(CLIENT, embedded(SERVER), udp(4001, 53, BODY));
  const whole4 = ipPacket(SERVER, POOL, udp(53, 4001, BODY));

  test('of IPv6 arrive at the server as the datagram, from one port, with one identification', async () => {
    for (const order of ORDERS) {
      const nat64 = await make();
      const parts = fragmentsOf(whole6, THREE);
      const packets = sent(
        sendAll(
          nat64,
          order.map((index) => parts[index] as Buffer),
        ),
      );
      expect(packets.every((packet) => text(packet).source === POOL && text(packet).isChecksumValid)).toBe(true);
      expect(new Set(packets.map((packet) => text(packet).identification))).toEqual(new Set([0xabcd]));
      const isWhole = packets.length === 1;
      const layer = isWhole ? text(packets[0] as Uint8Array) : joined(packets);
      expect(layer?.udp).toMatchObject({ sourcePort: 4001, payload: BODY, isChecksumValid: true });
    }
  });

  test('of IPv4 arrive at the client as the datagram', async () => {
    for (const order of ORDERS) {
      const nat64 = await make();
      nat64.translate(ipPacket(CLIENT, embedded(SERVER), udp(4001, 53, BODY.subarray(0, 8))));
      const parts = fragmentsOf(whole4, THREE);
      const packets = sent(
        sendAll(
          nat64,
          order.map((index) => parts[index] as Buffer),
        ),
      );
      expect(packets.every((packet) => packet.length <= 1280)).toBe(true);
      expect(joined(packets)).toMatchObject({
        destination: CLIENT,
        udp: { destinationPort: 4001, payload: BODY, isChecksumValid: true },
      });
    }
  });

  test('first one first: each passes as it comes, and nothing is kept when the last one has gone', async () => {
    const nat64 = await make();
    const segment = ipPacket(CLIENT, embedded(SERVER), tcp({ sourcePort: 5000, flags: 'S', payload: BODY }));
    const results = sendAll(
      nat64,
      fragmentsOf(segment, [
        [0, 464],
        [464, 928],
        [928, 1412],
      ]),
    );
    expect(results.map(({ verdict }) => verdict)).toEqual(['translated', 'translated', 'translated']);
    expect(joined(sent(results))?.tcp).toMatchObject({ payload: BODY, isChecksumValid: true });
    expect(nat64.counters()).toMatchObject({ reassembled: 0, reasons: {} });
    // The identification comes back for another datagram at once (RFC 4963).
    expect(
      sendAll(
        nat64,
        fragmentsOf(segment, [
          [0, 464],
          [464, 1412],
        ]),
      ).every((one) => one.verdict === 'translated'),
    ).toBe(true);
  });

  test('between two clients of ours in fragments (3.8)', async () => {
    for (const order of [ORDERS[0], ORDERS[5]] as number[][]) {
      const nat64 = await make();
      const other = '2001:db8:2::20';
      nat64.translate(ipPacket(other, embedded(SERVER), udp(4001, 53, BODY.subarray(0, 8))));
      const parts = fragmentsOf(ipPacket(CLIENT, embedded(POOL), udp(9000, 4001, BODY)), THREE);
      const packets = sent(
        sendAll(
          nat64,
          order.map((index) => parts[index] as Buffer),
        ),
      );
      expect(joined(packets)).toMatchObject({ destination: other, udp: { payload: BODY, isChecksumValid: true } });
    }
  });
});

describe('RFC 6146, 3.4: what is put together first', () => {
  test('ICMP, because its checksum needs the length of the whole', async () => {
    for (const order of ORDERS) {
      const nat64 = await make();
      const ping = fragmentsOf(ipPacket(CLIENT, embedded(SERVER), icmp(6, 128, 0, 77 << 16, BODY)), THREE);
      const results = sendAll(
        nat64,
        order.map((index) => ping[index] as Buffer),
      );
      expect(results.map(({ verdict }) => verdict)).toEqual(['held', 'held', 'translated']);
      const out = only(results[2] as Nat64Result);
      expect(text(out)).toMatchObject({
        source: POOL,
        identification: 0xabcd,
        icmp: { type: 8, isChecksumValid: true },
      });
      expect(out.subarray(28).equals(BODY)).toBe(true);
      const reply = ipv4(SERVER, POOL, icmp(4, 0, 0, out.readUInt16BE(24) << 16, BODY));
      const back = sent(sendAll(nat64, fragmentsOf(reply, THREE, 0x77)));
      expect(back.length).toBe(2);
      expect(joined(back)).toMatchObject({ destination: CLIENT, icmp: { type: 129, isChecksumValid: true } });
      expect(nat64.counters()).toMatchObject({ reassembled: 2 });
    }
  });

  test('UDP without a checksum, which is given one; without a place for it, or by the settings, it is refused', async () => {
    const bare = udp(53, 4001, BODY);
    const parts = fragmentsOf(ipPacket(SERVER, POOL, { protocol: 17, bytes: bare.bytes }), THREE);
    expect(parts[0]?.readUInt16BE(26)).toBe(0);
    const nat64 = await make();
    nat64.translate(ipPacket(CLIENT, embedded(SERVER), udp(4001, 53, Buffer.alloc(8))));
    const results = sendAll(nat64, parts);
    expect(results.map(({ verdict }) => verdict)).toEqual(['held', 'held', 'translated']);
    expect(joined(sent(results))?.udp).toMatchObject({ payload: BODY, isChecksumValid: true });
    const strict = await translator({ allowNonGlobal: true, zeroChecksum: 'drop', stateful: { pool: [POOL] } });
    strict.translate(ipPacket(CLIENT, embedded(SERVER), udp(4001, 53, Buffer.alloc(8))));
    expect(sendAll(strict, parts)[2]).toMatchObject({ reason: 'ZeroChecksum' });
  });

  test('the largest datagram, into fragments that fit', async () => {
    const nat64 = await make();
    const ping = ipPacket(CLIENT, embedded(SERVER), icmp(6, 128, 0, 77 << 16, Buffer.alloc(65_400, 'L')));
    const parts = Array.from({ length: 46 }, (_, index): [number, number] => [
      index * 1424,
      Math.min(65_408, (index + 1) * 1424),
    ]);
    const last = sendAll(nat64, fragmentsOf(ping, parts)).at(-1) as Nat64Result;
    expect(last.packets.length).toBeGreaterThan(40);
    expect(last.packets.every((packet) => packet.length <= 1500 && text(packet).isChecksumValid)).toBe(true);
    expect(joined(last.packets)?.icmp).toMatchObject({ type: 8, isChecksumValid: true });
  });
});

describe('RFC 6146, 3.4: hostile fragments (RFC 1858, RFC 3128, RFC 5722)', () => {
  const whole = ipPacket(CLIENT, embedded(SERVER), tcp({ sourcePort: 5000, flags: 'S', payload: BODY }));
  const one = (from: number, to: number, isLast = false): Buffer => {
    const part = fragmentsOf(whole, [[from, to]])[0] as Buffer;
    if (isLast) part.writeUInt8(part.readUInt8(43) & ~1, 43);
    return part;
  };

  test('a header cut in two, a part that is no whole units, one behind the end of the largest packet', async () => {
    const nat64 = await make();
    expect(nat64.translate(one(0, 16))).toMatchObject({ verdict: 'dropped', reason: 'FragmentTiny' });
    expect(nat64.translate(one(8, 400))).toMatchObject({ reason: 'FragmentTiny' });
    expect(nat64.translate(one(0, 403))).toMatchObject({ reason: 'BadHeader' });
    const far = withExtensions(ipPacket(CLIENT, embedded(SERVER), { protocol: 17, bytes: Buffer.alloc(400) }), [
      [44, fragmentHeader(65_528, false, 1)],
    ]);
    expect(nat64.translate(far)).toMatchObject({ reason: 'BadHeader' });
    expect(nat64.counters()).toMatchObject({ bindings: 0, sessions: 0 });
  });

  test('one that overlaps is dropped, whether the others have gone or wait', async () => {
    const passing = await make();
    const orders = sendAll(passing, [one(0, 464), one(400, 800), one(0, 464), one(464, 928), one(920, 1412)]);
    expect(orders.map(({ reason }) => reason)).toEqual([
      undefined,
      'FragmentOverlap',
      'FragmentOverlap',
      undefined,
      'FragmentOverlap',
    ]);
    const waiting = await make();
    expect(waiting.translate(one(464, 928))).toMatchObject({ verdict: 'held', reason: 'FragmentHeld' });
    expect(waiting.translate(one(464, 928))).toMatchObject({ reason: 'FragmentOverlap' });
    // The same again changes nothing; a contradiction ends the datagram.
    expect(waiting.translate(one(400, 800))).toMatchObject({ reason: 'FragmentOverlap' });
    expect(sendAll(waiting, [one(928, 1412), one(0, 464)]).map(({ verdict }) => verdict)).toEqual(['held', 'held']);
    const endless = await make();
    expect(endless.translate(one(928, 1400))).toMatchObject({ verdict: 'held' });
    expect(endless.translate(one(464, 800, true))).toMatchObject({ reason: 'FragmentOverlap' });
  });

  test('a source has four datagrams and 64 KiB, all have sixteen; after two seconds they are counted and gone', async () => {
    const nat64 = await make();
    const early = (client: string, id: number, bytes = 464): Buffer =>
      withExtensions(ipPacket(client, embedded(SERVER), { protocol: 17, bytes: Buffer.alloc(bytes) }), [
        [44, fragmentHeader(464, true, id)],
      ]);
    const of = (client: string): (string | undefined)[] =>
      Array.from({ length: 5 }, (_, id) => nat64.translate(early(client, id)).reason);
    const four = ['FragmentHeld', 'FragmentHeld', 'FragmentHeld', 'FragmentHeld'];
    expect(of(CLIENT)).toEqual([...four, 'FragmentLimit']);
    for (const client of ['2001:db8::2', '2001:db8::3', '2001:db8::4']) of(client);
    expect(nat64.translate(early('2001:db8::5', 1))).toMatchObject({ verdict: 'dropped', reason: 'FragmentLimit' });
    nat64.expire(1999);
    expect(nat64.counters().reasons).not.toHaveProperty('FragmentTimeout');
    nat64.expire(2000);
    expect(nat64.counters().reasons).toMatchObject({ FragmentTimeout: 16 });
    expect(nat64.translate(early('2001:db8::5', 1), 2000)).toMatchObject({ verdict: 'held' });
    const greedy = await make();
    expect(greedy.translate(early(CLIENT, 1, 60_000))).toMatchObject({ verdict: 'held' });
    expect(greedy.translate(early(CLIENT, 2, 6000))).toMatchObject({ reason: 'FragmentLimit' });
  });

  test('the time can be longer, not shorter', async () => {
    await expect(make({ lifetimes: { fragment: 1999 } })).rejects.toThrow(/2000/);
    const patient = await make({ lifetimes: { fragment: 10_000 } });
    patient.translate(one(464, 1412), 0);
    expect(patient.translate(one(0, 464), 9999).verdict).toBe('translated');
  });
});
