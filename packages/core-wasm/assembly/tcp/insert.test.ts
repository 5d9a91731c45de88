// TOA options and PROXY protocol headers put into packets: bytes by the word, lengths, checksums, limits; the sequence
// shift there and back.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { meterLimits } from '../../layout/index.ts';
import {
  CLIENT,
  CLIENT6,
  PLACE,
  VIP,
  VIP6,
  headerBytes,
  isTcpChecksumValid,
  lay,
  layAddress,
  metersWire,
  packetOf,
  reread,
  segment,
} from '../../test/meters-fixture.ts';
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import type { Wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await metersWire()));

const V10 = '10.0.0.2';
function insertToa(packet: Buffer, kind: number, client: string, port = 40000, limit = 1500): Buffer | undefined {
  const at = lay(under, packet);
  const by = under.call['insertToaOne']!(at.ip, at.tcp, kind, layAddress(under, client), port, limit);
  return by === 0 ? undefined : under.take(PLACE.packet - by, packet.length + by);
}

test('kind 254 and Tencent’s 200: port and IPv4 address, in front of the other options', () => {
  const packet = packetOf(
    '100.80.16.1',
    V10,
    segment('0101080a0000100000002000', { flags: 'A', payload: Buffer.from('GET') }),
  );
  for (const kind of [254, 200]) {
    const out = insertToa(packet, kind, CLIENT)!;
    expect(out.subarray(40, 48).toString('hex')).toBe(`${kind.toString(16)}089c40c6336401`);
    expect(out.subarray(48).equals(packet.subarray(40))).toBe(true);
    expect(reread(out)).toMatchObject({
      totalLength: packet.length + 8,
      isChecksumValid: true,
      tcp: { isChecksumValid: true, payload: Buffer.from('GET') },
    });
  }
});

test('kind 254 and Tencent’s 253: port and IPv6 address, as NAT64 needs it', () => {
  const packet = packetOf('100.80.16.1', V10, segment('', { flags: 'A' }));
  for (const kind of [254, 253]) {
    const out = insertToa(packet, kind, CLIENT6)!;
    expect(out.subarray(40).toString('hex')).toBe(`${kind.toString(16)}149c4020010db8000c00000000000000000001`);
    expect(reread(out).tcp?.isChecksumValid).toBe(true);
  }
  expect(insertToa(packet, 200, CLIENT6)).toBeUndefined();
  expect(insertToa(packet, 253, CLIENT)).toBeUndefined();
});

test('without room nothing is touched: 40 bytes of options, or the limit of the path', () => {
  const full = packetOf(VIP, V10, segment('01'.repeat(36), { flags: 'A' }));
  expect(insertToa(full, 254, CLIENT)).toBeUndefined();
  expect(under.take(PLACE.packet, full.length).equals(full)).toBe(true);
  expect(insertToa(packetOf(VIP, V10, segment('01'.repeat(32), { flags: 'A' })), 254, CLIENT)?.length).toBe(80);
  const packet = packetOf(VIP, V10, tcp({ flags: 'A', payload: Buffer.alloc(100) }));
  expect(insertToa(packet, 254, CLIENT, 1, 147)).toBeUndefined();
  expect(insertToa(packet, 254, CLIENT, 1, 148)?.length).toBe(148);
});

test('for any segment of either family the checksum stays right and the data stays where it was', () => {
  const ends = fc.constantFrom([CLIENT, VIP] as const, [CLIENT6, VIP6] as const);
  const lists = fc.constantFrom('', '0101080a0000100000002000', '030307', '0101050a0000000100000002');
  fc.assert(
    fc.property(
      ends,
      lists,
      fc.uint8Array({ maxLength: 99 }),
      fc.oneof(
        fc.ipV4(),
        fc
          .ipV6()
          .filter((text) => (!text.includes('.') && text.includes('::')) || /^([0-9a-f]+:){7}[0-9a-f]+$/.test(text)),
      ),
      ([from, to], list, payload, client) => {
        const packet = packetOf(from, to, segment(list, { flags: 'PA', payload }));
        const out = insertToa(packet, 254, client)!;
        expect(isTcpChecksumValid(out)).toBe(true);
        expect(reread(out)).toMatchObject({ totalLength: out.length, isChecksumValid: true });
        expect(out.subarray(out.length - payload.length).equals(Buffer.from(payload))).toBe(true);
      },
    ),
  );
});

