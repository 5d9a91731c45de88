// The memory of one NAT64 translator, laid out once and its options checked: state, room for a packet, fragments, and the tables of a stateful one (RFC 6146).
import {
  Nat64Binding,
  Nat64Eam,
  Nat64Flag,
  Nat64Fragment,
  Nat64HeldSyn,
  Nat64Session,
  Nat64State,
  Nat64Subscriber,
  Nat64Tables,
  Nat64View,
  limits,
  nat64Limits,
  nat64ReasonEnum,
} from '../layout/index.ts';
import { isMapped, parseAddress } from './address.ts';
import type { Nat64Mapping, Nat64Options, PoolOptions } from './nat64-options.ts';

/** The compiled nat64.wasm: a `WebAssembly.Module`. */
export type Nat64Module = object;

const PAGE = 65_536;
const ROOM_HEAD = 64;
const ROOM_BYTES = 65_535 + 2 * ROOM_HEAD + 1_280;
/** The fragments of the longest packet on a link of 68 bytes: a header of 20 bytes for every 48. */
const OUT_BYTES = 65_535 + Math.ceil(65_535 / 48) * 20;
const POOL_MAX = 256;
const ROWS_MAX = 1 << 24;
const ERRORS_MAX = 1_000_000;
const PREFIX_BITS: readonly number[] = [32, 40, 48, 56, 64, 96];
const { at } = Nat64State;

let embedded: Promise<WebAssembly.Module> | undefined;

/** The wasm that the package carries; compiled once a thread. */
export async function loadNat64Module(): Promise<Nat64Module> {
  const { nat64Base64 } = await import('#embedded-nat64');
  embedded ??= WebAssembly.compile(Uint8Array.from(atob(nat64Base64()), (char) => char.charCodeAt(0)));
  return embedded;
}

