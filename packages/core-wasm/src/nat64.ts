// NAT64 as a library: packets in, packets out. Stateless by prefix (RFC 6052, RFC 7915) and explicit mapping (RFC 7757), or stateful with
// a pool of IPv4 addresses (RFC 6146). Runs wherever WebAssembly runs.
import { type Nat64Module, Nat64Memory, type Nat64Mapping, type PoolOptions, loadNat64Module } from './nat64-memory.ts';
import { Nat64State, Nat64Tables, Nat64Verdict, nameOf, nat64Limits, nat64ReasonEnum } from '../layout/index.ts';
import { formatAddress, isMapped, parseAddress } from './address.ts';

export type { Nat64Mapping, Nat64Module, PoolOptions } from './nat64-memory.ts';

export interface Nat64Options {
  /** Prefix that IPv4 hosts have in IPv6, with length 32, 40, 48, 56, 64 or 96; `64:ff9b::/96` by default. */
  readonly prefix?: string;
  /** Stateless: prefix of the IPv4-translatable addresses of the IPv6 hosts; the same one by default. */
  readonly localPrefix?: string;
  /** Source of the ICMPv6 errors; none are sent without it. */
  readonly own6?: string;
  /** Source of the ICMPv4 errors, and of errors of IPv6 routers without an IPv4 address (RFC 6791). */
  readonly own4?: string;
  /** MTU of the next hops; 1500 by default. */
  readonly mtu6?: number;
  readonly mtu4?: number;
  /** IPv4 packets without DF are fragmented to this; 1280 by default, more where the whole IPv6 network is known to take it. */
  readonly lowestMtu6?: number;
  /** Lets private IPv4 addresses pass behind the well-known prefix (RFC 6052, 3.1 forbids it). */
  readonly allowNonGlobal?: boolean;
  /** UDP over IPv4 without a checksum: `compute` one (default) or `drop`. Fragments of it are always dropped. */
  readonly zeroChecksum?: 'compute' | 'drop';
  /** TOS and traffic class: `copy` (default) or `zero`. */
  readonly trafficClass?: 'copy' | 'zero';
  /** Explicit address mappings (RFC 7757); they go before the prefixes. */
  readonly mappings?: readonly Nat64Mapping[];
  /** Makes the translator stateful (RFC 6146). */
  readonly stateful?: PoolOptions;
  /** The compiled core, where it does not come from the package. */
  readonly module?: Nat64Module;
}

export interface Nat64Result {
  /** `translated`: send `packets`. `answered`: send them back to the sender. `held`: a SYN that waits. `dropped`: nothing to send. */
  readonly verdict: 'translated' | 'answered' | 'dropped' | 'held';
  /** Name of the Nat64Reason when it was not translated. */
  readonly reason?: string;
  /** One packet, or its fragments. */
  readonly packets: readonly Uint8Array[];
}

export interface Nat64Counters {
  readonly translated: number;
  readonly answered: number;
  readonly hairpins: number;
  readonly bindings: number;
  readonly sessions: number;
  readonly bindingsMade: number;
  readonly sessionsMade: number;
  /** Packets that were not translated, by reason. */
  readonly reasons: Readonly<Record<string, number>>;
}

export interface StaticBinding {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly address6: string;
  readonly port6: number;
  readonly address4: string;
  readonly port4: number;
}

/** At most this many bytes of packet. */
export const NAT64_PACKET_MAX = 65_535;
const PROTOCOLS = { tcp: 6, udp: 17, icmp: 1 } as const;
const VERDICTS = ['dropped', 'translated', 'dropped', 'answered', 'held'] as const;

/** A translator of its own: some 200 KiB of memory, and 80 bytes a session when it is stateful. Throws a RangeError for bad options. */
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

  /** Translates an IP packet of either family; `nowMs` is any clock that only grows, and matters when stateful. */
  translate(packet: Uint8Array, nowMs = 0): Nat64Result {
    if (packet.length > NAT64_PACKET_MAX) throw new RangeError(`A packet has at most ${NAT64_PACKET_MAX} bytes`);
    const { memory } = this;
    memory.bytes.set(packet, memory.packetAt);
    return this.resultOf(memory.call('nat64Translate', memory.state, memory.packetAt, packet.length, nowMs));
  }

  /** IPv6 to IPv4. Throws a RangeError for another version. */
  translate64(packet: Uint8Array, nowMs = 0): Nat64Result {
    return this.translate(versioned(packet, 6), nowMs);
  }

  /** IPv4 to IPv6. */
  translate46(packet: Uint8Array, nowMs = 0): Nat64Result {
    return this.translate(versioned(packet, 4), nowMs);
  }

  /** The IPv6 address of an IPv4 one (RFC 6052, 2.2). */
  embed(address4: string, prefix?: string): string {
    const { at, bits } = this.memory.prefixOf(prefix);
    const address = parseAddress(address4);
    if (!isMapped(address)) throw new RangeError(`"${address4}" is not an IPv4 address`);
    this.memory.call('nat64Embed', at, bits, this.memory.rawOf(address), this.memory.scratch);
    return formatAddress(this.memory.bytes.slice(this.memory.scratch, this.memory.scratch + 16));
  }

  /** The IPv4 address inside an IPv6 one; null when it does not lie in the prefix or its u octet is not zero. */
  extract(address6: string, prefix?: string): string | null {
    const { at, bits } = this.memory.prefixOf(prefix);
    this.memory.bytes.set(parseAddress(address6), this.memory.scratch);
    if (this.memory.call('nat64IsInside', this.memory.scratch, at, bits) === 0) return null;
    const raw = this.memory.call('nat64Extract', this.memory.scratch, bits);
    return [raw & 255, (raw >>> 8) & 255, (raw >>> 16) & 255, raw >>> 24].join('.');
  }

  /** Ends idle sessions among the next 1,024; call it often. Returns how many ended. */
  expire(nowMs: number): number {
    return this.memory.isStateful ? this.memory.call('nat64Expire', this.memory.state, nowMs) : 0;
  }

  /** Answers to SYNs that waited six seconds in vain (RFC 6146, 3.5.2.2): port unreachable, to be sent on the IPv4 side. */
  answerHeld(nowMs: number): Uint8Array[] {
    const answers: Uint8Array[] = [];
    while (this.memory.isStateful && answers.length < nat64Limits.NAT64_HELD_MAX) {
      const verdict = this.memory.call('nat64AnswerHeld', this.memory.state, nowMs);
      if (verdict === Nat64Verdict.None) break;
      answers.push(...this.resultOf(verdict).packets);
    }
    return answers;
  }

  /** A binding that stays. False: one of its ends is bound already, or the table is full. */
  bind(binding: StaticBinding): boolean {
    const { memory } = this;
    if (!memory.isStateful) throw new RangeError('A stateless translator has no bindings');
    const address4 = parseAddress(binding.address4);
    if (!isMapped(address4)) throw new RangeError(`"${binding.address4}" is not an IPv4 address`);
    memory.bytes.set(parseAddress(binding.address6), memory.endsSource);
    const { protocol, port6, port4 } = binding;
    return memory.call('nat64Bind', memory.state, PROTOCOLS[protocol], port6, memory.rawOf(address4), port4) === 1;
  }

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
