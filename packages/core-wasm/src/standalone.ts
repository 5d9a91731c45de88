// The core as a library: parse, checksum, rewrite, encapsulate, decapsulate, Maglev. Runs in Node and in browsers, reads no file, has no
// tables. Bytes in, bytes out; what is returned is a copy.
import { Encapsulation, PacketFlag, PacketRecord, limits, nameOf, reasonEnum } from '../layout/index.ts';
import { formatAddress, isMapped, parseAddress } from './address.ts';
import { Core } from './core.ts';
import { type MaglevMember, maglev, sortedById } from './hash.ts';
import { allocate, planMemory } from './plan.ts';

export interface ParsedPacket {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  /** IP protocol number, after IPv6 extension headers. */
  readonly protocol: number;
  /** 0 where the protocol has no ports; the identifier of an ICMP echo. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP flags byte. */
  readonly tcpFlags: number;
  /** The IP packet alone: without link header and padding. */
  readonly packet: Uint8Array;
  /** What follows the transport header. */
  readonly payload: Uint8Array;
}

/** A packet that the core refuses; `code` is the name of the drop reason. */
export class PacketError extends Error {
  readonly code: string;
  constructor(code: string, meaning: string) {
    super(`${code}: ${meaning}`);
    this.name = 'PacketError';
    this.code = code;
  }
}

export interface Tunnel {
  readonly source: string;
  readonly destination: string;
}

export interface Ends {
  readonly source?: string;
  readonly destination?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export interface StandaloneCore {
  /** Reads a frame; `layer` 2 (default) begins with an Ethernet header, 3 with the IP header. Throws a PacketError. */
  parse(frame: Uint8Array, layer?: 2 | 3): ParsedPacket;
  /** Internet checksum (RFC 1071). */
  checksum(bytes: Uint8Array): number;
  /** An IP packet with other addresses and ports, every checksum updated (RFC 1624). */
  rewrite(packet: Uint8Array, ends: Ends): Uint8Array;
  /** An IP packet inside GRE with a key (RFC 2890). */
  encapsulateGre(packet: Uint8Array, tunnel: Tunnel & { readonly key: number }): Uint8Array;
  /** An IP packet inside IP (RFC 2003). */
  encapsulateIpip(packet: Uint8Array, tunnel: Tunnel): Uint8Array;
  /** The packet inside GRE with a key or inside IP. Key 0 for the latter. */
  decapsulate(packet: Uint8Array): Tunnel & { readonly key: number; readonly packet: Uint8Array };
  /** Consistent choice: slot → member. The order of the list does not matter. */
  maglev<M extends MaglevMember>(members: readonly M[], slots?: number): (hash: number) => M | undefined;
}

const SLOTS_DEFAULT = 4093;
/** IP in IP, IPv6 in IP, GRE. */
const TUNNELS: readonly number[] = [4, 41, 47];
const { at } = PacketRecord;

/** An instance of its own, about a megabyte of memory. */
export async function createCore(): Promise<StandaloneCore> {
  const { coreBase64 } = await import('#embedded');
  const module = await WebAssembly.compile(Uint8Array.from(atob(coreBase64), (char) => char.charCodeAt(0)));
  const one = {
    listeners: 1,
    targets: 1,
    groups: 1,
    hosts: 1,
    eips: 1,
    maglevSlots: 1,
    flows: 0,
    ports: 1,
    portChunks: 2,
    injectChunks: 1,
  };
  const plan = planMemory(one);
  const core = await Core.open({ memory: allocate(plan, 'plain'), plan, worker: 0, artefact: 'plain', module });
  return new Standalone(core);
}

class Standalone implements StandaloneCore {
  private readonly core: Core;
  private readonly record: number;

  constructor(core: Core) {
    this.core = core;
    this.record = core.record(0);
  }

  parse(frame: Uint8Array, layer: 2 | 3 = 2): ParsedPacket {
    this.load(frame, layer);
    const packet = this.core.currentPacket(0).slice();
    return {
      family: this.byte('family') === 4 ? 4 : 6,
      source: formatAddress(this.address('source')),
      destination: formatAddress(this.address('destination')),
      protocol: this.byte('protocol'),
      sourcePort: this.half('sourcePort'),
      destinationPort: this.half('destinationPort'),
      tcpFlags: this.byte('tcpFlags'),
      packet,
      payload: packet.subarray(this.half('payload') - this.half('l3')),
    };
  }

