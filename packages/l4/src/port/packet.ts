// The packet port: an AF_PACKET socket whose TPACKET_V2 slots lie in linear memory (packet_mmap.rst); sending is one sendmmsg a burst.
// Needs no privilege beyond its network namespace. The kernel still sees its own copy of every frame.
import { readDevice, setOffloads } from './device.ts';
import {
  baseOf,
  errno,
  errnos,
  getOption,
  inNamespace,
  libcCalls,
  mapOver,
  must,
  setOption,
  tryOption,
  u32,
  unmapOver,
} from './ffi.ts';
import { forgetHoldings, noteHoldings, releaseHoldings } from './holdings.ts';
import { attachFilter, silenceTunnels, type SteeredPrefix, steeringFilter } from './packet-filter.ts';
import type { Port, PortOptions, PortRoom } from './port.ts';
import { CHUNK_BYTES, describe, openState, OWN_CHUNKS, PortKind, portLimits, type State } from './state.ts';

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 0o2000003;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const SOL_PACKET = 263;
const OPTION = { RxRing: 5, Statistics: 6, Version: 10, Reserve: 12, QdiscBypass: 20, IgnoreOutgoing: 23 } as const;
const TPACKET_V2 = 1;
const ETH_P_ALL = 3;
const MSG_DONTWAIT = 0x40;
/** Headroom for outer headers in front of every frame, on top of what the slot header leaves. */
const RESERVE_BYTES = 64;
const BLOCK_BYTES = 65_536;
const MESSAGE_BYTES = 64;
const VECTOR_BYTES = 16;
const SEND_BUFFER_BYTES = 4 << 20;

export function openPacket(options: PortOptions): Port {
  return inNamespace(options.netns, () => open(options));
}

function open(options: PortOptions): Port {
  const { room, index } = options;
  const device = readDevice(options.device);
  if (device.mtu + 18 > CHUNK_BYTES - 256) {
    throw new Error(
      `MTU ${device.mtu} is too large for the packet port (1774 at most): lower it with "ip link set mtu"`,
    );
  }
  releaseHoldings(room);
  const base = baseOf(room.memory);
  const fds = [must('socket AF_PACKET', libcCalls.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0))];
  const fd = fds[0] ?? -1;
  const ring = { at: base + BigInt(room.slab + room.arena + OWN_CHUNKS * CHUNK_BYTES), bytes: 0 };
  const release = (): void => {
    for (const open of fds.splice(0)) libcCalls.close(open);
    if (ring.bytes > 0) unmapOver(ring.at, ring.bytes);
    ring.bytes = 0;
    forgetHoldings(room);
  };
  try {
    const state = openState(room);
    configure(fd);
    ring.bytes = mapSlots(fd, ring.at, room);
    const messages = layOut(state, room, base);
    if (options.steered === true) attachFilter(fd, steeringFilter([]));
    bindTo(fd, device.index);
    if (options.silence === true) fds.push(...silenceTunnels());
    noteHoldings(room, fds);
    if (options.keepOffloads !== true) setOffloads(options.device, false);
    describe(state, room, { kind: PortKind.Packet, index, layer: 2, mtu: device.mtu, mac: device.mac, base });
    return portOf(options, device, fd, state, base + BigInt(messages), release);
  } catch (error) {
    release();
    throw error;
  }
}

function configure(fd: number): void {
  setOption(fd, SOL_PACKET, OPTION.Version, TPACKET_V2, 'PACKET_VERSION');
  setOption(fd, SOL_PACKET, OPTION.Reserve, RESERVE_BYTES, 'PACKET_RESERVE');
  setOption(fd, SOL_PACKET, OPTION.IgnoreOutgoing, 1, 'PACKET_IGNORE_OUTGOING');
  setOption(fd, SOL_PACKET, OPTION.QdiscBypass, 1, 'PACKET_QDISC_BYPASS');
  if (!tryOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES))
    tryOption(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES);
}

function mapSlots(fd: number, at: bigint, room: PortRoom): number {
  const slots = room.chunks - OWN_CHUNKS;
  const bytes = slots * CHUNK_BYTES;
  setOption(fd, SOL_PACKET, OPTION.RxRing, u32(BLOCK_BYTES, bytes / BLOCK_BYTES, CHUNK_BYTES, slots), 'PACKET_RX_RING');
  mapOver(at, bytes, fd, 0n);
  return bytes;
}

