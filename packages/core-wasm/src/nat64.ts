// NAT64 as a library: packets in, packets out. Stateless by prefix (RFC 6052, RFC 7915) and explicit mapping (RFC 7757), or stateful with
// a pool of IPv4 addresses (RFC 6146). Runs wherever WebAssembly runs.
import { Nat64Memory, loadNat64Module } from './nat64-memory.ts';
import { Nat64State, Nat64Tables, Nat64Verdict, nameOf, nat64Limits, nat64ReasonEnum } from '../layout/index.ts';
import { formatAddress, isMapped, parseAddress } from './address.ts';
import type { Nat64Options } from './nat64-options.ts';

export type {
  Nat64Lifetimes,
  Nat64Mapping,
  Nat64Module,
  Nat64Options,
  Nat64Share,
  PoolOptions,
} from './nat64-options.ts';

/** What became of one packet. */
export interface Nat64Result {
  /**
   * `translated`: send `packets`, of the other family unless the packet was turned round (RFC 6146, 3.8; RFC 7757, 4.2.2). `answered`:
   * send them back to the sender. `held`: a SYN or a fragment that waits. `dropped`: nothing to send.
   */
  readonly verdict: 'translated' | 'answered' | 'dropped' | 'held';
  /** Name of the Nat64Reason (docs/reference/layout.md) when it was not translated. */
  readonly reason?: string;
  /** Copies: one packet, or its fragments in order. */
  readonly packets: readonly Uint8Array[];
}

/** Counters of a stateful translator since it was made; a stateless one counts nothing. */
export interface Nat64Counters {
  readonly translated: number;
  /** ICMP errors of our own. */
  readonly answered: number;
  /** Packets from one IPv6 host to another. */
  readonly hairpins: number;
  /** Datagrams put together out of fragments. */
  readonly reassembled: number;
  /** Probes of idle connections. */
  readonly probed: number;
  /** In use now. */
  readonly bindings: number;
  /** In use now. */
  readonly sessions: number;
  readonly bindingsMade: number;
  readonly sessionsMade: number;
  /** Packets that were not translated, by reason; FragmentTimeout counts datagrams. */
  readonly reasons: Readonly<Record<string, number>>;
}

/** A binding by the operator's hand (RFC 6146, 3.1); ports are identifiers for ICMP. */
export interface StaticBinding {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly address6: string;
  readonly port6: number;
  readonly address4: string;
  readonly port4: number;
}

/** At most this many bytes of packet. */
export const NAT64_PACKET_MAX = 65_535;
/** Most packets of one call of `due`. */
const DUE_MAX = nat64Limits.NAT64_HELD_MAX + nat64Limits.NAT64_PROBES_MAX;
const PROTOCOLS = { tcp: 6, udp: 17, icmp: 1 } as const;
const VERDICTS = ['dropped', 'translated', 'dropped', 'answered', 'held'] as const;

/**
 * A translator of its own: some 300 KiB of memory, stateful 1.4 MiB and about 130 bytes a session more. Rejects with a RangeError that names
 * the option when one is out of its bounds.
 */
export async function createNat64(options: Nat64Options = {}): Promise<Nat64> {
  const memory = new Nat64Memory(options);
  await memory.open(options.module ?? (await loadNat64Module()));
  return new Nat64(memory);
}

export class Nat64 {
  private readonly memory: Nat64Memory;

  constructor(memory: Nat64Memory) {
    this.memory = memory;
  }

  /**
   * Translates one IP packet of either family, without link header; bytes behind its stated length are ignored. `nowMs` is any clock in
   * milliseconds that only grows; it matters when stateful or when errors are limited. Whatever the bytes are, there is a verdict; a
   * RangeError only for more than 65,535 bytes.
   */
  translate(packet: Uint8Array, nowMs = 0): Nat64Result {
    if (packet.length > NAT64_PACKET_MAX) throw new RangeError(`A packet has at most ${NAT64_PACKET_MAX} bytes`);
    const { memory } = this;
    memory.bytes.set(packet, memory.packetAt);
    return this.resultOf(memory.call('nat64Translate', memory.state, memory.packetAt, packet.length, nowMs));
  }

  /** IPv6 to IPv4 (RFC 7915, section 5; RFC 6146, 3.5). Throws a RangeError for another version. */
  translate64(packet: Uint8Array, nowMs = 0): Nat64Result {
    return this.translate(versioned(packet, 6), nowMs);
  }

  /** IPv4 to IPv6 (RFC 7915, section 4; RFC 6146, 3.5). Throws a RangeError for another version. */
  translate46(packet: Uint8Array, nowMs = 0): Nat64Result {
    return this.translate(versioned(packet, 4), nowMs);
  }

  /** The IPv6 address of an IPv4 one under `prefix`, or under the translator's (RFC 6052, 2.2). Throws a RangeError for anything else. */
  embed(address4: string, prefix?: string): string {
    const { at, bits } = this.memory.prefixOf(prefix);
    const address = parseAddress(address4);
    if (!isMapped(address)) throw new RangeError(`"${address4}" is not an IPv4 address`);
    this.memory.call('nat64Embed', at, bits, this.memory.rawOf(address), this.memory.scratch);
    return formatAddress(this.memory.bytes.slice(this.memory.scratch, this.memory.scratch + 16));
  }