export class Nat64Memory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly state = limits.MAP_ADDRESS;
  readonly isStateful: boolean;
  readonly packetAt: number;
  readonly out: number;
  readonly outBytes = OUT_BYTES;
  /** 32 bytes for prefixes and addresses of a call. */
  readonly scratch: number;
  readonly tables: number;
  /** The exports of the wasm, as assembly/nat64/entry.ts lists them; empty before `open`. */
  functions: Readonly<Record<string, (...values: number[]) => number>> = {};
  private readonly memory: WebAssembly.Memory;
  private end: number;

  constructor(options: Nat64Options) {
    const pool = options.stateful;
    const sizes = pool === undefined ? null : sizesOf(pool);
    this.isStateful = pool !== undefined;
    this.end = this.state + nat64Limits.NAT64_BYTES;
    const eam = this.take((options.mappings?.length ?? 0) * Nat64Eam.bytes);
    this.scratch = this.take(32);
    const room = this.take(ROOM_BYTES);
    this.packetAt = room + ROOM_HEAD;
    this.out = this.take(OUT_BYTES);
    this.tables = sizes === null ? 0 : this.take(Nat64Tables.bytes);
    const plan = sizes === null ? {} : this.planTables(sizes);
    const pages = Math.ceil(this.end / PAGE);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.writeSettings(options, eam);
    this.set(at.roomStart, room);
    this.set(at.roomEnd, room + ROOM_BYTES);
    if (pool !== undefined) this.writeTables(pool, plan);
  }

  async open(module: Nat64Module): Promise<void> {
    const abort = (_message: number, _file: number, line: number): never => {
      throw new Error(`The packet core failed an assertion at line ${line}`);
    };
    const env = { memory: this.memory, abort };
    const instance = await WebAssembly.instantiate(module as WebAssembly.Module, { env });
    this.functions = instance.exports as unknown as typeof this.functions;
  }

  call(name: string, ...values: number[]): number {
    const found = this.functions[name];
    if (found === undefined) throw new Error(`The packet core has no ${name}: build the package again`);
    return found(...values);
  }

  word(offset: number): number {
    return this.view.getUint32(this.state + offset, true);
  }

  get endsSource(): number {
    return this.state + Nat64State.bytes + 2 * Nat64View.bytes;
  }

  /** The four bytes of a mapped address as the wire has them. */
  rawOf(address: Uint8Array): number {
    return new DataView(address.buffer, address.byteOffset).getUint32(12, true);
  }

  /** Address and length of the prefix of a call, or of the translator's own. */
  prefixOf(text?: string): { at: number; bits: number } {
    if (text === undefined) return { at: this.state + at.remotePrefix, bits: this.word(at.remoteBits) };
    const { address, bits } = translationPrefix(text);
    this.bytes.set(address, this.scratch + 16);
    return { at: this.scratch + 16, bits };
  }

  /** Address behind everything that was laid out. */
  get plannedBytes(): number {
    return this.end;
  }

  private take(bytes: number): number {
    const from = (this.end + 63) & ~63;
    this.end = from + bytes;
    return from;
  }

  private set(offset: number, value: number): void {
    this.view.setUint32(this.state + offset, value, true);
  }

  private writeSettings(options: Nat64Options, eam: number): void {
    const remote = translationPrefix(options.prefix ?? '64:ff9b::/96');
    const local = options.localPrefix === undefined ? remote : translationPrefix(options.localPrefix);
    this.bytes.set(remote.address, this.state + at.remotePrefix);
    this.bytes.set(local.address, this.state + at.localPrefix);
    this.set(at.remoteBits, remote.bits);
    this.set(at.localBits, local.bits);
    if (options.own6 !== undefined) this.bytes.set(ofFamily(options.own6, 6), this.state + at.own6);
    if (options.own4 !== undefined) this.set(at.own4, this.rawOf(ofFamily(options.own4, 4)));
    this.set(at.mtu6, mtuOf('mtu6', options.mtu6 ?? 1500, 1280));
    this.set(at.mtu4, mtuOf('mtu4', options.mtu4 ?? 1500, 68));
    this.set(at.lowestMtu6, mtuOf('lowestMtu6', options.lowestMtu6 ?? 1280, 1280));
    this.set(at.flags, flagsOf(options));
    this.set(at.errorsPerSecond, countOf('errorsPerSecond', options.errorsPerSecond ?? 0, 0, ERRORS_MAX));
    this.set(at.errorCredit, (options.errorsPerSecond ?? 0) * 1000);
    this.set(at.identification, crypto.getRandomValues(new Uint16Array(1))[0] ?? 0);
    this.set(at.eam, eam);
    this.set(at.eamRows, options.mappings?.length ?? 0);
    this.set(at.tables, this.tables);
    if ((options.mappings?.length ?? 0) > nat64Limits.NAT64_EAM_MAX)
      throw new RangeError(`At most ${nat64Limits.NAT64_EAM_MAX} mappings`);
    for (const [index, mapping] of (options.mappings ?? []).entries())
      this.writeMapping(eam + index * Nat64Eam.bytes, mapping);
  }

  private writeMapping(row: number, mapping: Nat64Mapping): void {
    const four = prefixOf(mapping.prefix4);
    const six = prefixOf(mapping.prefix6);
    if (!isMapped(four.address) || isMapped(six.address))
      throw new RangeError('A mapping is an IPv4 and an IPv6 prefix');
    const bits4 = four.bits - 96;
    if (32 - bits4 > 128 - six.bits)
      throw new RangeError(`${mapping.prefix6} has fewer suffix bits than ${mapping.prefix4} (RFC 7757, 3.2)`);
    this.bytes.set(six.address, row + Nat64Eam.at.prefix6);
    this.view.setUint32(row + Nat64Eam.at.prefix4, this.rawOf(four.address), true);
    this.bytes[row + Nat64Eam.at.bits6] = six.bits;
    this.bytes[row + Nat64Eam.at.bits4] = bits4;
  }

  private planTables(sizes: Sizes): Partial<Record<keyof typeof Nat64Tables.at, number>> {
    const bindingChains = powerOfTwo(sizes.bindings);
    const sessionChains = powerOfTwo(sizes.sessions);
    const heldBytes = Nat64HeldSyn.bytes + nat64Limits.NAT64_HELD_BYTES;
    return {
      pool: this.take(sizes.pool * 4),
      poolSize: sizes.pool,
      index6: this.take(bindingChains * 4),
      index4: this.take(bindingChains * 4),
      indexSession: this.take(sessionChains * 4),
      bindingMask: bindingChains - 1,
      sessionMask: sessionChains - 1,
      bindings: this.take((sizes.bindings + 1) * Nat64Binding.bytes),
      sessions: this.take((sizes.sessions + 1) * Nat64Session.bytes),
      bindingsMax: sizes.bindings + 1,
      sessionsMax: sizes.sessions + 1,
      bindingNext: 1,
      sessionNext: 1,
      fragments: this.take(nat64Limits.NAT64_FRAGMENT_SETS * 2 * Nat64Fragment.bytes),
      held: this.take(nat64Limits.NAT64_HELD_MAX * heldBytes),
      reassemblies: this.take(nat64Limits.NAT64_REASSEMBLIES * nat64Limits.NAT64_REASSEMBLY_SLOT),
      probes: this.take(nat64Limits.NAT64_PROBES_MAX * 4),
      ...(sizes.isShared ? this.planSubscribers(sizes, bindingChains) : {}),
      reasons: this.take(Object.keys(nat64ReasonEnum.members).length * 8),
    };
  }

  private planSubscribers(sizes: Sizes, chains: number): Partial<Record<keyof typeof Nat64Tables.at, number>> {
    return {
      subscribers: this.take((sizes.bindings + 1) * Nat64Subscriber.bytes),
      indexSubscriber: this.take(chains * 4),
      subscriberNext: 1,
    };
  }

  private writeTables(options: PoolOptions, plan: Partial<Record<keyof typeof Nat64Tables.at, number>>): void {
    const field = (name: keyof typeof Nat64Tables.at, value: number): void =>
      this.view.setUint32(this.tables + Nat64Tables.at[name], value, true);
    for (const [name, value] of Object.entries(plan)) field(name as keyof typeof Nat64Tables.at, value);
    for (const [index, text] of options.pool.entries())
      this.view.setUint32((plan.pool ?? 0) + index * 4, this.rawOf(ofFamily(text, 4)), true);
    const [first, last] = options.ports ?? [1024, 65_535];
    if (!(first >= 1 && first <= last && last <= 65_535))
      throw new RangeError('ports must be [first, last], 1 to 65535');
    field('portFirst', first);
    field('portLast', last);
    const { udp, tcpTransitory, tcpEstablished, icmp, fragment } = options.lifetimes ?? {};
    field('udpMs', lifetime('udp', udp, nat64Limits.NAT64_UDP_MS, nat64Limits.NAT64_UDP_MIN_MS));
    field('tcpTransitoryMs', lifetime('tcpTransitory', tcpTransitory, nat64Limits.NAT64_TCP_TRANSITORY_MS));
    field('tcpEstablishedMs', lifetime('tcpEstablished', tcpEstablished, nat64Limits.NAT64_TCP_ESTABLISHED_MS));
    field('icmpMs', lifetime('icmp', icmp, nat64Limits.NAT64_ICMP_MS));
    field('fragmentMs', lifetime('fragment', fragment, nat64Limits.NAT64_FRAGMENT_MS));
    const { prefixBits = 64, bindings, sessions } = options.perSubscriber ?? {};
    field('subscriberBits', countOf('perSubscriber.prefixBits', prefixBits, 1, 128));
    field('subscriberBindings', countOf('perSubscriber.bindings', bindings ?? ROWS_MAX, 1, ROWS_MAX));
    field('subscriberSessions', countOf('perSubscriber.sessions', sessions ?? ROWS_MAX, 1, ROWS_MAX));
    // Odd keys, so that every product keeps all bits of the word.
    for (const key of ['key0', 'key1', 'key2', 'key3', 'key4'] as const) {
      const random = crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
      this.view.setBigUint64(this.tables + Nat64Tables.at[key], random | 1n, true);
    }
  }
}

