// The rings of ports whose frames are copied by TypeScript (tun, memory, pcap): l4 fills the one and drains the other.
// Both sides run on one thread, so the words need no atomics. A descriptor is {address relative to the slab u32, length u32}.
import { CHUNK_BYTES, NONE, PORT_HEADROOM_BYTES, PortState } from '../layout.gen';
import { begin, countSent, isInArena, isInSlab, pushFree, slab, takeOwn } from './state';

/** Takes up to `max` frames that `fill` put into the ring. */
export function receiveCopy(state: PortState, max: u32): u32 {
  const consumer = load<u32>(<usize>state.rxConsumer);
  const available = min(load<u32>(<usize>state.rxProducer) - consumer, state.rxMask + 1);
  const take = min(available, max);
  let count: u32 = 0;
  for (let i: u32 = 0; i < take; i++) {
    const descriptor = <usize>state.rxRing + ((<usize>((consumer + i) & state.rxMask)) << 3);
    const address = load<u32>(descriptor);
    const length = load<u32>(descriptor, 4);
    if (!isInArena(state, address) || !isInSlab(address, length)) {
      state.rxMalformed += 1;
      if (isInArena(state, address)) pushFree(state, address);
      continue;
    }
    begin(count++, state, address, length);
  }
  store<u32>(<usize>state.rxConsumer, consumer + take);
  return count;
}

/** Queues a frame by reference; `kick` copies it out before `recycle` gives its chunk back. */
export function transmitCopy(state: PortState, address: u32, length: u32): void {
  const queued = state.txQueued;
  if (queued > state.txMask) {
    state.txRingFull += 1;
    return;
  }
  const descriptor = <usize>state.txRing + ((<usize>queued) << 3);
  store<u32>(descriptor, address);
  store<u32>(descriptor, length, 4);
  state.txQueued = queued + 1;
  countSent(state, length);
}

/** Queues a copy of a frame that lies anywhere in linear memory. */
export function sendCopy(state: PortState, source: usize, length: u32): bool {
  const chunk = length <= CHUNK_BYTES - PORT_HEADROOM_BYTES ? takeOwn(state) : NONE;
  if (chunk == NONE) {
    state.txNoChunk += 1;
    return false;
  }
  memory.copy(slab(chunk + PORT_HEADROOM_BYTES), source, <usize>length);
  state.txCopied += 1;
  const before = state.txFrames;
  transmitCopy(state, chunk + PORT_HEADROOM_BYTES, length);
  return state.txFrames != before;
}
