// The ports of one worker: opened and closed on request of the main thread, filled, kicked and waited for by the loop.
import { type Core } from '@openclb/core-wasm';
import { messageOf } from './log.ts';
import { libcCalls } from './port/ffi.ts';
import { openPort } from './port/open.ts';
import { type MemoryWire, type Port } from './port/port.ts';
import { type FromWorker, type PortInfo, type PortRequest, type SteerRow } from './worker-messages.ts';

const POLLFD_BYTES = 8;
const POLLIN = 1;

export interface WorkerPorts {
  /** One more than the highest index in use. */
  readonly count: number;
  open(request: PortRequest): Promise<void>;
  close(index: number): void;
  closeAll(): void;
  steer(index: number, rows: readonly SteerRow[]): void;
  /** Pulls frames in; false when there is no such port. */
  fill(index: number): boolean;
  /** One system call for every port of the mask. */
  kick(mask: number): void;
  /** Blocks until a port has something or the time is over. */
  wait(ms: number): void;
  /** Frames for a memory port. */
  bring(index: number, frames: readonly Uint8Array[]): void;
  /** Hands over what memory ports have sent. */
  flushMemory(): void;
  sayStatistics(): void;
}

interface Slot {
  readonly port: Port;
  readonly wire: MemoryWire | null;
  readonly sent: Uint8Array[];
}

export function createWorkerPorts(core: Core, say: (message: FromWorker) => void): WorkerPorts {
  const slots: Array<Slot | null> = [];
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  let pollfds: Uint8Array = new Uint8Array(0);

  async function open(request: PortRequest): Promise<void> {
    try {
      slots[request.index] = await openSlot(core, request);
      pollfds = pollfdsOf(slots);
      say({ type: 'opened', port: infoOf(slots[request.index]!.port) });
    } catch (error) {
      say({ type: 'notOpened', index: request.index, reason: messageOf(error) });
    }
  }

  function close(index: number): void {
    const slot = slots[index];
    if (slot === null || slot === undefined) return;
    slots[index] = null;
    pollfds = pollfdsOf(slots);
    slot.port.close();
  }

  return {
    get count() {
      return slots.length;
    },
    open,
    close,
    closeAll: () => slots.forEach((_, index) => close(index)),
    steer(index, rows) {
      try {
        if (slots[index]) steerPort(slots[index].port, rows);
      } catch (error) {
        say({ type: 'steerFailed', index, reason: messageOf(error) });
      }
    },
    fill(index) {
      const slot = slots[index];
      if (slot === null || slot === undefined) return false;
      slot.port.fill();
      return true;
    },
    kick(mask) {
      if (mask === 0) return;
      for (let index = 0; index < slots.length; index++) {
        if ((mask >>> Math.min(index, 31)) & 1) slots[index]?.port.kick();
      }
    },
    wait(ms) {
      if (pollfds.length > 0) libcCalls.poll(pollfds, pollfds.length / POLLFD_BYTES, ms);
      else Atomics.wait(sleeper, 0, 0, ms);
    },
    bring(index, frames) {
      const slot = slots[index];
      for (const frame of frames) slot?.wire?.toCore.push(frame);
    },
    flushMemory() {
      for (let index = 0; index < slots.length; index++) {
        const slot = slots[index];
        if (slot === null || slot === undefined || slot.sent.length === 0) continue;
        say({ type: 'sent', index, frames: slot.sent.splice(0) });
      }
    },
    sayStatistics() {
      for (const [index, slot] of slots.entries()) {
        // Indexes need not be consecutive, and `entries` names the holes as well.
        if (slot) say({ type: 'statistics', index, values: slot.port.statistics() });
      }
    },
  };
}

function steerPort(port: Port, rows: readonly SteerRow[]): void {
  for (const { prefix, bits, protocols } of rows) {
    if (protocols === 0) port.unsteer(prefix, bits);
    else port.steer(prefix, bits, protocols);
  }
}

async function openSlot(core: Core, request: PortRequest): Promise<Slot> {
  const room = core.plan.workers[core.worker.worker]?.ports[request.index];
  if (room === undefined) throw new Error(`the memory plan has no room for port ${request.index}`);
  const sent: Uint8Array[] = [];
  const wire: MemoryWire | null =
    request.kind === 'memory' ? { toCore: [], fromCore: (frame) => void sent.push(frame) } : null;
  const options = { ...request, room: { memory: core.memory, ...room }, ...(wire === null ? {} : { wire }) };
  return { port: await openPort(options), wire, sent };
}

/** struct pollfd for every port that can be waited for; made anew only when a port comes or goes. */
function pollfdsOf(slots: ReadonlyArray<Slot | null>): Uint8Array {
  const fds = slots.map((slot) => slot?.port.fd ?? null).filter((fd) => fd !== null);
  const pollfds = new Uint8Array(fds.length * POLLFD_BYTES);
  const view = new DataView(pollfds.buffer);
  for (const [index, fd] of fds.entries()) {
    view.setInt32(index * POLLFD_BYTES, fd, true);
    view.setInt16(index * POLLFD_BYTES + 4, POLLIN, true);
  }
  return pollfds;
}

function infoOf({ index, kind, device, layer, mac, mtu, detail, refused }: Port): PortInfo {
  return { index, kind, device, layer, mac, mtu, detail, refused };
}
