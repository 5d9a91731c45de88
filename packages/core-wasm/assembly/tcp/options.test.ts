// Options of a segment by RFC 9293, 2018 and 7323; client addresses taken out; any bytes: no trap, no write outside the
// header.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { TcpOption, meterLimits } from '../../layout/index.ts';
import {
  CLIENT,
  PLACE,
  VIP,
  isTcpChecksumValid,
  lay,
  layAddress,
  metersWire,
  packetOf,
  reread,
  segment,
  viewOf,
} from '../../test/meters-fixture.ts';
import { tcp } from '../../../../tools/testkit/build.ts';
import type { Wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await metersWire()));

function read(options: string): ReturnType<typeof viewOf> {
  const at = lay(under, packetOf(CLIENT, VIP, segment(options)));
  under.call['readOptionsOne']!(PLACE.view, at.tcp);
  return viewOf(under);
}

test('a SYN of Linux: MSS, SACK permitted, timestamps, window scale', () => {
  expect(read('020405b40402080a000030390000000001030307')).toMatchObject({
    flags: TcpOption.Mss | TcpOption.Scale | TcpOption.SackPermitted | TcpOption.Timestamp,
    mss: 1460,
    scale: 7,
    timestampAt: 28,
    tsval: 12345,
    tsecr: 0,
    usedBytes: 20,
  });
});

test('RFC 2018: SACK blocks are found and counted; RFC 7323, 2.3: a window scale above 14 counts as 14', () => {
  expect(read('0101050a00000001000000020303ff')).toMatchObject({ sackAt: 24, sackBlocks: 1, scale: 14 });
  expect(read(`0101${'0522'}${'00000001'.repeat(8)}`)).toMatchObject({ sackAt: 24, sackBlocks: 4 });
});

test('of an option that comes twice the first counts, and one of a wrong length is passed over', () => {
  expect(read('02040218020405b4')).toMatchObject({ mss: 536 });
  expect(read('020305020405b401')).toMatchObject({ mss: 1460 });
  expect(read('05050000000806000000ff030303')).toMatchObject({ flags: TcpOption.Scale, scale: 3 });
});

test('a list that runs past the header or has an impossible length is malformed; what stood before counts', () => {
  for (const tail of ['0828000000000000', '0801000000000000', '0800000000000000', '010101010101010d'])
    expect(read(`020405b4${tail}`)).toMatchObject({ mss: 1460, flags: TcpOption.Mss | TcpOption.Malformed });
  expect(read('020405b400080a0000000000')).toMatchObject({ flags: TcpOption.Mss });
});

test('none leaves nothing', () => {
  const at = lay(under, packetOf(CLIENT, VIP, tcp()));
  under.call['readOptionsOne']!(PLACE.view, at.tcp);
  expect(viewOf(under)).toMatchObject({ flags: 0, mss: 0, scale: meterLimits.NO_SCALE, usedBytes: 0 });
});

test('an address that a client put into its own segment becomes no-operations, wherever it stands', () => {
  const forged = 'fe080050c0000201';
  const six = `fd140050${'20010db8'.repeat(4)}`;
  for (const lead of ['', '01', '0101', '010101', '080a0000000100000002']) {
    for (const [list, count] of [
      [forged, 1],
      [`c8080050c0000201${forged}`, 2],
      [six, 1],
    ] as const) {
      const packet = packetOf(CLIENT, VIP, segment(lead + list, { flags: 'A', payload: Buffer.from('data') }));
      const at = lay(under, packet);
      expect(under.call['stripToaOne']!(at.tcp)).toBe(count);
      const out = under.take(at.ip, packet.length);
      expect(reread(out).tcp?.isChecksumValid).toBe(true);
      const start = 40 + lead.length / 2;
      expect(out.subarray(start, start + list.length / 2).every((byte) => byte === 1)).toBe(true);
      expect(out.subarray(40, start).toString('hex')).toBe(lead);
      expect(under.call['stripToaOne']!(at.tcp)).toBe(0);
    }
  }
});

test('the same kinds with other lengths are experiments of others (RFC 6994) and stay', () => {
  const packet = packetOf(CLIENT, VIP, segment('fe0af989000102030405', { flags: 'S' }));
  const at = lay(under, packet);
  expect(under.call['stripToaOne']!(at.tcp)).toBe(0);
  expect(under.take(at.ip, packet.length).equals(packet)).toBe(true);
});

test('whatever the option bytes are: no trap, and no byte outside the packet changes', () => {
  const kinds = fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 200, 253, 254);
  const hostile = fc.array(fc.oneof(kinds, fc.constantFrom(2, 3, 4, 8, 10, 18, 20), fc.integer({ min: 0, max: 255 })), {
    minLength: 40,
    maxLength: 40,
  });
  layAddress(under, CLIENT);
  fc.assert(
    fc.property(hostile, fc.integer({ min: 5, max: 15 }), fc.integer(), (options, words, add) => {
      const built = tcp({ flags: 'A', payload: Buffer.alloc(60) });
      const bytes = Buffer.concat([built.bytes.subarray(0, 20), Buffer.from(options), Buffer.alloc(20)]);
      bytes.writeUInt8(words << 4, 12);
      const packet = packetOf(CLIENT, VIP, { ...built, bytes });
      under.bytes.fill(0xee, PLACE.packet - 64, PLACE.packet + 256);
      const at = lay(under, packet);
      under.call['readOptionsOne']!(PLACE.view, at.tcp);
      under.call['translateSegmentOne']!(at.tcp, add, add, add, add, 3);
      under.call['stripToaOne']!(at.tcp);
      const out = under.take(at.ip, packet.length);
      expect(isTcpChecksumValid(out)).toBe(true);
      expect(out.subarray(20 + words * 4).equals(packet.subarray(20 + words * 4))).toBe(true);
      expect(under.take(PLACE.packet - 64, 64).every((byte) => byte === 0xee)).toBe(true);
      expect(under.take(PLACE.packet + packet.length, 64).every((byte) => byte === 0xee)).toBe(true);
      expect(viewOf(under).usedBytes).toBeLessThanOrEqual(words * 4 - 20);
    }),
    { numRuns: 2000 },
  );
});
