// The kernel's links, addresses, routes and neighbours, read once and kept up to date by notifications (rtnetlink(7); data-plane.md P36).
// Next hops come from here: the kernel does ARP and ND, a routing daemon does the routes, the data path only looks them up.
import { errno, errnos, inNamespace, libcCalls, must, setOption, SystemError, watchReadable } from '../port/ffi.ts';
import {
  dumpRequest,
  type KernelAddress,
  type KernelLink,
  type KernelNeighbour,
  type KernelObject,
  type KernelRoute,
  type Message,
  MessageType,
  messagesOf,
  objectOf,
  resolveRequest,
} from './messages.ts';
import { createRows, type Rows } from './rows.ts';

export type { KernelAddress, KernelLink, KernelNeighbour, KernelRoute } from './messages.ts';

const AF_NETLINK = 16;
const SOCK_RAW_NONBLOCK_CLOEXEC = 0o2004003;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const RECEIVE_BUFFER_BYTES = 4 << 20;
const READ_BYTES = 65_536;
const MSG_DONTWAIT = 0x40;
/** Multicast groups: link, neighbour, IPv4 address, IPv4 route, IPv6 address, IPv6 route. */
const GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;
const DUMPS = [MessageType.GetLink, MessageType.GetAddress, MessageType.GetRoute, MessageType.GetNeighbour];
const DUMP_TIMEOUT_MS = 2_000;
/** Overruns in one read: then a flood is still going on, and the next notification brings us back. */
const OVERRUNS_MAX = 4;

export type KernelObjectKind = KernelObject['kind'];

export interface NextHop {
  readonly device: number;
  /** Whom to resolve: the gateway, or the destination itself when it is on the link. */
  readonly address: Uint8Array;
  /** 0: that of the device. */
  readonly mtu: number;
}

export interface KernelTables {
  readonly links: ReadonlyMap<number, KernelLink>;
  addresses(): KernelAddress[];
  /** Unicast routes of the main table, longest prefix first, lowest priority number first. */
  routes(): KernelRoute[];
  neighbours(): KernelNeighbour[];
  /** Our own blackholes and all other types but unicast are looked through (P28). */
  nextHop(destination: Uint8Array): NextHop | null;
  mac(device: number, address: Uint8Array): Uint8Array | null;
  /** Starts resolution. `managed` keeps the entry fresh for ever; where the kernel is too old for it, call again every 30 s. */
  resolve(device: number, address: Uint8Array, options?: { managed?: boolean }): void;
  /** Called after changes, at most once for all that arrived together. */
  onChange(listener: (kinds: ReadonlySet<KernelObjectKind>) => void): void;
  /** Takes in what has arrived; needed only by callers that block the event loop. */
  read(): void;
  close(): void;
}

/** Reads all tables of a network namespace and follows them. */
export function openKernelTables(options: { netns?: string } = {}): KernelTables {
  const fd = inNamespace(options.netns, openSocket);
  const rows = createRows();
  const listeners: ((kinds: ReadonlySet<KernelObjectKind>) => void)[] = [];
  const resolver = createResolver(fd);
  const channel = createChannel(fd, rows, resolver.onMessage);
  const read = (): void => {
    const changed = channel.read();
    if (changed.size > 0) for (const listener of listeners) listener(changed);
  };
  let stop: () => void;
  try {
    channel.dump(new Set());
    stop = watchReadable(fd, read);
  } catch (error) {
    libcCalls.close(fd);
    throw error;
  }
  return {
    links: rows.links,
    addresses: rows.addresses,
    routes: rows.routes,
    neighbours: rows.neighbours,
    nextHop: (destination) => {
      const route = rows.route(destination);
      return route && { device: route.device, address: route.gateway ?? destination, mtu: route.mtu };
    },
    mac: rows.mac,
    resolve: (device, address, { managed = false } = {}) => resolver.resolve(device, address, managed),
    onChange: (listener) => void listeners.push(listener),
    read,
    close: () => {
      stop();
      libcCalls.close(fd);
    },
  };
}