interface Sizes {
  readonly pool: number;
  readonly bindings: number;
  readonly sessions: number;
  /** Bindings are counted for each subscriber. */
  readonly isShared: boolean;
}

function sizesOf(options: PoolOptions): Sizes {
  const pool = options.pool.length;
  if (pool < 1 || pool > POOL_MAX) throw new RangeError(`pool must have 1 to ${POOL_MAX} addresses`);
  const bindings = options.bindings ?? 65_536;
  const sessions = options.sessions ?? bindings * 2;
  for (const [name, value] of [
    ['bindings', bindings],
    ['sessions', sessions],
  ] as const)
    if (!Number.isInteger(value) || value < 1 || value > ROWS_MAX)
      throw new RangeError(`${name} must be 1 to ${ROWS_MAX}`);
  return { pool, bindings, sessions, isShared: options.perSubscriber !== undefined };
}

const powerOfTwo = (least: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, least)));

function flagsOf(options: Nat64Options): number {
  const flags: readonly (readonly [boolean | undefined, number])[] = [
    [options.allowNonGlobal, Nat64Flag.AllowNonGlobal],
    [options.zeroChecksum === 'drop', Nat64Flag.DropZeroChecksum],
    [options.trafficClass === 'zero', Nat64Flag.ZeroTrafficClass],
    [options.stateful?.filtering === 'address-dependent', Nat64Flag.AddressDependent],
    [options.stateful?.refuseInbound, Nat64Flag.RefuseInbound],
    [options.hairpinning === 'simple', Nat64Flag.SimpleHairpin],
    [(options.hairpinning ?? 'intrinsic') === 'intrinsic', Nat64Flag.IntrinsicHairpin],
  ];
  return flags.reduce((bits, [isSet, bit]) => bits | (isSet === true ? bit : 0), 0);
}