/** iovecs and the mmsghdrs that point to them, one each, lie in the port's area; only the core writes iovecs. */
function layOut(state: State, room: PortRoom, base: bigint): number {
  const queue = portLimits.PORT_QUEUE_MAX;
  const messages = room.area + queue * VECTOR_BYTES;
  state.bytes.fill(0, room.area, messages + queue * MESSAGE_BYTES);
  const view = new DataView(room.memory.buffer);
  for (let i = 0; i < queue; i++) {
    view.setBigUint64(messages + i * MESSAGE_BYTES + 16, base + BigInt(room.area + i * VECTOR_BYTES), true);
    view.setBigUint64(messages + i * MESSAGE_BYTES + 24, 1n, true);
  }
  state.set('txRing', room.area);
  state.set('txMask', queue - 1);
  state.set('rxRing', room.slab + room.arena + OWN_CHUNKS * CHUNK_BYTES);
  state.set('rxMask', room.chunks - OWN_CHUNKS - 1);
  state.set('ownArena', room.arena);
  state.set('ownChunks', OWN_CHUNKS);
  return messages;
}

function bindTo(fd: number, ifindex: number): void {
  const address = new DataView(new ArrayBuffer(20));
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, ETH_P_ALL, false);
  address.setInt32(4, ifindex, true);
  must('bind AF_PACKET', libcCalls.bind(fd, new Uint8Array(address.buffer), 20));
}

function portOf(
  options: PortOptions,
  device: { mac: Uint8Array; mtu: number },
  fd: number,
  state: State,
  messages: bigint,
  release: () => void,
): Port {
  const steered: SteeredPrefix[] = [];
  const kernel = { kernelReceived: 0, kernelDropped: 0 };
  let isClosed = false;
  const forget = (prefix: Uint8Array, bits: number): void => {
    const at = steered.findIndex((row) => row.bits === bits && row.prefix.every((byte, i) => byte === prefix[i]));
    if (at >= 0) steered.splice(at, 1);
  };
  const apply = (): void => {
    if (options.steered === true && !isClosed) attachFilter(fd, steeringFilter(steered));
  };
  return {
    kind: 'packet',
    index: options.index,
    device: options.device,
    layer: 2,
    mac: device.mac,
    mtu: device.mtu,
    fd,
    detail: 'packet v2',
    refused: [],
    pending: () => false,
    fill: () => 0,
    kick: () => kick(fd, state, messages),
    steer: (prefix, bits, protocols) => {
      forget(prefix, bits);
      steered.push({ prefix: prefix.slice(), bits, protocols });
      apply();
    },
    unsteer: (prefix, bits) => {
      forget(prefix, bits);
      apply();
    },
    statistics: () => {
      if (!isClosed) {
        // The kernel starts again from 0 at every read.
        const view = getOption(fd, SOL_PACKET, OPTION.Statistics, 8, 'PACKET_STATISTICS');
        kernel.kernelReceived += view.getUint32(0, true);
        kernel.kernelDropped += view.getUint32(4, true);
      }
      return { ...state.counters(), ...kernel };
    },
    close: () => {
      if (isClosed) return;
      isClosed = true;
      state.clear();
      release();
    },
  };
}

/** One sendmmsg for the burst. A frame that the kernel refuses is counted and skipped; a full send buffer ends the burst. */
function kick(fd: number, state: State, messages: bigint): number {
  const queued = state.get('txQueued');
  let at = 0;
  let sent = 0;
  while (at < queued) {
    const done = libcCalls.sendmmsg(fd, messages + BigInt(at * MESSAGE_BYTES), queued - at, MSG_DONTWAIT);
    if (done > 0) {
      sent += done;
      at += done;
      continue;
    }
    const code = errno();
    if (code === errnos['EINTR']) continue;
    if (code === errnos['EAGAIN']) break;
    at += 1;
  }
  if (sent < queued) state.add('txRefused', queued - sent);
  state.set('txQueued', 0);
  return sent;
}
