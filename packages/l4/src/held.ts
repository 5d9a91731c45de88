// Packets that wait for their next hop to be resolved (data-plane.md P36): at most 4 a next hop, for at most a second. Pure.

export const HELD_PER_HOP_MAX = 4;
export const HELD_MAX = 256;
export const HELD_MS_MAX = 1_000;

export interface HeldPacket {
  /** A complete IP packet. */
  readonly packet: Uint8Array;
  readonly destination: string;
  readonly sinceMs: number;
}

export interface HeldPackets {
  /** Keeps a copy, or counts an overflow. `sinceMs` is the time of its first try. */
  keep(packet: Uint8Array, sinceMs: number): void;
  /** All that are young enough, to be tried again; the store is empty afterwards. */
  takeAll(nowMs: number): HeldPacket[];
  expire(nowMs: number): void;
  readonly size: number;
  readonly expired: number;
  readonly overflow: number;
}

export function createHeldPackets(): HeldPackets {
  let held: HeldPacket[] = [];
  let expired = 0;
  let overflow = 0;

  function expire(nowMs: number): void {
    if (held.length === 0) return;
    const young = held.filter((one) => (nowMs - one.sinceMs) >>> 0 < HELD_MS_MAX);
    expired += held.length - young.length;
    held = young;
  }

  return {
    keep(packet, sinceMs) {
      const destination = destinationOf(packet);
      const same = held.reduce((count, one) => count + (one.destination === destination ? 1 : 0), 0);
      if (same >= HELD_PER_HOP_MAX || held.length >= HELD_MAX) overflow++;
      else held.push({ packet: packet.slice(), destination, sinceMs });
    },
    takeAll(nowMs) {
      expire(nowMs);
      const all = held;
      held = [];
      return all;
    },
    expire,
    get size() {
      return held.length;
    },
    get expired() {
      return expired;
    },
    get overflow() {
      return overflow;
    },
  };
}

/** Packets to one destination share a next hop; two destinations behind one gateway count apart, which only keeps more. */
function destinationOf(packet: Uint8Array): string {
  return packet[0]! >> 4 === 4 ? packet.subarray(16, 20).join('.') : packet.subarray(24, 40).join('.');
}