  checksum(bytes: Uint8Array): number {
    if (bytes.length > limits.CHUNK_BYTES) throw new RangeError(`At most ${limits.CHUNK_BYTES} bytes`);
    this.core.bytes.set(bytes, this.core.worker.slab + this.core.worker.injectChunk);
    return this.call('checksumOne', this.core.worker.injectChunk, bytes.length);
  }

  rewrite(packet: Uint8Array, ends: Ends): Uint8Array {
    this.load(packet, 3);
    const source = ends.source === undefined ? this.address('source').slice() : parseAddress(ends.source);
    const destination =
      ends.destination === undefined ? this.address('destination').slice() : parseAddress(ends.destination);
    if (isMapped(source) !== (this.byte('family') === 4))
      throw new RangeError('The new source is of another family than the packet');
    this.setOuter(source, destination);
    this.call('rewriteOne', ends.sourcePort ?? limits.NONE, ends.destinationPort ?? limits.NONE);
    return this.core.currentPacket(0).slice();
  }

  encapsulateGre(packet: Uint8Array, tunnel: Tunnel & { readonly key: number }): Uint8Array {
    return this.encapsulate(packet, tunnel, Encapsulation.Gre, tunnel.key);
  }

  encapsulateIpip(packet: Uint8Array, tunnel: Tunnel): Uint8Array {
    return this.encapsulate(packet, tunnel, Encapsulation.Ipip, 0);
  }

  decapsulate(packet: Uint8Array): Tunnel & { readonly key: number; readonly packet: Uint8Array } {
    this.load(packet, 3);
    if (!TUNNELS.includes(this.byte('protocol'))) throw new PacketError('BadTunnel', 'neither GRE nor IP in IP');
    this.check(this.call('decapsulateOne'));
    return {
      source: formatAddress(this.address('outerSource')),
      destination: formatAddress(this.address('outerDestination')),
      key: this.core.view.getUint32(this.record + at.tunnelKey, true),
      packet: this.core.currentPacket(0).slice(),
    };
  }

  maglev<M extends MaglevMember>(
    members: readonly M[],
    slots: number = SLOTS_DEFAULT,
  ): (hash: number) => M | undefined {
    const sorted = sortedById(members);
    const table = maglev(sorted, slots);
    return (hash) => sorted[table[(hash >>> 0) % table.length] ?? 0];
  }

  private load(frame: Uint8Array, layer: 2 | 3): void {
    this.core.inject([frame], 0, layer === 3 ? PacketFlag.Layer3 : 0);
    this.check(this.call('parseOne'));
  }

  private encapsulate(packet: Uint8Array, tunnel: Tunnel, kind: number, key: number): Uint8Array {
    this.load(packet, 3);
    this.setOuter(parseAddress(tunnel.source), parseAddress(tunnel.destination));
    this.core.view.setUint32(this.record + at.tunnelKey, key, true);
    this.check(this.call('encapsulateOne', kind));
    return this.core.currentPacket(0).slice();
  }

  private setOuter(source: Uint8Array, destination: Uint8Array): void {
    if (isMapped(source) !== isMapped(destination))
      throw new RangeError('Source and destination must be of one family');
    this.address('outerSource').set(source);
    this.address('outerDestination').set(destination);
  }

  private check(isRight: number): void {
    const reason = this.core.reason(0);
    if (isRight === 0) throw new PacketError(nameOf(reasonEnum, reason), meaningOf(reason));
  }

  private call(name: string, ...values: number[]): number {
    return this.core.exports[name]?.(...values) ?? 0;
  }

  private address(field: 'source' | 'destination' | 'outerSource' | 'outerDestination'): Uint8Array {
    return this.core.bytes.subarray(this.record + at[field], this.record + at[field] + 16);
  }

  private half(field: 'sourcePort' | 'destinationPort' | 'payload' | 'l3'): number {
    return this.core.view.getUint16(this.record + at[field], true);
  }

  private byte(field: 'family' | 'protocol' | 'tcpFlags'): number {
    return this.core.bytes[this.record + at[field]] ?? 0;
  }
}

function meaningOf(reason: number): string {
  for (const [value, meaning] of Object.values(reasonEnum.members)) if (value === reason) return meaning;
  return 'refused';
}
