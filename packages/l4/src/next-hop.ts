// Next hops for the data path (data-plane.md P36): the kernel's routes and neighbours of one uplink, copied into the core's table whenever
// they change; the kernel does ARP, ND and routing protocols. What the walks find unresolved is asked of the kernel here.
import { type Core, type LinearMemory, type MemoryPlan, NextHopTable } from '@openclb/core-wasm';
import { limits } from '@openclb/core-wasm/layout';
import { clock } from './clock.ts';
import { type Log, messageOf } from './log.ts';
import {
  type KernelNeighbour,
  type KernelRoute,
  type KernelTables,
  openKernelTables,
} from './netlink/kernel-tables.ts';
import { readDevice } from './port/device.ts';
import { isV4 } from './netlink/messages.ts';
import { inNamespace } from './port/ffi.ts';
import { type PortInfo } from './worker-messages.ts';

/** Everything leaves to this link address: for memory ports and tests, which have no kernel to ask. */
export interface StaticNextHops {
  /** aa:bb:cc:dd:ee:ff */
  readonly mac: string;
}

export interface NextHops {
  /** The port has been opened (again): its link address and MTU. */
  setPort(port: PortInfo): void;
  close(): void;
}

export interface NextHopOptions {
  /** The shared memory, and the main thread's view of worker 0, which reports next hops it has not found. */
  readonly tables: { readonly plan: MemoryPlan; readonly memory: LinearMemory; readonly core: Core };
  readonly port: PortInfo;
  readonly log: Log;
  readonly netns?: string;
  readonly fixed?: StaticNextHops;
}

/** How often the walks' questions are looked at; a held packet waits at least so long. */
const ASK_EVERY_MS = 5;
/** The same address is asked for again after this time. */
const ASK_AGAIN_MS = 1_000;
/** Traffic of an XDP port does not keep the kernel's entry alive, so it is refreshed (NTF_USE or managed). */
const REFRESH_MS = 30_000;
const ASKED_MAX = limits.NEIGHBOURS_MAX / 2;
/** Stands for the one neighbour of a port without a kernel; never in a packet. */
const FIXED_GATEWAY = 'fe80::1';

export function startNextHops(options: NextHopOptions): NextHops {
  const { port, tables } = options;
  const hops = new NextHopTable(tables.plan, tables.memory);
  describePort(hops, port);
  const setPort = (again: PortInfo): void => describePort(hops, again);
  // Frames of a layer-3 port carry no link address: the kernel routes them.
  if (options.fixed !== undefined || port.layer === 3) {
    setFixed(hops, port, options.fixed);
    return { setPort, close: () => {} };
  }
  return { setPort, close: followKernel(hops, options) };
}

function describePort(hops: NextHopTable, port: PortInfo): void {
  const kind = port.layer === 3 ? 'ip' : 'ethernet';
  hops.setPort(port.index, { mac: port.mac ?? new Uint8Array(6), mtu: port.mtu, kind });
}

/** Everything to one place, or, on layer 3, to the kernel. */
function setFixed(hops: NextHopTable, port: PortInfo, fixed: StaticNextHops | undefined): void {
  for (const prefix of ['0.0.0.0', '::'])
    hops.setRoute(prefix, 0, fixed === undefined ? null : FIXED_GATEWAY, port.index);
  if (fixed !== undefined) hops.setNeighbour(FIXED_GATEWAY, macBytes(fixed.mac), port.index);
}

function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new TypeError(`not a link address: ${text}`);
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** Returns what stops it. */
function followKernel(hops: NextHopTable, { tables, port, log, netns }: NextHopOptions): () => void {
  const kernel = openKernelTables(netns === undefined ? {} : { netns });
  const device = inNamespace(netns, () => readDevice(port.device).index);
  let routes = new Map<string, KernelRoute>();
  let neighbours = new Map<string, KernelNeighbour>();
  /** When each address was asked for. */
  const asked = new Map<string, number>();

  function copyRoutes(): void {
    const wanted = new Map<string, KernelRoute>();
    for (const route of kernel.routes()) {
      const key = `${route.prefix.join('.')}/${route.bits}`;
      // Of several with one prefix the kernel uses the first, which has the lowest priority number.
      if (route.device === device && !wanted.has(key)) wanted.set(key, route);
    }
    for (const [key, route] of routes) if (!wanted.has(key)) hops.removeRoute(route.prefix, lengthOf(route));
    for (const [key, route] of wanted) if (!isSame(routes.get(key), route)) setRoute(route);
    routes = wanted;
    // A gateway is resolved before the first packet needs it.
    for (const { gateway } of wanted.values()) if (gateway !== null) ask(gateway, performance.now());
  }

  function setRoute(route: KernelRoute): void {
    try {
      hops.setRoute(route.prefix, lengthOf(route), route.gateway, port.index, route.mtu);
    } catch (error) {
      log.error({ reason: messageOf(error), prefix: route.prefix.join('.') }, 'a route of the kernel is not used');
    }
  }

  function copyNeighbours(): void {
    const wanted = new Map<string, KernelNeighbour>();
    for (const neighbour of kernel.neighbours()) {
      if (neighbour.device === device && neighbour.mac !== null) wanted.set(neighbour.address.join('.'), neighbour);
    }
    for (const [key, { address }] of neighbours) if (!wanted.has(key)) hops.removeNeighbour(address);
    for (const [key, { address, mac }] of wanted) {
      // The kernel tells every change of state, also those that change nothing for us.
      if (String(neighbours.get(key)?.mac) !== String(mac)) hops.setNeighbour(address, mac!, port.index);
    }
    neighbours = wanted;
  }

  function ask(address: Uint8Array, nowMs: number): void {
    const key = address.join('.');
    const last = asked.get(key);
    if (last !== undefined && nowMs - last < ASK_AGAIN_MS) return;
    // The oldest goes: what is still wanted will be asked for again.
    if (asked.size > ASKED_MAX) asked.delete(asked.keys().next().value as string);
    asked.delete(key);
    asked.set(key, nowMs);
    tryResolve(kernel, device, address, log);
  }

  copyRoutes();
  copyNeighbours();
  kernel.onChange((kinds) => {
    if (kinds.has('route') || kinds.has('link')) copyRoutes();
    if (kinds.has('neighbour')) copyNeighbours();
  });
  const asking = setInterval(() => {
    const now = performance.now();
    for (const { address } of tables.core.takeUnresolved()) ask(address, now);
  }, ASK_EVERY_MS);
  const refreshing = setInterval(() => {
    for (const address of hops.usedNeighbours(clock(), REFRESH_MS)) tryResolve(kernel, device, address, log);
  }, REFRESH_MS);
  return () => {
    clearInterval(asking);
    clearInterval(refreshing);
    kernel.close();
  };
}

/** Prefix length as it is written for the family of the route. */
function lengthOf({ prefix, bits }: KernelRoute): number {
  return bits >= 96 && isV4(prefix) ? bits - 96 : bits;
}

function isSame(a: KernelRoute | undefined, b: KernelRoute): boolean {
  return a !== undefined && a.mtu === b.mtu && String(a.gateway) === String(b.gateway);
}

function tryResolve(kernel: KernelTables, device: number, address: Uint8Array, log: Log): void {
  try {
    kernel.resolve(device, address, { managed: true });
  } catch (error) {
    log.warn({ reason: messageOf(error), address: address.join('.') }, 'the kernel does not resolve a next hop');
  }
}