/** Dumps and notifications on one socket, so nothing falls between them. */
function createChannel(fd: number, rows: Rows, onMessage: (message: Message) => void) {
  const buffer = new Uint8Array(READ_BYTES);
  let sequence = 0;

  function readOnce(changed: Set<KernelObjectKind>, awaited: number): 'empty' | 'more' | 'done' | 'overrun' {
    const bytes = libcCalls.recv(fd, buffer, READ_BYTES, MSG_DONTWAIT);
    if (bytes < 0) return errno() === errnos['ENOBUFS'] ? 'overrun' : 'empty';
    let answer: 'more' | 'done' = 'more';
    for (const message of messagesOf(buffer.subarray(0, bytes))) {
      if (message.sequence === awaited && message.type === MessageType.Done) answer = 'done';
      onMessage(message);
      const object = objectOf(message);
      if (object === null) continue;
      rows.apply(object);
      changed.add(object.kind);
    }
    return answer;
  }

  function dump(changed: Set<KernelObjectKind>): void {
    rows.clear();
    const end = performance.now() + DUMP_TIMEOUT_MS;
    for (const type of DUMPS) {
      sequence += 1;
      send(fd, dumpRequest(type, sequence));
      while (readOnce(changed, sequence) !== 'done') {
        if (performance.now() > end) throw new Error('the kernel does not answer the dump of its tables');
      }
    }
  }

  function read(): Set<KernelObjectKind> {
    const changed = new Set<KernelObjectKind>();
    for (let overruns = 0; overruns < OVERRUNS_MAX;) {
      const answer = readOnce(changed, -1);
      if (answer === 'empty') break;
      if (answer !== 'overrun') continue;
      // Notifications were lost: what we know may be wrong in any row.
      overruns += 1;
      dump(changed);
    }
    return changed;
  }
  return { dump, read };
}

/** Sequence numbers of resolve requests, out of the way of those of dumps. */
const RESOLVE_SEQUENCE = 0x40000000;

/** Neighbour requests; a kernel that does not know managed entries says so once and is asked the old way from then on. */
function createResolver(fd: number) {
  let isManagedKnown = true;
  let sequence = RESOLVE_SEQUENCE;
  let trial: { sequence: number; device: number; address: Uint8Array } | null = null;

  function resolve(device: number, address: Uint8Array, managed: boolean): void {
    const isManaged = managed && isManagedKnown;
    sequence += 1;
    if (isManaged) trial = { sequence, device, address };
    send(fd, resolveRequest(device, address, isManaged, sequence));
  }

  function onMessage({ type, sequence: which, body }: Message): void {
    if (type !== MessageType.Error || trial === null || which !== trial.sequence || body.length < 4) return;
    const { device, address } = trial;
    trial = null;
    if (new DataView(body.buffer, body.byteOffset).getInt32(0, true) === 0) return;
    isManagedKnown = false;
    resolve(device, address, false);
  }
  return { resolve, onMessage };
}

function openSocket(): number {
  const fd = must('socket AF_NETLINK', libcCalls.socket(AF_NETLINK, SOCK_RAW_NONBLOCK_CLOEXEC, 0));
  try {
    setOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES, 'SO_RCVBUF');
    const address = new DataView(new ArrayBuffer(12));
    address.setUint16(0, AF_NETLINK, true);
    address.setUint32(8, GROUPS, true);
    must('bind AF_NETLINK', libcCalls.bind(fd, new Uint8Array(address.buffer), 12));
    return fd;
  } catch (error) {
    libcCalls.close(fd);
    throw error;
  }
}

function send(fd: number, message: Uint8Array): void {
  if (libcCalls.sendto(fd, message, message.length, 0, null, 0) < 0) throw new SystemError('netlink request', errno());
}
