// The xdp port: an AF_XDP socket whose UMEM and rings lie in linear memory (Documentation/networking/af_xdp.rst, linux/if_xdp.h).
// Receive, transmit, reclaim and refill are the core's (core-wasm assembly/port/xdp.ts); here are set-up, kick and teardown.
import { readDevice, readQueues, setOffloads, setQueues } from './device.ts';
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
  SystemError,
  tryOption,
  u32,
  unmapOver,
} from './ffi.ts';
import { forgetHoldings, HOLDINGS_BYTES, noteHoldings, releaseHoldings } from './holdings.ts';
import type { Port, PortOptions, PortRoom } from './port.ts';
import {
  CHUNK_BYTES,
  describe,
  openState,
  PAGE_BYTES,
  PortKind,
  portLimits,
  stackChunks,
  type State,
} from './state.ts';
import { attachProgram, type SteeringProgram } from './xdp-program.ts';

const AF_XDP = 44;
const SOCK_RAW_CLOEXEC = 0o2000003;
const SOL_XDP = 283;
const OPTION = {
  Offsets: 1,
  RxRing: 2,
  TxRing: 3,
  UmemRegister: 4,
  Fill: 5,
  Completion: 6,
  Statistics: 7,
  TxBudget: 9,
} as const;
const BIND = { Copy: 2, ZeroCopy: 4, NeedWakeup: 8 } as const;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SEND_BUFFER_BYTES = 4 << 20;
const NEED_WAKEUP = 1;
const MSG_DONTWAIT = 0x40;
const TX_BUDGET = 256;
const RX_RING_MAX = 2048;
const TX_RING_MAX = 1024;
const SUPPLY_RING_MAX = 4096;
/** A queue stays busy until the kernel has let go of the rings of a socket that was closed. */
const BIND_TRIES = 200;
const BIND_PAUSE_MS = 2;
/** One sendto of a copy-mode socket may send as few as 32 frames. */
const KICKS_MAX = 64;

const RINGS = [
  { name: 'rx', option: OPTION.RxRing, page: 0n, entryBytes: 16, max: RX_RING_MAX },
  { name: 'tx', option: OPTION.TxRing, page: 0x80000000n, entryBytes: 16, max: TX_RING_MAX },
  { name: 'fill', option: OPTION.Fill, page: 0x100000000n, entryBytes: 8, max: SUPPLY_RING_MAX },
  { name: 'completion', option: OPTION.Completion, page: 0x180000000n, entryBytes: 8, max: SUPPLY_RING_MAX },
] as const;

export function openXdp(options: PortOptions): Port {
  return inNamespace(options.netns, () => open(options));
}

function open(options: PortOptions): Port {
  const { room, index } = options;
  const device = readDevice(options.device);
  const linkFrame = device.mtu + 18;
  if (linkFrame > CHUNK_BYTES - 256) {
    throw new Error(`MTU ${device.mtu} is too large for xdp (1774 at most): lower it or use the packet port`);
  }
  releaseHoldings(room);
  const base = baseOf(room.memory);
  const fd = must('socket AF_XDP', libcCalls.socket(AF_XDP, SOCK_RAW_CLOEXEC, 0));
  const mapped: { at: bigint; bytes: number }[] = [];
  const queues = oneQueue(options);
  let program: SteeringProgram | null = null;
  const release = (): void => {
    program?.close();
    if (queues > 1) inNamespace(options.netns, () => setQueues(options.device, queues));
    libcCalls.close(fd);
    for (const range of mapped.splice(0)) unmapOver(range.at, range.bytes);
    forgetHoldings(room);
  };
  try {
    const state = openState(room);
    registerUmem(fd, base, room);
    const stackAt = mapRings(fd, base, room, state, mapped);
    stackChunks(state, room, stackAt, 0);
    fillFirst(state, room, stackAt);
    tryOption(fd, SOL_XDP, OPTION.TxBudget, TX_BUDGET);
    // Frames count until their receiver has taken them: the default of 208 KB holds less than two bursts.
    tryOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
    const wanted = options.mode ?? 'auto';
    program = attachProgram(device.index, wanted === 'auto' ? ['native', 'skb'] : [wanted]);
    noteHoldings(room, [fd, ...program.fds]);
    const queue = options.queue ?? 0;
    const copies = bindSocket(fd, device.index, queue);
    program.setSocket(queue, fd);
    if (options.keepOffloads !== true) setOffloads(options.device, false);
    describe(state, room, { kind: PortKind.Xdp, index, layer: 2, mtu: device.mtu, mac: device.mac });
    return portOf(options, device, fd, state, program, `xdp ${program.mode} ${copies}`, release);
  } catch (error) {
    release();
    throw error;
  }
}

