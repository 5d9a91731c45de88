// System calls of the test kit: step into a network namespace, switch offloads off, open a capture socket (packet-io.md 1.1).
// It shares nothing with packages/l4 on purpose: what judges the product must not be the product.
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';

const CLONE_NEWNET = 0x40000000;
const SIOCETHTOOL = 0x8946;
const SIOCGIFINDEX = 0x8933;
const AF_INET = 2;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW_NONBLOCK = 3 | 0o4000;
const ETH_P_ALL_BE = 0x0300;
const IFREQ_BYTES = 40;
/** ETHTOOL_STXCSUM, STSO, SGSO, SGRO: with these off every frame on the wire is whole and carries true checksums. */
const OFFLOADS_OFF = [0x17, 0x1f, 0x24, 0x2c];

interface Libc {
  setns(fd: number, kind: number): number;
  socket(family: number, kind: number, protocol: number): number;
  send(fd: number, bytes: Uint8Array, count: number, flags: number): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  bind(fd: number, address: Uint8Array, bytes: number): number;
  mmap(at: null, bytes: number, protection: number, flags: number, fd: number, offset: number): unknown;
  munmap(at: unknown, bytes: number): number;
  getsockopt(fd: number, level: number, name: number, value: Uint8Array, bytes: Uint8Array): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, bytes: number): number;
}

let loaded: Libc | undefined;

function libc(): Libc {
  if (loaded) return loaded;
  const library = koffi.load(null);
  loaded = {
    setns: library.func('int setns(int, int)'),
    socket: library.func('int socket(int, int, int)'),
    send: library.func('long send(int, void *, size_t, int)'),
    ioctl: library.func('int ioctl(int, ulong, void *)'),
    bind: library.func('int bind(int, void *, uint)'),
    mmap: library.func('void *mmap(void *, size_t, int, int, int, long)'),
    getsockopt: library.func('int getsockopt(int, int, int, void *, void *)'),
    munmap: library.func('int munmap(void *, size_t)'),
    setsockopt: library.func('int setsockopt(int, int, int, void *, uint)'),
  } as unknown as Libc;
  return loaded;
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
  return result;
}

/** Runs `work` with the main thread inside the namespace. Only what is synchronous happens there. */
export function insideNamespace<T>(path: string, work: () => T): T {
  const home = openSync('/proc/self/ns/net', 'r');
  const there = openSync(path, 'r');
  try {
    check(libc().setns(there, CLONE_NEWNET), `enter ${path}`);
    try {
      return work();
    } finally {
      check(libc().setns(home, CLONE_NEWNET), 'return to the own namespace');
    }
  } finally {
    closeSync(there);
    closeSync(home);
  }
}

function interfaceRequest(device: string): Buffer {
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(device, 0, 15, 'latin1');
  return request;
}

/** Transmit checksum, segmentation and GRO off, on a device of the current namespace. */
export function offloadsOff(device: string): void {
  const fd = check(libc().socket(AF_INET, SOCK_DGRAM, 0), 'socket for ethtool');
  try {
    for (const command of OFFLOADS_OFF) {
      const value = Buffer.alloc(8);
      value.writeUInt32LE(command, 0);
      const request = interfaceRequest(device);
      request.writeBigUInt64LE(BigInt(koffi.address(value)), 16);
      check(libc().ioctl(fd, SIOCETHTOOL, request), `switch offload 0x${command.toString(16)} of ${device} off`);
    }
  } finally {
    closeSync(fd);
  }
}

/** Frames of a tap lie in a ring that the kernel fills: a socket buffer would lose them, because users may not enlarge it. */
const SLOT_BYTES = 2048;
const BLOCK_BYTES = 1 << 16;
const RING_BYTES = 32 << 20;
const SLOTS = RING_BYTES / SLOT_BYTES;
const SOL_PACKET = 263;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_VERSION = 10;
const TPACKET_V2 = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const STATUS_USER = 1;
/** tpacket2_hdr: where the status, the captured length, the start of the frame and the time lie. */
const HEADER = { status: 0, captured: 8, mac: 12, seconds: 16, nanoseconds: 20 } as const;

export interface Tap {
  /** The frames that came since the last call, oldest first; each is valid during the callback only. */
  drain(take: (frame: Buffer, atMs: number) => void): void;
  /** Frames that found the ring full; what was captured is then no proof of anything. */
  close(): { lost: number };
}

/** Sees every frame of one device of the current namespace, both directions (packet(7), TPACKET_V2). */
export function openTap(device: string): Tap {
  const fd = check(libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0), 'capture socket');
  option(fd, PACKET_VERSION, [TPACKET_V2]);
  option(fd, PACKET_RX_RING, [BLOCK_BYTES, RING_BYTES / BLOCK_BYTES, SLOT_BYTES, SLOTS]);
  const at = libc().mmap(null, RING_BYTES, PROT_READ_WRITE, MAP_SHARED, fd, 0);
  const ring = Buffer.from(koffi.view(at, RING_BYTES));
  bindTo(fd, device);
  let slot = 0;
  return {
    drain(take) {
      for (let left = SLOTS; left > 0; left--) {
        const header = slot * SLOT_BYTES;
        if ((ring.readUInt32LE(header + HEADER.status) & STATUS_USER) === 0) return;
        const start = header + ring.readUInt16LE(header + HEADER.mac);
        const seconds = ring.readUInt32LE(header + HEADER.seconds);
        const atMs = seconds * 1000 + ring.readUInt32LE(header + HEADER.nanoseconds) / 1e6;
        take(ring.subarray(start, start + ring.readUInt32LE(header + HEADER.captured)), atMs);
        ring.writeUInt32LE(0, header + HEADER.status);
        slot = (slot + 1) % SLOTS;
      }
    },
    close() {
      const statistics = Buffer.alloc(8);
      const bytes = Buffer.from(Uint32Array.of(statistics.length).buffer);
      check(libc().getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, statistics, bytes), 'packet statistics');
      closeSync(fd);
      check(libc().munmap(at, RING_BYTES), 'unmap the ring');
      return { lost: statistics.readUInt32LE(4) };
    },
  };
}

function bindTo(fd: number, device: string): void {
  const request = interfaceRequest(device);
  check(libc().ioctl(fd, SIOCGIFINDEX, request), `index of ${device}`);
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16LE(ETH_P_ALL_BE, 2);
  address.writeInt32LE(request.readInt32LE(16), 4);
  check(libc().bind(fd, address, address.length), `bind to ${device}`);
}

/** Sends frames as they are by a device of the current namespace; returns how many the device took. */
export function sendFrames(device: string, frames: readonly Uint8Array[]): number {
  const fd = check(libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0), 'raw socket');
  try {
    bindTo(fd, device);
    return frames.filter((frame) => libc().send(fd, frame, frame.length, 0) === frame.length).length;
  } finally {
    closeSync(fd);
  }
}

function option(fd: number, name: number, values: readonly number[]): void {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
  check(libc().setsockopt(fd, SOL_PACKET, name, bytes, bytes.length), `packet socket option ${name}`);
}
