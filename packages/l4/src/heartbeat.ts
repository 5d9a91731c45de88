// The heartbeat between the announcer and the packet workers (data-plane.md P35): 16 bytes of UDP to an address of the data path.
// A packet worker answers it between two bursts and nothing else does, so an answer proves that packets are being forwarded.

/** UDP port of the heartbeat on tunnel and probe addresses; 3784 is BFD, which belongs to the kernel's own addresses. */
export const HEARTBEAT_PORT = 48784;
export const HEARTBEAT_BYTES = 16;
const MAGIC = 0x4f434c42;
const VERSION = 1;
const STATUS_OFFSET = 5;

/**
 * What a worker says of itself. Draining: no new flows please, but keep sending me replies (P2). Leaving: take everything away now;
 * what still comes is forwarded for a moment, so nothing is lost on the way.
 */
export const HeartbeatStatus = { Asked: 0, Serving: 1, Draining: 2, Leaving: 3 } as const;

/** A question; `nonce` comes back in the answer. */
export function writeHeartbeat(view: DataView, offset: number, nonce: number): void {
  view.setUint32(offset, MAGIC);
  view.setUint8(offset + 4, VERSION);
  view.setUint8(offset + STATUS_OFFSET, HeartbeatStatus.Asked);
  view.setUint16(offset + 6, 0);
  view.setUint32(offset + 8, 0);
  view.setUint32(offset + 12, nonce);
}

export function isHeartbeat(view: DataView, offset: number, bytes: number): boolean {
  return bytes === HEARTBEAT_BYTES && view.getUint32(offset) === MAGIC && view.getUint8(offset + 4) === VERSION;
}

export function heartbeatStatus(view: DataView, offset: number): number {
  return view.getUint8(offset + STATUS_OFFSET);
}

export function heartbeatNonce(view: DataView, offset: number): number {
  return view.getUint32(offset + 12);
}

/** Turns a question into its answer. */
export function setHeartbeatStatus(view: DataView, offset: number, status: number): void {
  view.setUint8(offset + STATUS_OFFSET, status);
}
