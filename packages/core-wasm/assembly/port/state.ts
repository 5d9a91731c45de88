// Where the ports of this instance are, their free chunks, and the two ends of a frame's stay: taken into a record, given back.
// The addresses come from the memory map; nothing here trusts an address that came out of a ring.
import {
  BURST_MAX,
  CHUNK_BYTES,
  EXTRA_MAX,
  NONE,
  PACKET_RECORD_BYTES,
  PacketRecord,
  PORT_NONE,
  PORT_STATE_BYTES,
  PortState,
} from '../layout.gen';
import { burst, portStates, slab as slabAt, slabBytes, workerMap } from '../memory';

export const CHUNK_MASK: u32 = CHUNK_BYTES - 1;

export function stateOf(index: u32): PortState {
  return changetype<PortState>(portStates + <usize>index * PORT_STATE_BYTES);
}

export function recordAt(index: u32): PacketRecord {
  return changetype<PacketRecord>(burst + <usize>index * PACKET_RECORD_BYTES);
}

export function clampBurst(count: u32): u32 {
  return min(count, BURST_MAX + EXTRA_MAX);
}

export function portExists(index: u32): bool {
  return index < workerMap.portsMax && stateOf(index).kind != <u8>PORT_NONE;
}

export function portCount(): u32 {
  return workerMap.portsMax;
}

export function slab(address: u32): usize {
  return slabAt + <usize>address;
}

/** A frame lies inside the slab and inside one chunk. */
export function isInSlab(address: u32, length: u32): bool {
  return address < slabBytes && length <= CHUNK_BYTES && (address & CHUNK_MASK) + length <= CHUNK_BYTES;
}

export function isInArena(state: PortState, address: u32): bool {
  return address - state.arena < state.arenaBytes;
}

export function popFree(state: PortState): u32 {
  const count = state.freeCount;
  if (count == 0) return NONE;
  state.freeCount = count - 1;
  return load<u32>(<usize>state.freeStack + ((<usize>count - 1) << 2));
}

/** Takes a chunk back. A stack that is already full means that some chunk came back twice. */
export function pushFree(state: PortState, address: u32): void {
  const chunk = address & ~CHUNK_MASK;
  const count = state.freeCount;
  if (count >= state.freeMax || !isInArena(state, chunk)) {
    state.badChunk += 1;
    return;
  }
  store<u32>(<usize>state.freeStack + ((<usize>count) << 2), chunk);
  state.freeCount = count + 1;
}

/** Packet and copy ports: the next chunk for a frame that the core makes or copies; all are free again after a kick. */
export function takeOwn(state: PortState): u32 {
  if (state.txQueued == 0) state.ownUsed = 0;
  const used = state.ownUsed;
  if (used >= state.ownChunks) return NONE;
  state.ownUsed = used + 1;
  return state.ownArena + used * CHUNK_BYTES;
}

/** Writes what a walk needs to know about a received frame into a record. */
export function begin(index: u32, state: PortState, address: u32, length: u32): void {
  const packet = recordAt(index);
  packet.address = address;
  packet.length = length;
  packet.portIn = state.index;
  packet.portOut = state.index;
  packet.verdict = 0;
  packet.reason = 0;
  packet.flags = 0;
  packet.chunk = address & ~CHUNK_MASK;
  state.rxFrames += 1;
  state.rxBytes += <u64>length;
}

export function countSent(state: PortState, length: u32): void {
  state.txFrames += 1;
  state.txBytes += <u64>length;
}
