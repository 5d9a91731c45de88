// Writer of the live next-hop table (P36): ports, routes, neighbours. The main thread's; workers read it under a seqlock.
import { LinkKind, NeighbourRow, NextHopTable as Head, PortRow, RouteRow, limits } from '../layout/index.ts';
import { isMapped, mappedLength, parseAddress } from './address.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

/** Text, or the 16 bytes that the tables hold. */
export type AddressLike = string | Uint8Array;

/** A port as the walk sees it: link address, MTU in bytes of the IP packet, kind of link. */
export interface PortSettings {
  /** Own link address; ignored on layer 3. */
  readonly mac?: Uint8Array | null;
  readonly mtu: number;
  readonly kind: 'ethernet' | 'ip';
}

interface Route {
  readonly prefix: Uint8Array;
  /** In 128 bits. */
  readonly length: number;
  readonly gateway: Uint8Array | null;
  readonly port: number;
  readonly mtu: number;
}

interface Neighbour {
  readonly address: Uint8Array;
  readonly mac: Uint8Array;
  readonly port: number;
}

const toBytes = (address: AddressLike): Uint8Array => (typeof address === 'string' ? parseAddress(address) : address);
const keyOf = (bytes: Uint8Array): string => bytes.join('.');

/**
 * Routes and neighbours (data-plane.md P36), written by the host under a seqlock while workers read. Throws a
 * RangeError when a table is full.
 */
export class NextHopTable {
  private readonly plan: MemoryPlan;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly sequence: Int32Array;
  private readonly routes = new Map<string, Route>();
  private readonly neighbours = new Map<string, Neighbour>();

  constructor(plan: MemoryPlan, memory: LinearMemory) {
    this.plan = plan;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.sequence = new Int32Array(memory.buffer, plan.map.nextHops + Head.at.sequence, 1);
  }

  setPort(index: number, settings: PortSettings): void {
    if (index < 0 || index >= limits.PORTS_MAX)
      throw new RangeError(`Port ${index} is not between 0 and ${limits.PORTS_MAX - 1}`);
    const row = this.plan.map.portRows + index * PortRow.bytes;
    this.write(() => {
      this.bytes.set(settings.mac ?? new Uint8Array(6), row + PortRow.at.mac);
      this.view.setUint32(row + PortRow.at.mtu, settings.mtu, true);
      this.view.setUint16(row + PortRow.at.kind, settings.kind === 'ip' ? LinkKind.Ip : LinkKind.Ethernet, true);
    });
  }

  removePort(index: number): void {
    const row = this.plan.map.portRows + index * PortRow.bytes;
    this.write(() => this.bytes.fill(0, row, row + PortRow.bytes));
  }

  /** `length` is written for the family of the prefix; `gateway` null: on the link. `mtu` 0: that of the port. */
  setRoute(prefix: AddressLike, length: number, gateway: AddressLike | null, port: number, mtu = 0): void {
    const bytes = toBytes(prefix);
    const bits = mappedLength(bytes, length);
    const mask = maskOf(bits);
    const route = {
      prefix: bytes.map((byte, at) => byte & (mask[at] ?? 0)),
      length: bits,
      gateway: gateway === null ? null : toBytes(gateway),
      port,
      mtu,
    };
    const key = `${keyOf(route.prefix)}/${bits}`;
    if (!this.routes.has(key) && this.routes.size >= limits.ROUTES_MAX) {
      throw new RangeError(`More than ${limits.ROUTES_MAX} routes: leave out what the default route covers`);
    }
    this.routes.set(key, route);
    this.writeRoutes();
  }

  removeRoute(prefix: AddressLike, length: number): void {
    const bytes = toBytes(prefix);
    const bits = mappedLength(bytes, length);
    const mask = maskOf(bits);
    if (this.routes.delete(`${keyOf(bytes.map((byte, at) => byte & (mask[at] ?? 0)))}/${bits}`)) this.writeRoutes();
  }

  clearRoutes(): void {
    this.routes.clear();
    this.writeRoutes();
  }

  setNeighbour(address: AddressLike, mac: Uint8Array, port: number): void {
    const bytes = toBytes(address);
    const neighbour = { address: bytes, mac: Uint8Array.from(mac), port };
    const isFull = !this.neighbours.has(keyOf(bytes)) && this.neighbours.size >= limits.NEIGHBOURS_MAX / 2;
    if (isFull) this.forgetOldest();
    this.neighbours.set(keyOf(bytes), neighbour);
    // One row is written in a moment; readers must not wait for a rebuild of the table each time the kernel learns somebody.
    if (isFull) this.writeNeighbours();
    else this.write(() => this.placeNeighbour(neighbour));
    if (this.isGateway(bytes)) this.writeRoutes();
  }

  private isGateway(address: Uint8Array): boolean {
    for (const route of this.routes.values())
      if (route.gateway !== null && keyOf(route.gateway) === keyOf(address)) return true;
    return false;
  }

  removeNeighbour(address: AddressLike): void {
    if (this.neighbours.delete(keyOf(toBytes(address)))) this.writeNeighbours();
  }

