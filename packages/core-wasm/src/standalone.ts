// The core as a library: parse, checksum, rewrite, encapsulate, decapsulate, Maglev. Runs in Node and in browsers, reads no file, has no
// tables. Bytes in, bytes out; what is returned is a copy.
import { coreBase64 } from '#embedded';
import { Encapsulation, PacketFlag, PacketRecord, limits, nameOf, reasonEnum } from '../layout/index.ts';
import { formatAddress, isMapped, parseAddress } from './address.ts';
import { loadArtefact } from './artefact.ts';
import { Core } from './core.ts';
import { type DissectOptions, type Dissection, dissect } from './dissect.ts';
import { type MaglevMember, maglev, sortedById } from './hash.ts';
import { LinkType } from './pcap/types.ts';
import { type LinearMemory, allocate, planMemory } from './plan.ts';

/** What `parse` finds; addresses as text, ports as numbers. */
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

/** A packet that the core refuses; `code` is the name of the drop reason, `meaning` its sentence. */
export class PacketError extends Error {
  readonly code: string;
  readonly meaning: string;
  constructor(code: string, meaning: string) {
    super(`${code}: ${meaning}`);
    this.name = 'PacketError';
    this.code = code;
    this.meaning = meaning;
  }
}

/** Outer addresses of a tunnel, as text, of one family. */
export interface Tunnel {
  readonly source: string;
  readonly destination: string;
}