/** A socket takes the frames of its own queue only: unless the caller names one, the device must have just one. Returns how many it had. */
function oneQueue({ device, queue }: PortOptions): number {
  const queues = queue === undefined ? readQueues(device) : 1;
  if (queues > 1 && !setQueues(device, 1)) {
    throw new Error(
      `${device} has ${queues} receive queues and one worker takes one: "ethtool -L ${device} combined 1" first`,
    );
  }
  return queues;
}

function registerUmem(fd: number, base: bigint, room: PortRoom): void {
  const registration = new DataView(new ArrayBuffer(32));
  registration.setBigUint64(0, base + BigInt(room.slab + room.arena), true);
  registration.setBigUint64(8, BigInt(room.chunks * CHUNK_BYTES), true);
  registration.setUint32(16, CHUNK_BYTES, true);
  setOption(fd, SOL_XDP, OPTION.UmemRegister, new Uint8Array(registration.buffer), 'XDP_UMEM_REG');
}

/** Maps the four rings into the port's area, one after the other, and returns the first free byte behind them. */
function mapRings(
  fd: number,
  base: bigint,
  room: PortRoom,
  state: State,
  mapped: { at: bigint; bytes: number }[],
): number {
  const sizes = RINGS.map((ring) =>
    Math.min(ring.max, ring.name === 'rx' || ring.name === 'tx' ? room.chunks >> 1 : room.chunks),
  );
  RINGS.forEach((ring, at) => setOption(fd, SOL_XDP, ring.option, sizes[at] ?? 0, `XDP ${ring.name} ring`));
  const offsets = getOption(fd, SOL_XDP, OPTION.Offsets, 128, 'XDP_MMAP_OFFSETS');
  let at = room.area;
  RINGS.forEach((ring, number) => {
    const entries = sizes[number] ?? 0;
    const offset = (field: number): number => Number(offsets.getBigUint64(number * 32 + field * 8, true));
    const bytes = offset(2) + entries * ring.entryBytes;
    const pages = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    if (at + pages + room.chunks * 4 + HOLDINGS_BYTES > room.area + portLimits.PORT_AREA_BYTES)
      throw new Error('the rings do not fit the port area');
    mapOver(base + BigInt(at), pages, fd, ring.page);
    mapped.push({ at: base + BigInt(at), bytes: pages });
    state.set(`${ring.name}Producer`, at + offset(0));
    state.set(`${ring.name}Consumer`, at + offset(1));
    state.set(`${ring.name}Ring`, at + offset(2));
    state.set(`${ring.name}Flags`, at + offset(3));
    state.set(`${ring.name}Mask`, entries - 1);
    at += pages;
  });
  return at;
}

/** Frames may come before the first `receive`, so the fill ring starts with three quarters of the chunks; the core keeps it full. */
function fillFirst(state: State, room: PortRoom, stackAt: number): void {
  const give = Math.min(state.get('fillMask') + 1, room.chunks - (room.chunks >> 2));
  const free = room.chunks - give;
  const ring = state.get('fillRing') >>> 2;
  for (let i = 0; i < give; i++) {
    state.words[ring + i * 2] = (state.words[(stackAt >>> 2) + free + i] ?? 0) - room.arena;
    state.words[ring + i * 2 + 1] = 0;
  }
  state.set('freeCount', free);
  Atomics.store(state.words, state.get('fillProducer') >>> 2, give);
}