  /** Neighbours that a packet was sent to within the last `withinMs`: the kernel must be told that they are wanted (P36). */
  usedNeighbours(nowMs: number, withinMs: number): Uint8Array[] {
    const used: Uint8Array[] = [];
    for (let slot = 0; slot < limits.NEIGHBOURS_MAX; slot++) {
      const row = this.neighbourRow(slot);
      if (this.view.getUint32(row + NeighbourRow.at.flags, true) === 0) continue;
      const usedMs = this.view.getUint32(row + NeighbourRow.at.usedMs, true);
      if (usedMs !== 0 && (nowMs - usedMs) >>> 0 <= withinMs) used.push(this.bytes.slice(row, row + 16));
    }
    return used;
  }

  private forgetOldest(): void {
    const [oldest] = this.neighbours.keys();
    if (oldest !== undefined) this.neighbours.delete(oldest);
  }

  private writeRoutes(): void {
    const sorted = [...this.routes.values()].sort((a, b) => b.length - a.length);
    this.write(() => {
      for (const [number, route] of sorted.entries()) {
        const row = this.plan.map.routes + number * RouteRow.bytes;
        this.bytes.set(route.prefix, row + RouteRow.at.prefix);
        this.bytes.set(maskOf(route.length), row + RouteRow.at.mask);
        this.bytes.set(route.gateway ?? new Uint8Array(16), row + RouteRow.at.gateway);
        this.view.setUint32(row + RouteRow.at.port, route.port, true);
        this.view.setUint32(row + RouteRow.at.mtu, route.mtu, true);
        this.view.setUint32(row + RouteRow.at.family, isMapped(route.prefix) ? 4 : 6, true);
        this.view.setUint32(row + RouteRow.at.length, route.length, true);
        this.view.setUint32(row + RouteRow.at.neighbour, this.rowOf(route.gateway), true);
      }
      this.view.setUint32(this.plan.map.nextHops + Head.at.routes, sorted.length, true);
    });
  }

  /** Rewrites the whole hash table: removal in open addressing is a rebuild, and neighbours are few. Then the rows of gateways. */
  private writeNeighbours(): void {
    const used = new Map<string, number>();
    for (let slot = 0; slot < limits.NEIGHBOURS_MAX; slot++) {
      const row = this.neighbourRow(slot);
      if (this.view.getUint32(row + NeighbourRow.at.flags, true) === 0) continue;
      used.set(keyOf(this.bytes.slice(row, row + 16)), this.view.getUint32(row + NeighbourRow.at.usedMs, true));
    }
    this.write(() => {
      this.bytes.fill(0, this.neighbourRow(0), this.neighbourRow(limits.NEIGHBOURS_MAX));
      for (const [key, neighbour] of this.neighbours) this.placeNeighbour(neighbour, used.get(key) ?? 0);
    });
    this.writeRoutes();
  }

  /** Row of a gateway + 1, or 0. */
  private rowOf(gateway: Uint8Array | null): number {
    if (gateway === null || !this.neighbours.has(keyOf(gateway))) return 0;
    let slot = hashNeighbour(gateway) & (limits.NEIGHBOURS_MAX - 1);
    while (keyOf(this.bytes.subarray(this.neighbourRow(slot), this.neighbourRow(slot) + 16)) !== keyOf(gateway))
      slot = (slot + 1) & (limits.NEIGHBOURS_MAX - 1);
    return slot + 1;
  }

  /** In the row that the address has already, or in the first free one. */
  private placeNeighbour(neighbour: Neighbour, usedMs?: number): void {
    let slot = hashNeighbour(neighbour.address) & (limits.NEIGHBOURS_MAX - 1);
    while (!this.isFreeFor(slot, neighbour.address)) slot = (slot + 1) & (limits.NEIGHBOURS_MAX - 1);
    const row = this.neighbourRow(slot);
    // The address last: a reader that finds it may use the row.
    this.bytes.set(neighbour.mac, row + NeighbourRow.at.mac);
    this.bytes.set(neighbour.address, row + NeighbourRow.at.address);
    this.view.setUint16(row + NeighbourRow.at.port, neighbour.port, true);
    if (usedMs !== undefined) this.view.setUint32(row + NeighbourRow.at.usedMs, usedMs, true);
    this.view.setUint32(row + NeighbourRow.at.flags, 1, true);
  }

  private isFreeFor(slot: number, address: Uint8Array): boolean {
    const row = this.neighbourRow(slot);
    if (this.view.getUint32(row + NeighbourRow.at.flags, true) === 0) return true;
    return address.every((byte, at) => this.bytes[row + NeighbourRow.at.address + at] === byte);
  }

  private neighbourRow(slot: number): number {
    return this.plan.map.neighbours + slot * NeighbourRow.bytes;
  }

  /** Readers retry while the sequence is odd or has moved. */
  private write(change: () => void): void {
    Atomics.add(this.sequence, 0, 1);
    change();
    Atomics.add(this.sequence, 0, 1);
  }
}

function maskOf(bits: number): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, at) => (0xff00 >> Math.min(8, Math.max(0, bits - at * 8))) & 0xff);
}

/** assembly/table/next-hop.ts has the same. */
function hashNeighbour(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, 16);
  const word = (index: number): number => view.getUint32(index * 4, true);
  let hash =
    (Math.imul(word(0), 0x9e3779b1) +
      Math.imul(word(1), 0x85ebca77) +
      Math.imul(word(2), 0xc2b2ae3d) +
      Math.imul(word(3), 0x27d4eb2f)) |
    0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