  /** The IPv4 address inside an IPv6 one (RFC 6052, 2.3); null when it does not lie in the prefix or its u octet is not zero. */
  extract(address6: string, prefix?: string): string | null {
    const { at, bits } = this.memory.prefixOf(prefix);
    this.memory.bytes.set(parseAddress(address6), this.memory.scratch);
    if (this.memory.call('nat64IsInside', this.memory.scratch, at, bits) === 0) return null;
    const raw = this.memory.call('nat64Extract', this.memory.scratch, bits);
    return [raw & 255, (raw >>> 8) & 255, (raw >>> 16) & 255, raw >>> 24].join('.');
  }

  /** Ends idle sessions among the next 1,024 and gives up datagrams that were not whole in time; call it often. Returns how many sessions ended. */
  expire(nowMs: number): number {
    return this.memory.isStateful ? this.memory.call('nat64Expire', this.memory.state, nowMs) : 0;
  }

  /**
   * Packets of our own that are due, to be sent by their family (RFC 6146, 3.5.2.2): port unreachable for SYNs that waited six seconds in
   * vain, and probes for connections that `expire` found idle. Call it after `expire`.
   */
  due(nowMs: number): Uint8Array[] {
    const packets: Uint8Array[] = [];
    while (this.memory.isStateful && packets.length < DUE_MAX) {
      const verdict = this.memory.call('nat64Due', this.memory.state, nowMs);
      if (verdict === Nat64Verdict.None) break;
      packets.push(...this.resultOf(verdict).packets);
    }
    return packets;
  }

  /**
   * A binding that stays without sessions. False: one of its ends is bound already, or there is no place. Throws a RangeError when the
   * translator is stateless or an address is of the wrong family.
   */
  bind(binding: StaticBinding): boolean {
    const { memory } = this;
    if (!memory.isStateful) throw new RangeError('A stateless translator has no bindings');
    const address4 = parseAddress(binding.address4);
    if (!isMapped(address4)) throw new RangeError(`"${binding.address4}" is not an IPv4 address`);
    const address6 = parseAddress(binding.address6);
    if (isMapped(address6)) throw new RangeError(`"${binding.address6}" is not an IPv6 address`);
    memory.bytes.set(address6, memory.endsSource);
    const { protocol, port6, port4 } = binding;
    return memory.call('nat64Bind', memory.state, PROTOCOLS[protocol], port6, memory.rawOf(address4), port4) === 1;
  }

  /** Reads the counters. */
  counters(): Nat64Counters {
    const { memory } = this;
    const read64 = (field: keyof typeof Nat64Tables.at): number =>
      memory.isStateful ? Number(memory.view.getBigUint64(memory.tables + Nat64Tables.at[field], true)) : 0;
    const read32 = (field: keyof typeof Nat64Tables.at): number =>
      memory.isStateful ? memory.view.getUint32(memory.tables + Nat64Tables.at[field], true) : 0;
    const reasons: Record<string, number> = {};
    for (const [name, [number]] of Object.entries(nat64ReasonEnum.members)) {
      const count = memory.isStateful ? Number(memory.view.getBigUint64(read32('reasons') + number * 8, true)) : 0;
      if (number !== 0 && count !== 0) reasons[name] = count;
    }
    return {
      translated: read64('translated'),
      answered: read64('answered'),
      hairpins: read64('hairpins'),
      reassembled: read64('reassembled'),
      probed: read64('probed'),
      bindings: read32('bindingsUsed'),
      sessions: read32('sessionsUsed'),
      bindingsMade: read64('bindingsMade'),
      sessionsMade: read64('sessionsMade'),
      reasons,
    };
  }

  private resultOf(number: number): Nat64Result {
    const { memory } = this;
    const verdict = VERDICTS[number] ?? 'dropped';
    const reason = memory.word(Nat64State.at.reason);
    const why = reason === 0 ? {} : { reason: nameOf(nat64ReasonEnum, reason) };
    if (number !== Nat64Verdict.Translated && number !== Nat64Verdict.Answered) return { verdict, ...why, packets: [] };
    const at = memory.word(Nat64State.at.address);
    if (number === Nat64Verdict.Answered || memory.word(Nat64State.at.splitMtu) === 0)
      return { verdict, ...why, packets: [memory.bytes.slice(at, at + memory.word(Nat64State.at.bytes))] };
    const bytes = memory.call('nat64Split', memory.state, memory.out, memory.outBytes);
    return { verdict, ...why, packets: fragmentsIn(memory.bytes.slice(memory.out, memory.out + bytes)) };
  }
}

function versioned(packet: Uint8Array, version: 4 | 6): Uint8Array {
  if ((packet[0] ?? 0) >> 4 !== version) throw new RangeError(`Not an IPv${version} packet`);
  return packet;
}

/** Packets one behind the other, each of the length that its header states. */
function fragmentsIn(bytes: Uint8Array): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let at = 0; at + 20 <= bytes.length;) {
    const half = (offset: number): number => ((bytes[at + offset] ?? 0) << 8) | (bytes[at + offset + 1] ?? 0);
    const length = (bytes[at] ?? 0) >> 4 === 6 ? 40 + half(4) : half(2);
    packets.push(bytes.subarray(at, at + length));
    at += length;
  }
  return packets;
}