function lifetime(name: string, given: number | undefined, usual: number, least = usual): number {
  const value = given ?? usual;
  if (!(value >= least && value < 2 ** 31))
    throw new RangeError(`lifetimes.${name} must be at least ${least} ms (RFC 6146)`);
  return value;
}

const mtuOf = (name: string, value: number, least: number): number => countOf(name, value, least, 65_535);

function countOf(name: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new RangeError(`${name} must be ${least} to ${most}`);
  return value;
}

function ofFamily(text: string, family: 4 | 6): Uint8Array {
  const address = parseAddress(text);
  if (isMapped(address) !== (family === 4)) throw new RangeError(`"${text}" is not an IPv${family} address`);
  return address;
}

/** A prefix of either family; `bits` counts in 128. Bits behind it must be zero. */
function prefixOf(text: string): { address: Uint8Array; bits: number } {
  const [head = '', length = ''] = text.split('/');
  const address = parseAddress(head);
  const most = isMapped(address) ? 32 : 128;
  if (!/^\d{1,3}$/.test(length) || Number(length) > most) throw new RangeError(`"${text}" is not a prefix`);
  const bits = Number(length) + 128 - most;
  for (let bit = bits; bit < 128; bit++)
    if (((address[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) throw new RangeError(`"${text}" has bits behind its length`);
  return { address, bits };
}

/** RFC 6052, 2.2: six lengths, and bits 64 to 71 are zero. */
function translationPrefix(text: string): { address: Uint8Array; bits: number } {
  const prefix = prefixOf(text);
  if (isMapped(prefix.address) || !PREFIX_BITS.includes(prefix.bits))
    throw new RangeError(`"${text}" must be an IPv6 prefix of length ${PREFIX_BITS.join(', ')} (RFC 6052)`);
  if ((prefix.address[8] ?? 0) !== 0) throw new RangeError(`Bits 64 to 71 of "${text}" must be zero (RFC 6052, 2.2)`);
  return prefix;
}
