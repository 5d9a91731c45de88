// The rings of ports whose frames TypeScript moves (tun, memory, pcap); the core's side is assembly/port/copy.ts, on the same thread.
import { portLimits } from '@openclb/core-wasm/layout';
import type { PortRoom } from './port.ts';
import { CHUNK_BYTES, OWN_CHUNKS, stackChunks, type State } from './state.ts';

const RING_ENTRIES = 1024;

export interface CopyRing {
  /** Linear address for the next frame from outside, or 0 when no chunk or no ring slot is free. */
  reserve(): number;
  /** Hands the reserved frame, now `bytes` long, to the core. */
  commit(bytes: number): void;
  /** Counts a frame from outside for which there was no room, or which is too long. */
  refuse(reason: 'rxNoChunk' | 'rxTruncated'): void;
  /** Calls `take` with linear address and length of each frame that the core queued, and empties the queue. */
  drain(take: (address: number, bytes: number) => boolean): number;
  readonly frameBytesMax: number;
}

export function openCopyRing(state: State, room: PortRoom): CopyRing {
  const { words } = state;
  const at = room.area;
  const rxRing = at + 64;
  const txRing = rxRing + RING_ENTRIES * 8;
  const stack = txRing + portLimits.PORT_QUEUE_MAX * 8;
  words.fill(0, at >>> 2, stack >>> 2);
  state.set('rxProducer', at);
  state.set('rxConsumer', at + 4);
  state.set('rxRing', rxRing);
  state.set('rxMask', RING_ENTRIES - 1);
  state.set('txRing', txRing);
  state.set('txMask', portLimits.PORT_QUEUE_MAX - 1);
  state.set('ownArena', room.arena);
  state.set('ownChunks', OWN_CHUNKS);
  stackChunks(state, room, stack, OWN_CHUNKS);
  const word = (address: number): number => words[address >>> 2] ?? 0;
  return {
    frameBytesMax: CHUNK_BYTES - portLimits.PORT_HEADROOM_BYTES,
    reserve: () => {
      const free = state.get('freeCount');
      const used = (word(at) - word(at + 4)) >>> 0;
      if (free === 0 || used >= RING_ENTRIES) return 0;
      return room.slab + word(stack + (free - 1) * 4) + portLimits.PORT_HEADROOM_BYTES;
    },
    commit: (bytes) => {
      const free = state.get('freeCount') - 1;
      const producer = word(at);
      const descriptor = rxRing + (producer & (RING_ENTRIES - 1)) * 8;
      words[descriptor >>> 2] = word(stack + free * 4) + portLimits.PORT_HEADROOM_BYTES;
      words[(descriptor + 4) >>> 2] = bytes;
      state.set('freeCount', free);
      words[at >>> 2] = producer + 1;
    },
    refuse: (reason) => state.add(reason, 1),
    drain: (take) => {
      const queued = Math.min(state.get('txQueued'), portLimits.PORT_QUEUE_MAX);
      let sent = 0;
      for (let i = 0; i < queued; i++) {
        const descriptor = txRing + i * 8;
        if (take(room.slab + word(descriptor), word(descriptor + 4))) sent += 1;
      }
      if (sent < queued) state.add('txRefused', queued - sent);
      state.set('txQueued', 0);
      return sent;
    },
  };
}