/** Zero-copy is asked for first; what the driver granted is reported. */
function bindSocket(fd: number, ifindex: number, queue: number): 'zero-copy' | 'copy' {
  const bindWith = (flags: number): number => {
    const address = new DataView(new ArrayBuffer(16));
    address.setUint16(0, AF_XDP, true);
    address.setUint16(2, flags | BIND.NeedWakeup, true);
    address.setUint32(4, ifindex, true);
    address.setUint32(8, queue, true);
    return libcCalls.bind(fd, new Uint8Array(address.buffer), 16) < 0 ? errno() : 0;
  };
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; tries < BIND_TRIES; tries++) {
    if (bindWith(BIND.ZeroCopy) === 0) return 'zero-copy';
    const code = bindWith(BIND.Copy);
    if (code === 0) return 'copy';
    if (code !== errnos['EBUSY']) throw new SystemError(`bind AF_XDP to queue ${queue}`, code);
    Atomics.wait(pause, 0, 0, BIND_PAUSE_MS);
  }
  throw new Error(`queue ${queue} is busy: another AF_XDP socket holds it`);
}

function portOf(
  options: PortOptions,
  device: { mac: Uint8Array; mtu: number },
  fd: number,
  state: State,
  program: SteeringProgram,
  detail: string,
  release: () => void,
): Port {
  const { words } = state;
  const txProducer = state.get('txProducer') >>> 2;
  const txConsumer = state.get('txConsumer') >>> 2;
  const txFlags = state.get('txFlags') >>> 2;
  const fillFlags = state.get('fillFlags') >>> 2;
  let isClosed = false;
  const isDrained = (): boolean => Atomics.load(words, txConsumer) === words[txProducer];
  const kick = (): number => {
    const before = Atomics.load(words, txConsumer);
    for (let kicks = 0; kicks < KICKS_MAX && !isDrained(); kicks++) {
      if (((words[txFlags] ?? 0) & NEED_WAKEUP) === 0) break;
      if (libcCalls.sendto(fd, null, 0, MSG_DONTWAIT, null, 0) < 0 && errno() === errnos['ENETDOWN']) break;
    }
    return (Atomics.load(words, txConsumer) - before) >>> 0;
  };
  return {
    kind: 'xdp',
    index: options.index,
    device: options.device,
    layer: 2,
    mac: device.mac,
    mtu: device.mtu,
    fd,
    detail,
    refused: [],
    pending: () => false,
    fill: () => {
      if (((words[fillFlags] ?? 0) & NEED_WAKEUP) !== 0) libcCalls.recv(fd, null, 0, MSG_DONTWAIT);
      // What the kernel did not take at the last kick goes now.
      if (!isDrained()) kick();
      return 0;
    },
    kick,
    steer: program.steer,
    unsteer: program.unsteer,
    statistics: () => ({ ...state.counters(), ...(isClosed ? {} : kernelStatistics(fd)) }),
    close: () => {
      if (isClosed) return;
      isClosed = true;
      state.clear();
      release();
    },
  };
}

/** tx_empty is left out: it counts idle kicks. */
function kernelStatistics(fd: number): Record<string, number> {
  const names = ['kernelRxDropped', 'kernelRxInvalid', 'kernelTxInvalid', 'kernelRxRingFull', 'kernelFillEmpty'];
  const value = new Uint8Array(48);
  if (libcCalls.getsockopt(fd, SOL_XDP, OPTION.Statistics, value, u32(48)) < 0) return {};
  const view = new DataView(value.buffer);
  return Object.fromEntries(names.map((name, at) => [name, Number(view.getBigUint64(at * 8, true))]));
}
