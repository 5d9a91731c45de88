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
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const IFREQ_BYTES = 40;
/** ETHTOOL_STXCSUM, STSO, SGSO, SGRO: with these off every frame on the wire is whole and carries true checksums. */
const OFFLOADS_OFF = [0x17, 0x1f, 0x24, 0x2c];

interface Libc {
  setns(fd: number, kind: number): number;
  socket(family: number, kind: number, protocol: number): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  bind(fd: number, address: Uint8Array, bytes: number): number;
  recv(fd: number, buffer: Uint8Array, bytes: number, flags: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, bytes: number): number;
}

let loaded: Libc | undefined;

function libc(): Libc {
  if (loaded) return loaded;
  const library = koffi.load(null);
  loaded = {
    setns: library.func('int setns(int, int)'),
    socket: library.func('int socket(int, int, int)'),
    ioctl: library.func('int ioctl(int, ulong, void *)'),
    bind: library.func('int bind(int, void *, uint)'),
    recv: library.func('long recv(int, void *, ulong, int)'),
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

/** A raw socket that sees every frame of one device of the current namespace, both directions, without blocking. */
export function openTap(device: string): number {
  const fd = check(libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0), 'capture socket');
  const room = Buffer.alloc(4);
  room.writeInt32LE(16 << 20, 0);
  if (libc().setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, room, 4) < 0)
    libc().setsockopt(fd, SOL_SOCKET, SO_RCVBUF, room, 4);
  const request = interfaceRequest(device);
  check(libc().ioctl(fd, SIOCGIFINDEX, request), `index of ${device}`);
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16LE(ETH_P_ALL_BE, 2);
  address.writeInt32LE(request.readInt32LE(16), 4);
  check(libc().bind(fd, address, address.length), `capture on ${device}`);
  return fd;
}

/** The next frame waiting in the tap, or 0 bytes. */
export function readTap(fd: number, into: Uint8Array): number {
  const bytes = libc().recv(fd, into, into.length, 0);
  return bytes > 0 ? Number(bytes) : 0;
}
