// The memory port: frames from and to JavaScript, for tests and for hosts without a kernel to talk to.
import { openCopyRing } from './copy-ring.ts';
import type { MemoryWire, Port, PortOptions } from './port.ts';
import { describe, openState, PortKind } from './state.ts';

const BURST_MAX = 64;
const MTU_DEFAULT = 1500;
/** Frames that may wait on a wire; a sender that outruns the core loses the rest, counted by the wire. */
const WIRE_MAX = 65_536;

/** Two ends of a cable: give one to a memory port and use the other, or give both to ports. */
export function createWirePair(): { readonly a: MemoryWire; readonly b: MemoryWire } {
  const left: Uint8Array[] = [];
  const right: Uint8Array[] = [];
  const push = (to: Uint8Array[]) => (frame: Uint8Array) => {
    if (to.length < WIRE_MAX) to.push(frame);
  };
  return { a: { toCore: left, fromCore: push(right) }, b: { toCore: right, fromCore: push(left) } };
}

export function openMemory(options: PortOptions): Port {
  const { room, wire } = options;
  if (wire === undefined) throw new Error('a memory port needs `wire`, its other end: see createWirePair');
  const layer = options.layer ?? 2;
  const mtu = options.mtu ?? MTU_DEFAULT;
  const mac = layer === 2 ? Uint8Array.of(2, 0, 0, 0, 0, options.index) : null;
  const state = openState(room);
  const ring = openCopyRing(state, room);
  describe(state, room, { kind: PortKind.Memory, index: options.index, layer, mtu, mac });
  let isClosed = false;
  return {
    kind: 'memory',
    index: options.index,
    device: options.device,
    layer,
    mac,
    mtu,
    fd: null,
    detail: 'memory',
    refused: [],
    pending: () => !isClosed && wire.toCore.length > 0,
    fill: () => (isClosed ? 0 : fill(wire.toCore)),
    kick: () =>
      ring.drain((address, bytes) => {
        wire.fromCore(state.bytes.slice(address, address + bytes));
        return true;
      }),
    steer: () => {},
    unsteer: () => {},
    statistics: () => state.counters(),
    close: () => {
      isClosed = true;
      state.clear();
    },
  };

  function fill(frames: Uint8Array[]): number {
    let count = 0;
    for (const frame of frames.splice(0, BURST_MAX)) {
      if (frame.length > ring.frameBytesMax) {
        ring.refuse('rxTruncated');
        continue;
      }
      const address = ring.reserve();
      if (address === 0) {
        ring.refuse('rxNoChunk');
        continue;
      }
      state.bytes.set(frame, address);
      ring.commit(frame.length);
      count += 1;
    }
    return count;
  }
}