/** New ends of a packet; what is left out stays. */
export interface Ends {
  readonly source?: string;
  readonly destination?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

/** Where the wasm comes from and what memory it gets; nothing is needed. */
export interface CreateOptions {
  /** A WebAssembly.Module of the core, or the bytes of core.wasm (of core.shared.wasm with `shared`). The embedded one when absent. */
  readonly module?: object;
  /** Puts the core's memory into a SharedArrayBuffer. Outside Node `module` must be there too. False by default. */
  readonly shared?: boolean;
}

/** What the walk of a director says of a frame before it asks any table. */
export interface ParseVerdict {
  readonly isAccepted: boolean;
  /** `None`, or the name of a drop reason. */
  readonly code: string;
  readonly meaning: string;
}

/** The functions of `createCore`: bytes in, copies out. What no walk would accept throws a PacketError. */
export interface StandaloneCore {
  /** The memory of this instance; a SharedArrayBuffer only when it was asked for. */
  readonly memory: LinearMemory;
  /**
   * Reads a frame of at most 2,048 bytes; `layer` 2 (default) begins with an Ethernet header, 3 with the IP header (RFC 791, RFC 8200).
   * Throws a PacketError: TooShort, BadHeader, BadChecksum (IPv4 header), NotIp, Fragment, ExtensionHeaders, BadTcp, ZeroChecksum,
   * Protocol. Throws a RangeError for a longer frame. Transport checksums are not looked at.
   */
  parse(frame: Uint8Array, layer?: 2 | 3): ParsedPacket;
  /**
   * Every header as fields with offset, value, meaning and problem, and what `parse` says of the frame. Never throws, whatever the bytes.
   * The list is read by code of its own, so list and verdict check each other.
   */
  dissect(frame: Uint8Array, options?: DissectOptions): Dissection & { readonly verdict: ParseVerdict };
  /**
   * Internet checksum (RFC 1071) of at most 2,048 bytes, in host order; over bytes that hold a right checksum it is 0. Throws a
   * RangeError for more bytes.
   */
  checksum(bytes: Uint8Array): number;
  /**
   * An IP packet with other addresses and ports, every checksum updated in place of being computed afresh (RFC 1624), so a wrong one
   * stays wrong. What `ends` leaves out stays. Throws a PacketError like `parse`, a RangeError when the family changes (RFC 7915 does that).
   */
  rewrite(packet: Uint8Array, ends: Ends): Uint8Array;
  /**
   * An IP packet inside GRE with a key of 32 bits (RFC 2784, RFC 2890): 28 bytes longer over IPv4, 48 over IPv6. Hop limit 64, DSCP and
   * ECN copied (RFC 6040), DF set. Throws a PacketError like `parse`, NoHeadroom when the result passes the chunk of 2,048 bytes.
   */
  encapsulateGre(packet: Uint8Array, tunnel: Tunnel & { readonly key: number }): Uint8Array;
  /** An IP packet inside IP (RFC 2003, RFC 2473, RFC 4213): 20 bytes longer over IPv4, 40 over IPv6. Errors as of encapsulateGre. */
  encapsulateIpip(packet: Uint8Array, tunnel: Tunnel): Uint8Array;
  /**
   * The packet inside GRE (with or without key; key 0 then) or inside IP (key 0). Throws a PacketError like `parse`, of the outer and
   * of the inner packet; BadTunnel for other GRE options or payloads, NestedTunnel for a tunnel inside the tunnel.
   */
  decapsulate(packet: Uint8Array): Tunnel & { readonly key: number; readonly packet: Uint8Array };
  /**
   * Consistent choice (Maglev, NSDI 2016): any 32-bit hash → member, undefined when no member has a weight. The order of the list does
   * not matter, the ids do. `slots` (4,093) is lowered to a prime. Throws a RangeError for more than 65,534 members.
   */
  maglev<M extends MaglevMember>(members: readonly M[], slots?: number): (hash: number) => M | undefined;
}

const SLOTS_DEFAULT = 4093;
/** IP in IP, IPv6 in IP, GRE. */
const TUNNELS: readonly number[] = [4, 41, 47];
const { at } = PacketRecord;

let embedded: Promise<WebAssembly.Module> | undefined;

/**
 * An instance of its own, about a megabyte of memory, without a file or a server: the wasm is part of this package's JavaScript and
 * compiled once a thread. Rejects with a CompileError where a content security policy lacks 'wasm-unsafe-eval', or bytes are no wasm;
 * with an Error when `module` was built for another version of this package.
 */
export async function createCore(options: CreateOptions = {}): Promise<StandaloneCore> {
  const module = await moduleOf(options);
  const isShared = options.shared === true;
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
  const memory = allocate(plan, isShared ? 'shared' : 'plain');
  const core = await Core.open({ memory, plan, worker: 0, artefact: isShared ? 'shared' : 'plain', module });
  return new Standalone(core);
}

function moduleOf(options: CreateOptions): Promise<WebAssembly.Module> | WebAssembly.Module {
  const { module } = options;
  if (module instanceof WebAssembly.Module) return module;
  if (module !== undefined) return WebAssembly.compile(module as BufferSource);
  if (options.shared === true) return loadArtefact('shared');
  embedded ??= WebAssembly.compile(Uint8Array.from(atob(coreBase64()), (char) => char.charCodeAt(0)));
  return embedded;
}

class Standalone implements StandaloneCore {
  readonly memory: LinearMemory;
  private readonly core: Core;
  private readonly record: number;

  constructor(core: Core) {
    this.core = core;
    this.memory = core.memory;
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

  dissect(frame: Uint8Array, options: DissectOptions = {}): Dissection & { readonly verdict: ParseVerdict } {
    const dissection = dissect(frame, options);
    const isEthernet = (options.linkType ?? LinkType.Ethernet) === LinkType.Ethernet;
    // Link headers that no port of a balancer has: the verdict is about the packet behind them.
    const first = dissection.layers.find((layer) => layer.protocol === 'ipv4' || layer.protocol === 'ipv6');
    const seen = isEthernet ? frame : frame.subarray(first?.offset ?? 0);
    return { ...dissection, verdict: this.verdict(seen, isEthernet ? 2 : 3) };
  }

  private verdict(frame: Uint8Array, layer: 2 | 3): ParseVerdict {
    if (frame.length > limits.CHUNK_BYTES)
      return { isAccepted: false, code: 'TooBig', meaning: `A frame may have ${limits.CHUNK_BYTES} bytes.` };
    try {
      this.load(frame, layer);
      return { isAccepted: true, code: 'None', meaning: 'Well-formed: a walk would go on with it.' };
    } catch (error) {
      if (!(error instanceof PacketError)) throw error;
      return { isAccepted: false, code: error.code, meaning: error.meaning };
    }
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
