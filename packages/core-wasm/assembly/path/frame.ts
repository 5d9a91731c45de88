// Where things lie in a frame: addresses of the current headers, and room in front of them. No step: every step may use it.
import { CHUNK_BYTES, PacketRecord } from '../layout.gen';
import { slab } from '../memory';
import { Ipv4 } from '../wire/ipv4';
import { Ipv6 } from '../wire/ipv6';
import { Tcp } from '../wire/tcp';
import { Udp } from '../wire/udp';

/** Nothing is written in front of this offset of a chunk: an AF_PACKET slot keeps its status word there. */
export const CHUNK_RESERVED: u32 = 64;
const CHUNK_MASK: u32 = CHUNK_BYTES - 1;

export function frameAt(packet: PacketRecord): usize {
  return slab + <usize>packet.address;
}
export function l3At(packet: PacketRecord): usize {
  return frameAt(packet) + <usize>packet.l3;
}
export function l4At(packet: PacketRecord): usize {
  return frameAt(packet) + <usize>packet.l4;
}
export function ipv4Of(packet: PacketRecord): Ipv4 {
  return Ipv4.at(l3At(packet));
}
export function ipv6Of(packet: PacketRecord): Ipv6 {
  return Ipv6.at(l3At(packet));
}
export function tcpOf(packet: PacketRecord): Tcp {
  return Tcp.at(l4At(packet));
}
export function udpOf(packet: PacketRecord): Udp {
  return Udp.at(l4At(packet));
}

/** Bytes of the current IP packet, without link header and padding. */
export function ipBytes(packet: PacketRecord): u32 {
  return packet.l3End - packet.l3;
}
/** Bytes from the transport header to the end of the IP packet. */
export function l4Bytes(packet: PacketRecord): u32 {
  return packet.l3End - packet.l4;
}

/**
 * Makes the current IP packet the end of a new one that begins `bytes` earlier, and the frame begin there. Moves the frame inside
 * its chunk when it lies too close to the front. False when the chunk has no room.
 */
export function prepend(packet: PacketRecord, bytes: u32): bool {
  const length = ipBytes(packet);
  const start = packet.address + packet.l3;
  const offset = start & CHUNK_MASK;
  let first = start - bytes;
  if (offset < CHUNK_RESERVED + bytes) {
    if (CHUNK_RESERVED + bytes + length > CHUNK_BYTES) return false;
    const base = start & ~CHUNK_MASK;
    // As far back as it goes, so the next header finds room as well.
    const moved = base + CHUNK_BYTES - length;
    memory.copy(slab + <usize>moved, slab + <usize>start, length);
    first = moved - bytes;
  }
  const l4 = <u32>packet.l4 - packet.l3;
  const payload = <u32>packet.payload - packet.l3;
  packet.address = first;
  packet.l2Bytes = 0;
  packet.l3 = 0;
  packet.l4 = <u16>(bytes + l4);
  packet.payload = <u16>(bytes + payload);
  packet.l3End = bytes + length;
  packet.length = bytes + length;
  return true;
}