function insertProxy(
  packet: Buffer,
  protocol: number,
  source: string,
  destination: string,
  limit = 1500,
): Buffer | undefined {
  const at = lay(under, packet);
  layAddress(under, source, PLACE.address);
  layAddress(under, destination, PLACE.other);
  const by = under.call['insertProxyHeader']!(at.ip, at.tcp, protocol, PLACE.address, PLACE.other, 40000, 443, limit);
  return by === 0 ? undefined : under.take(PLACE.packet - by, packet.length + by);
}
const SIGNATURE = '0d0a0d0a000d0a515549540a';
const ADDRESSES4 = 'c6336401cb00710a9c4001bb';
const ADDRESSES6 = '20010db8000c0000000000000000000120010db80005000000000000000000109c4001bb';

test('PROXY protocol version 2, section 2.2: TCP and UDP over IPv4 and IPv6', () => {
  const data = Buffer.from('hello');
  const four = insertProxy(
    packetOf('100.80.16.1', V10, segment('0101080a0000100000002000', { flags: 'PA', payload: data })),
    6,
    CLIENT,
    VIP,
  )!;
  expect(reread(four).tcp?.payload.toString('hex')).toBe(`${SIGNATURE}2111000c${ADDRESSES4}${data.toString('hex')}`);
  const six = insertProxy(packetOf(CLIENT6, VIP6, tcp({ flags: 'PA', payload: data })), 6, CLIENT6, VIP6)!;
  expect(reread(six).tcp?.payload.toString('hex')).toBe(`${SIGNATURE}21210024${ADDRESSES6}${data.toString('hex')}`);
  const datagram = insertProxy(ipPacket('100.80.16.1', V10, udp(1, 2, data)), 17, CLIENT, VIP)!;
  expect(reread(datagram)).toMatchObject({ isChecksumValid: true, udp: { isChecksumValid: true } });
  expect(reread(datagram).udp?.payload.toString('hex')).toBe(
    `${SIGNATURE}2112000c${ADDRESSES4}${data.toString('hex')}`,
  );
  expect(datagram.readUInt16BE(24)).toBe(8 + 28 + 5);
  for (const packet of [four, six]) expect(isTcpChecksumValid(packet)).toBe(true);
});

test('a datagram without checksum stays without, and a path that is too narrow gets nothing', () => {
  const plain = ipPacket(CLIENT, VIP, udp(1, 2, Buffer.from('x')));
  plain.writeUInt16BE(0, 26);
  expect(insertProxy(plain, 17, CLIENT, VIP)!.readUInt16BE(26)).toBe(0);
  const packet = packetOf(CLIENT, VIP, tcp({ flags: 'A', payload: Buffer.alloc(100) }));
  expect(insertProxy(packet, 6, CLIENT, VIP, 140 + 27)).toBeUndefined();
  expect(insertProxy(packet, 6, CLIENT, VIP, 140 + 28)?.length).toBe(168);
});

test('after a header of 28 bytes both sides count as if it were not there', () => {
  const first = packetOf(CLIENT, VIP, tcp({ flags: 'PA', sequence: 1001, payload: Buffer.from('hello') }));
  const carried = insertProxy(first, 6, CLIENT, VIP)!;
  expect(carried.readUInt32BE(24)).toBe(1001);
  const shift = (packet: Buffer, sequence: number, acknowledgment: number): Buffer => {
    const at = lay(under, packet);
    under.call['translateSegmentOne']!(at.tcp, sequence, acknowledgment, 0, 0, 0);
    const out = under.take(at.ip, packet.length);
    expect(isTcpChecksumValid(out)).toBe(true);
    return out;
  };
  const second = shift(packetOf(CLIENT, VIP, tcp({ flags: 'PA', sequence: 1006 })), meterLimits.PROXY2_V4_BYTES, 0);
  expect(second.readUInt32BE(24)).toBe(1001 + 28 + 5);
  const acknowledged = packetOf(
    VIP,
    CLIENT,
    segment('0101050a0000040f00000419', { flags: 'A', acknowledgement: 1001 + 28 + 5 }),
  );
  const back = shift(acknowledged, 0, -meterLimits.PROXY2_V4_BYTES);
  expect([back.readUInt32BE(28), back.readUInt32BE(44), back.readUInt32BE(48)]).toEqual([1006, 0x40f - 28, 0x419 - 28]);
  expect(headerBytes(back)).toBe(20);
});
