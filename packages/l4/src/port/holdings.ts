// What a kernel port holds, noted beside its rings: descriptors outlive a worker thread that dies, and its successor must let go of them
// before it can bind the same queue (the kernel says EBUSY as long as the old rings are mapped).
import { baseOf, libcCalls, unmapOver } from './ffi.ts';
import type { PortRoom } from './port.ts';
import { CHUNK_BYTES, portLimits } from './state.ts';

/** At the very end of the port's area. */
export const HOLDINGS_BYTES = 128;
const MAGIC = 0x68656c64;
const FDS_MAX = HOLDINGS_BYTES / 4 - 3;

function noteOf(room: PortRoom): Uint32Array {
  return new Uint32Array(
    room.memory.buffer,
    room.area + portLimits.PORT_AREA_BYTES - HOLDINGS_BYTES,
    HOLDINGS_BYTES / 4,
  );
}

export function noteHoldings(room: PortRoom, fds: readonly number[]): void {
  if (fds.length > FDS_MAX) throw new Error(`a port holds ${fds.length} descriptors, ${FDS_MAX} can be noted`);
  noteOf(room).set([MAGIC, process.pid, fds.length, ...fds]);
}

export function forgetHoldings(room: PortRoom): void {
  noteOf(room).fill(0);
}

/** Lets go of what a dead worker of this process held in this room. Its frames are lost; that is what a crash costs. */
export function releaseHoldings(room: PortRoom): void {
  const [magic, pid, count = 0, ...fds] = noteOf(room);
  if (magic !== MAGIC || pid !== process.pid || count > FDS_MAX) return;
  for (const fd of fds.slice(0, count)) libcCalls.close(fd);
  const base = baseOf(room.memory);
  unmapOver(base + BigInt(room.area), portLimits.PORT_AREA_BYTES);
  unmapOver(base + BigInt(room.slab + room.arena), room.chunks * CHUNK_BYTES);
}
