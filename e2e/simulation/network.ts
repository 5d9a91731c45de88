// The wires and the router between the machines: ECMP for VIPs, EIPs and the anycast address, tunnel addresses that move to survivors
// (P2), loss, duplication, jitter, partitions and narrow links. Whatever it carries is looked at: true checksums, no tenant's packet bare.
import { type Random } from '../../packages/core-wasm/fuzz/random.ts';
import { Violation } from './checks.ts';
import { type VirtualClock } from './clock.ts';
import { type Packet, faultOf, packetTooBig, readPacket } from './packet.ts';

export interface Faults {
  /** Parts of one. */
  loss: number;
  duplication: number;
  /** Milliseconds that a packet may be late: packets overtake each other. */
  jitterMs: number;
}

export const HOP_MS = 0.3;
const NO_FAULTS: Faults = { loss: 0, duplication: 0, jitterMs: 0 };
const ROUTER = { v4: '192.0.2.1', v6: 'fd00:ffff::1' } as const;
const IS_TENANT = /^(10\.0\.0\.|fd00::)/;
const IS_TENANT_CLIENT = /^(10\.0\.0\.6|fd00::6)$/;
const MTU = 1_500;

export type Receive = (packet: Buffer) => void;

export class Network {
  faults: Faults = NO_FAULTS;
  /** Directors that take V, EIP and E, and those whose T is announced by themselves. */
  readonly announcing = new Set<string>();
  readonly tunnelled = new Set<string>();
  readonly partitions = new Set<string>();
  /** Narrow links, by machine. */
  readonly mtu = new Map<string, number>();
  salt = 0;
  isConsistent = true;
  packets = 0;
  lost = 0;
  tooBig = 0;
  /** Known: an answer to a VM whose flow was rebuilt under a public VIP (docs/explanation/simulation.md, open findings). */
  bare = 0;
  private readonly machines = new Map<string, Receive>();
  private readonly byAddress = new Map<string, string>();
  private readonly shared = new Set<string>();
  private readonly tunnels = new Map<string, string>();
  private readonly clock: VirtualClock;
  private readonly random: Random;

  constructor(clock: VirtualClock, random: Random) {
    this.clock = clock;
    this.random = random;
  }

  attach(name: string, addresses: readonly string[], receive: Receive): void {
    this.machines.set(name, receive);
    for (const address of addresses) this.byAddress.set(address, name);
  }
  share(addresses: readonly string[]): void {
    for (const address of addresses) this.shared.add(address);
  }
  addTunnel(address: string, director: string): void {
    this.tunnels.set(address, director);
  }

  /** A packet that a machine puts on its wire. */
  send(from: string, bytes: Buffer): void {
    this.packets++;
    const fault = faultOf(bytes);
    if (fault !== undefined) throw new Violation(`${from} sent a packet with a wrong checksum: ${fault}`);
    const packet = readPacket(bytes);
    const to = this.placeOf(packet);
    if (to === undefined) {
      if (IS_TENANT_CLIENT.test(packet.destination) && this.shared.has(packet.source)) this.bare++;
      else if (IS_TENANT.test(packet.destination))
        throw new Violation(`${from} sent a packet of a tenant bare: ${packet.source} → ${packet.destination}`);
      this.lost++;
      return;
    }
    const mtu = this.mtu.get(to) ?? MTU;
    if (bytes.length > mtu) return this.refuse(packet, mtu);
    this.carry(from, to, () => this.machines.get(to)!(bytes));
  }

  /** Anything between two machines: flow sync as well. */
  carry(from: string, to: string, arrive: () => void): void {
    if (this.isCut(from, to)) {
      this.lost++;
      return;
    }
    const { loss, duplication, jitterMs } = this.faults;
    const copies = this.chance(duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.chance(loss)) this.lost++;
      else this.clock.after(HOP_MS + (jitterMs > 0 ? (this.random.below(1000) / 1000) * jitterMs : 0), arrive);
    }
  }

  cut(a: string, b: string): void {
    this.partitions.add([a, b].sort().join('|'));
  }
  private isCut(a: string, b: string): boolean {
    return this.partitions.size > 0 && this.partitions.has([a, b].sort().join('|'));
  }

  private chance(part: number): boolean {
    return part > 0 && this.random.below(1_000_000) < part * 1_000_000;
  }

  private placeOf(packet: Packet): string | undefined {
    const { destination } = packet;
    const director = this.tunnels.get(destination);
    if (director !== undefined) return this.tunnelled.has(director) ? director : this.spread(packet, this.tunnelled);
    if (this.shared.has(destination)) return this.spread(packet, this.announcing);
    return this.byAddress.get(destination);
  }

  private refuse(packet: Packet, mtu: number): void {
    this.tooBig++;
    this.send('router', packetTooBig(packet.version === 6 ? ROUTER.v6 : ROUTER.v4, packet, mtu));
  }

  /** ECMP: by rendezvous, so that only flows of a lost path move, or by remainder, so that most do. */
  private spread({ source, destination, protocol, sourcePort, destinationPort }: Packet, to: ReadonlySet<string>) {
    const paths = [...to].sort();
    const key = `${source} ${destination} ${protocol} ${sourcePort} ${destinationPort} ${this.salt}`;
    if (!this.isConsistent) return paths[hash(key) % Math.max(1, paths.length)];
    let best: string | undefined;
    let most = -1;
    for (const path of paths) {
      const score = hash(`${key} ${path}`);
      if (score > most) [best, most] = [path, score];
    }
    return best;
  }
}

/** FNV-1a, mixed. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  value ^= value >>> 12;
  return value >>> 0;
}
