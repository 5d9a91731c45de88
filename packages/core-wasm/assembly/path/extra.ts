// Packets that the core adds to a burst, behind the received ones: further pieces of a packet, and fragments that were held.
// Their frames lie in chunks of their own, so `recycle` has nothing to give back. No step: pieces and fragment use it.
import { BURST_MAX, CHUNK_BYTES, EXTRA_MAX, NONE, PACKET_RECORD_BYTES, PacketRecord } from '../layout.gen';
import { burst, state, workerMap } from '../memory';
import { settle } from '../verdict';

/** Where a frame begins in its chunk: room for outer headers and a tag in front. */
const HEADROOM: u32 = 192;
/** Bytes that an added packet may have. */
export const EXTRA_BYTES_MAX: u32 = CHUNK_BYTES - HEADROOM;

let first: u32 = 0;
/** Packets added to the burst in hand. */
export let extras: u32 = 0;

/** A burst of `count` received packets begins. */
export function beginExtras(count: u32): void {
  first = min(count, BURST_MAX);
  extras = 0;
}

/** Goes on behind what another instance on this memory has added to `count` received packets. */
export function resumeExtras(count: u32, added: u32): void {
  first = min(count, BURST_MAX);
  extras = added;
}

/** Records of the burst in hand, added ones included. */
export function allRecords(): u32 {
  return first + extras;
}

export function hasRoom(count: u32): bool {
  return extras + count <= EXTRA_MAX;
}

export function extraAt(index: u32): PacketRecord {
  return PacketRecord.at(burst + <usize>(first + index) * PACKET_RECORD_BYTES);
}

/** A copy of the record with an empty frame of its own. The caller has asked for room. */
export function addExtra(like: PacketRecord): PacketRecord {
  const packet = extraAt(extras);
  memory.copy(changetype<usize>(packet), changetype<usize>(like), <usize>PACKET_RECORD_BYTES);
  packet.address = workerMap.extraChunk + extras * CHUNK_BYTES + HEADROOM;
  packet.chunk = NONE;
  packet.length = 0;
  packet.l2Bytes = 0;
  packet.l3 = 0;
  extras += 1;
  return packet;
}

/** An added packet of which nothing is known yet. The caller has asked for room. */
export function addEmpty(): PacketRecord {
  const packet = extraAt(extras);
  memory.fill(changetype<usize>(packet), 0, <usize>PACKET_RECORD_BYTES);
  v128.store(changetype<usize>(packet), i64x2.splat(-1), offsetof<PacketRecord>('listenerSlot'));
  packet.address = workerMap.extraChunk + extras * CHUNK_BYTES + HEADROOM;
  packet.chunk = NONE;
  packet.nextHop = NONE;
  extras += 1;
  return packet;
}

/** Counts an added packet by its verdict; it was not received. */
export function settleExtra(packet: PacketRecord): void {
  settle(packet);
  state.received -= 1;
  state.added += 1;
}
