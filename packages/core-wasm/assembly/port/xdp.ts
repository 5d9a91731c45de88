// AF_XDP rings inside the linear memory (Documentation/networking/af_xdp.rst): receive, transmit, reclaim, refill.
// Each ring has its own size and mask. The kernel is the other side of every ring, so shared words are read and written atomically.
import { CHUNK_BYTES, NONE, PORT_HEADROOM_BYTES, PortState } from '../layout.gen';
import { completeChecksum } from './partial';
import { begin, CHUNK_MASK, countSent, isInArena, popFree, pushFree, slab } from './state';

const DESCRIPTOR_SHIFT: u32 = 4;
const DESCRIPTOR_LENGTH: usize = 8;
const DESCRIPTOR_OPTIONS: usize = 12;

/** Takes up to `max` frames off the receive ring into the burst records. */
export function receiveXdp(state: PortState, max: u32): u32 {
  reclaim(state);
  refill(state);
  const consumer = load<u32>(<usize>state.rxConsumer);
  const available = min(atomic.load<u32>(<usize>state.rxProducer) - consumer, state.rxMask + 1);
  const take = min(available, max);
  let count: u32 = 0;
  for (let i: u32 = 0; i < take; i++) {
    const descriptor = <usize>state.rxRing + ((<usize>((consumer + i) & state.rxMask)) << DESCRIPTOR_SHIFT);
    const offset = load<u64>(descriptor);
    const length = load<u32>(descriptor, DESCRIPTOR_LENGTH);
    if (offset >= <u64>state.arenaBytes) {
      state.rxMalformed += 1;
      continue;
    }
    const address = state.arena + <u32>offset;
    if (length > CHUNK_BYTES || (address & CHUNK_MASK) + length > CHUNK_BYTES) {
      state.rxMalformed += 1;
      pushFree(state, address);
      continue;
    }
    if (completeChecksum(slab(address), length, false)) state.rxCompleted += 1;
    begin(count++, state, address, length);
  }
  if (take != 0) atomic.store<u32>(<usize>state.rxConsumer, consumer + take);
  return count;
}

/** Chunks whose transmission is over go back to the free stack. */
export function reclaim(state: PortState): void {
  const consumer = load<u32>(<usize>state.completionConsumer);
  const done = min(atomic.load<u32>(<usize>state.completionProducer) - consumer, state.completionMask + 1);
  if (done == 0) return;
  for (let i: u32 = 0; i < done; i++) {
    const offset = load<u64>(<usize>state.completionRing + ((<usize>((consumer + i) & state.completionMask)) << 3));
    if (offset < <u64>state.arenaBytes) pushFree(state, state.arena + <u32>offset);
    else state.badChunk += 1;
  }
  atomic.store<u32>(<usize>state.completionConsumer, consumer + done);
}

/** Hands free chunks to the kernel for reception, but keeps a quarter of the arena for frames on their way out. */
export function refill(state: PortState): void {
  const producer = load<u32>(<usize>state.fillProducer);
  const space = state.fillMask + 1 - (producer - atomic.load<u32>(<usize>state.fillConsumer));
  const reserve = state.freeMax >> 2;
  const spare = state.freeCount > reserve ? state.freeCount - reserve : 0;
  const give = min(space, spare);
  if (give == 0) return;
  for (let i: u32 = 0; i < give; i++) {
    const chunk = popFree(state);
    store<u64>(<usize>state.fillRing + ((<usize>((producer + i) & state.fillMask)) << 3), <u64>(chunk - state.arena));
  }
  atomic.store<u32>(<usize>state.fillProducer, producer + give);
}

/**
 * Queues a frame. Returns true when the chunk of the frame now belongs to the transmit ring; a frame from another port's arena is
 * copied and its chunk stays with the caller. `sent` of the state tells nothing: look at the counters.
 */
export function transmitXdp(state: PortState, address: u32, length: u32): bool {
  const producer = load<u32>(<usize>state.txProducer) + state.txQueued;
  if (producer - atomic.load<u32>(<usize>state.txConsumer) > state.txMask) {
    state.txRingFull += 1;
    return false;
  }
  if (isInArena(state, address)) {
    queue(state, producer, address, length);
    return true;
  }
  copyXdp(state, producer, slab(address), length);
  return false;
}

/** Queues a copy of a frame that lies anywhere in linear memory. */
export function sendXdp(state: PortState, source: usize, length: u32): bool {
  const producer = load<u32>(<usize>state.txProducer) + state.txQueued;
  if (producer - atomic.load<u32>(<usize>state.txConsumer) > state.txMask) {
    state.txRingFull += 1;
    return false;
  }
  return copyXdp(state, producer, source, length);
}

function copyXdp(state: PortState, producer: u32, source: usize, length: u32): bool {
  if (state.freeCount == 0) reclaim(state);
  const chunk = length <= CHUNK_BYTES - PORT_HEADROOM_BYTES ? popFree(state) : NONE;
  if (chunk == NONE) {
    state.txNoChunk += 1;
    return false;
  }
  const address = chunk + PORT_HEADROOM_BYTES;
  memory.copy(slab(address), source, <usize>length);
  state.txCopied += 1;
  queue(state, producer, address, length);
  return true;
}

function queue(state: PortState, producer: u32, address: u32, length: u32): void {
  const descriptor = <usize>state.txRing + ((<usize>(producer & state.txMask)) << DESCRIPTOR_SHIFT);
  store<u64>(descriptor, <u64>(address - state.arena));
  store<u32>(descriptor, length, DESCRIPTOR_LENGTH);
  store<u32>(descriptor, 0, DESCRIPTOR_OPTIONS);
  state.txQueued += 1;
  countSent(state, length);
}

/** Publishes what a burst queued by one store, so the kernel sees the burst at once. */
export function publishXdp(state: PortState): void {
  if (state.txQueued == 0) return;
  atomic.store<u32>(<usize>state.txProducer, load<u32>(<usize>state.txProducer) + state.txQueued);
  state.txQueued = 0;
}
