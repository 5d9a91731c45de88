// Packets without a resolved next hop: four a destination, a second long, and never more memory than that.
import { expect, test } from 'vitest';
import { HELD_MAX, createHeldPackets } from './held.ts';

function ipv4(destination: number, mark = 0): Uint8Array {
  const packet = new Uint8Array(24);
  packet[0] = 0x45;
  new DataView(packet.buffer).setUint32(16, destination);
  packet[20] = mark;
  return packet;
}

test('four packets of a destination are kept in order, further ones are counted', () => {
  const held = createHeldPackets();
  for (let mark = 0; mark < 6; mark++) held.keep(ipv4(1, mark), 0);
  held.keep(ipv4(2), 0);
  expect(held.overflow).toBe(2);
  expect(held.takeAll(10).map(({ packet }) => packet[20])).toEqual([0, 1, 2, 3, 0]);
  expect(held.size).toBe(0);
});

test('a packet is dropped and counted when a second has passed since its first try, also over the wrap of the clock', () => {
  const held = createHeldPackets();
  held.keep(ipv4(1), 0xffffffff - 499);
  held.expire(499);
  expect(held.size).toBe(1);
  held.expire(500);
  expect([held.size, held.expired]).toEqual([0, 1]);
});

test('a flood to many destinations fills the store and no more', () => {
  const held = createHeldPackets();
  for (let destination = 0; destination < HELD_MAX + 100; destination++) held.keep(ipv4(destination), 0);
  expect([held.size, held.overflow]).toEqual([HELD_MAX, 100]);
});

test('what is kept is a copy, because the chunk goes back to its port', () => {
  const held = createHeldPackets();
  const packet = ipv4(1, 7);
  held.keep(packet, 0);
  packet.fill(0);
  expect(held.takeAll(0)[0]!.packet[20]).toBe(7);
});
