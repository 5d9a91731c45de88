// NAT64 under the fuzzer: six translators with small tables, the packets that reach their steps, and what must hold after every packet.
// Reasons and verdicts are those of nat64.wasm; a translator follows from its number and the seed alone.
import { addressBytes, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { Nat64State, Nat64Tables, Nat64Verdict, nat64Limits } from '../layout/index.ts';
import { Nat64Memory, loadNat64Module } from '../src/nat64-memory.ts';
import type { Nat64Options, PoolOptions } from '../src/nat64-options.ts';
import { embedded, fragmentHeader, icmp, ipv4, withExtensions } from '../test/nat64/packets.ts';
import { Random } from './random.ts';
import { Layers, fault, word } from './wire.ts';

const POOL = '198.51.100.64';
const SERVER = '203.0.113.10';
const CLIENT = '2001:db8:1::10';
const HOST = '198.51.100.7';
const MAPPED = '192.0.2.1';
const CANARY = 0xa5;
const MARGIN = 256;
const HEADS = [64, 64, 64, 64, 128, 48, 20, 0];
const TAILS = [1400, 200, 200, 28, 1, 0];

const pool: PoolOptions = { pool: [POOL, '198.51.100.65'], bindings: 128, sessions: 200 };
const CONFIGURATIONS: readonly Nat64Options[] = [
  { mtu4: 700 },
  { prefix: '2001:db8:122:344::/64', mtu6: 1280, zeroChecksum: 'drop' },
  {
    mappings: [
      { prefix4: `${MAPPED}/32`, prefix6: `${CLIENT}/128` },
      { prefix4: '192.0.2.16/28', prefix6: '2001:db8:2::/64' },
    ],
  },
  { stateful: pool },
  {
    errorsPerSecond: 100,
    stateful: { ...pool, filtering: 'address-dependent', perSubscriber: { bindings: 20, sessions: 40 } },
  },
  {
    zeroChecksum: 'drop',
    trafficClass: 'zero',
    stateful: { ...pool, pool: [POOL], ports: [2000, 2031], refuseInbound: true },
  },
];
export const NAT64_CONFIGURATIONS: number = CONFIGURATIONS.length;

/** Settings that no packet may change, as ranges of the memory. */
type Range = readonly [from: number, to: number];

export class Nat64World {
  readonly memory: Nat64Memory;
  readonly seeds: readonly Buffer[];
  private readonly fixed: readonly Range[];
  private readonly before: readonly Buffer[];
  private readonly isStateful: boolean;
  private readonly layers = new Layers();
  private readonly read = new Layers();

  static async create(configuration: number, seed: number): Promise<Nat64World> {
    const options = CONFIGURATIONS[configuration % CONFIGURATIONS.length] as Nat64Options;
    const memory = new Nat64Memory({ own4: '192.0.2.254', own6: '2001:db8::fe', allowNonGlobal: true, ...options });
    await memory.open(await loadNat64Module());
    return new Nat64World(memory, options, seed);
  }

  private constructor(memory: Nat64Memory, options: Nat64Options, seed: number) {
    this.memory = memory;
    this.isStateful = options.stateful !== undefined;
    this.seeds = seedsFor(options);
    const random = new Random(seed, 64);
    memory.view.setUint32(memory.state + Nat64State.at.identification, random.next(), true);
    for (const key of ['key0', 'key1', 'key2', 'key3', 'key4'] as const) {
      const value = (BigInt(random.next()) << 32n) | BigInt(random.next()) | 1n;
      if (this.isStateful) memory.view.setBigUint64(memory.tables + Nat64Tables.at[key], value, true);
    }
    this.fixed = this.fixedRanges();
    this.before = this.fixed.map(([from, to]) => Buffer.from(memory.bytes.slice(from, to)));
  }

  table(field: keyof typeof Nat64Tables.at): number {
    return this.isStateful ? this.memory.view.getUint32(this.memory.tables + Nat64Tables.at[field], true) : 0;
  }

  counter(
    field: 'translated' | 'answered' | 'hairpins' | 'bindingsMade' | 'sessionsMade' | 'reassembled' | 'probed',
  ): number {
    if (!this.isStateful) return 0;
    return Number(this.memory.view.getBigUint64(this.memory.tables + Nat64Tables.at[field], true));
  }

  /** Settings of the state, mappings and scratch; addresses, keys and sizes of the tables; what lies behind the plan. */
  private fixedRanges(): Range[] {
    const { memory } = this;
    const { at } = Nat64State;
    const ranges: Range[] = [
      [memory.state, memory.state + at.roomStart],
      [memory.state + at.eam, memory.state + at.address],
      [memory.scratch, memory.scratch + 32],
      [memory.plannedBytes, memory.bytes.length],
    ];
    if (!this.isStateful) return ranges;
    const tables = Nat64Tables.at;
    const pools = this.table('pool');
    ranges.push(
      [memory.tables, memory.tables + tables.translated],
      [memory.tables + tables.pool, memory.tables + tables.bindingFree],
      [pools, pools + this.table('poolSize') * 4],
    );
    return ranges;
  }

  /** One packet in a room of random size; verdict, reason and what is sent. Throws at the first broken invariant. */
  run(packet: Uint8Array, random: Random, now: number): { verdict: number; reason: number; sent: Uint8Array[] } {
    const { memory } = this;
    const head = random.pick(HEADS);
    const at = memory.packetAt + MARGIN * 2 - head;
    const [start, end] = [at, at + head + packet.length + random.pick(TAILS)];
    memory.bytes.fill(CANARY, start - MARGIN, start);
    memory.bytes.fill(CANARY, end, end + MARGIN);
    memory.bytes.set(packet, at + head);
    memory.view.setUint32(memory.state + Nat64State.at.roomStart, start, true);
    memory.view.setUint32(memory.state + Nat64State.at.roomEnd, end, true);
    const verdict = memory.call('nat64Translate', memory.state, at + head, packet.length, now >>> 0);
    this.checkRoom(start, end);
    return { verdict, reason: memory.word(Nat64State.at.reason), sent: this.take(verdict, start, end) };
  }

  private checkRoom(start: number, end: number): void {
    const { bytes, state } = this.memory;
    for (let offset = 1; offset <= MARGIN; offset++)
      if (bytes[start - offset] !== CANARY || bytes[end + offset - 1] !== CANARY)
        throw new Error(`A byte beside the room was written, ${offset} away`);
    if (this.memory.word(Nat64State.at.roomStart) !== start || this.memory.word(Nat64State.at.roomEnd) !== end)
      throw new Error(`The room of the state at ${state} moved`);
  }

  private take(verdict: number, start: number, end: number): Uint8Array[] {
    const { memory } = this;
    if (verdict < 1 || verdict > 4) throw new Error(`${verdict} is no verdict`);
    if (verdict !== Nat64Verdict.Translated && verdict !== Nat64Verdict.Answered) return [];
    const [from, bytes] = [memory.word(Nat64State.at.address), memory.word(Nat64State.at.bytes)];
    const slots = this.table('reassemblies');
    const slotsEnd = slots + nat64Limits.NAT64_REASSEMBLIES * nat64Limits.NAT64_REASSEMBLY_SLOT;
    const isInside = (left: number, right: number): boolean => from >= left && from + bytes <= right;
    if (bytes < 20 || !(isInside(start, end) || (slots !== 0 && isInside(slots, slotsEnd))))
      throw new Error(`A result of ${bytes} bytes lies outside the room`);
    const mtu = memory.word(Nat64State.at.splitMtu);
    if (verdict === Nat64Verdict.Answered || mtu === 0) return [memory.bytes.slice(from, from + bytes)];
    const all = memory.call('nat64Split', memory.state, memory.out, memory.outBytes);
    return this.pieces(memory.bytes.slice(memory.out, memory.out + all), mtu);
  }

  private pieces(bytes: Uint8Array, mtu: number): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      const half = (offset: number): number =>
        ((bytes[at + offset] as number) << 8) | (bytes[at + offset + 1] as number);
      const length = (bytes[at] as number) >> 4 === 6 ? 40 + half(4) : half(2);
      if (length < 20 || length > mtu) throw new Error(`A piece of ${length} bytes for a link of ${mtu}`);
      pieces.push(bytes.subarray(at, at + length));
      at += length;
    }
    if (pieces.length < 2) throw new Error('One piece only');
    return pieces;
  }

  /** What is wrong with a sent packet, judged by code that shares nothing with the translator; undefined: nothing. */
  judge(input: Uint8Array, verdict: number, sent: Uint8Array): string | undefined {
    const version = (sent[0] as number) >> 4;
    if ((version === 6 ? 40 + word(sent, 4) : word(sent, 2)) !== sent.length) return 'its length is wrong';
    const family = (input[0] as number) >> 4;
    const turns = verdict === Nat64Verdict.Answered ? version === family : version !== family;
    if (!turns && !(verdict === Nat64Verdict.Translated && family === 6)) return 'it is of the wrong family';
    const layers = this.layers.read(sent, 0, sent.length);
    const wrong = fault(sent, layers);
    if (wrong === undefined || wrong === 'odd') return undefined;
    if (wrong === 'IPv4 header of layer 0') return wrong;
    const before = this.read.read(input, 0, input.length);
    if (verdict === Nat64Verdict.Answered) return wrong;
    if (fault(input, before) !== undefined || before.fragment[0] !== 0 || before.count !== layers.count)
      return undefined;
    // An authentication header is payload to a translator and a header to the judge.
    const isSame =
      before.protocol[0] === layers.protocol[0] || isIcmp(before.protocol[0]) === isIcmp(layers.protocol[0]);
    return isSame && layers.protocol[0] !== 51 && !isAuthenticated(sent) ? wrong : undefined;
  }

  /** Settings as they were, tables within their limits. */
  checkTables(): void {
    for (const [index, [from, to]] of this.fixed.entries())
      if (!(this.before[index] as Buffer).equals(this.memory.bytes.subarray(from, to)))
        throw new Error(`Settings between ${from} and ${to} were written`);
    for (const [used, most] of [
      ['bindingsUsed', 'bindingsMax'],
      ['sessionsUsed', 'sessionsMax'],
    ] as const)
      if (this.isStateful && this.table(used) >= this.table(most)) throw new Error(`${used} is ${this.table(used)}`);
    if (this.table('reassembling') > nat64Limits.NAT64_REASSEMBLIES) throw new Error('Too many datagrams wait');
  }

  /** After silence nothing is left. */
  checkSilence(now: number): void {
    if (!this.isStateful) return;
    for (let round = 1; round <= 4; round++)
      for (let step = 0; step < 2; step++)
        this.memory.call('nat64Expire', this.memory.state, (now + round * 8_000_000) >>> 0);
    for (const field of ['bindingsUsed', 'sessionsUsed', 'reassembling'] as const)
      if (this.table(field) !== 0) throw new Error(`${field} is ${this.table(field)} after hours of silence`);
  }
}

const isIcmp = (protocol: number | undefined): boolean => protocol === 1 || protocol === 58;
const isAuthenticated = (sent: Uint8Array): boolean => sent[(sent[0] as number) >> 4 === 6 ? 6 : 9] === 51;

/** Three fragments each of datagrams with one of four identifications. */
function fragments(source: string, destination: string, protocol: number, whole: Buffer): Buffer[] {
  const data = whole.subarray(source.includes(':') ? 40 : 20);
  return [0, 1, 2, 3].flatMap((id) =>
    [0, 240, 480].map((from) => {
      const l4 = { protocol, bytes: data.subarray(from, Math.min(data.length, from + 240)) };
      const more = from + 240 < data.length;
      if (!source.includes(':'))
        return ipv4(source, destination, l4, { id, fragment: (from >> 3) | (more ? 0x2000 : 0) });
      return withExtensions(ipPacket(source, destination, l4), [[44, fragmentHeader(from, more, id)]]);
    }),
  );
}

function seedsFor(options: Nat64Options): Buffer[] {
  const isStateful = options.stateful !== undefined;
  const inside = isStateful || options.mappings !== undefined ? CLIENT : under(options, HOST);
  const outside = isStateful ? POOL : options.mappings === undefined ? HOST : MAPPED;
  const server = under(options, SERVER);
  const body = Buffer.alloc(632, 'b');
  const ports = (bytes: Buffer) =>
    tcp({ sourcePort: 40_000, destinationPort: 80, payload: bytes, flags: 'S', mss: 1440 });
  const quote6 = ipPacket(server, inside, udp(53, 40_000, body));
  const quote4 = ipv4(outside, SERVER, udp(40_000, 53, body));
  const extension = Buffer.from('20000000000801010001e141', 'hex');
  const whole: Buffer[] = [
    ipPacket(inside, server, ports(Buffer.alloc(0))),
    ipPacket(inside, server, tcp({ sourcePort: 40_000, destinationPort: 80, payload: body })),
    ipPacket(inside, server, udp(40_000, 53, body)),
    ipPacket(inside, server, udp(40_000, 53, Buffer.alloc(1400))),
    ipPacket(inside, server, icmp(6, 128, 0, 0x40000001, body)),
    ipPacket(inside, under(options, outside), udp(40_000, 40_000, body)),
    ipPacket(inside, server, { protocol: 132, bytes: body }),
    ipPacket('2001:db8:ffff::1', server, icmp(6, 3, 0, 0, quote6)),
    ipPacket(inside, server, icmp(6, 1, 4, 19 << 24, Buffer.concat([quote6.subarray(0, 152), extension]))),
    withExtensions(ipPacket(inside, server, udp(40_000, 53, body)), [
      [0, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
      [43, Buffer.from([0, 0, 0, 0, 0, 0, 0, 0])],
      [60, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
    ]),
    ipv4(SERVER, outside, tcp({ sourcePort: 80, destinationPort: 40_000, flags: 'SA' })),
    ipv4(SERVER, outside, tcp({ sourcePort: 80, destinationPort: 40_000, flags: 'S' })),
    ipv4(SERVER, outside, udp(53, 40_000, body), { fragment: 0x4000 }),
    ipv4(SERVER, outside, udp(53, 40_000, Buffer.alloc(1450))),
    ipv4(SERVER, outside, { protocol: 17, bytes: udp(53, 40_000, body).bytes }),
    ipv4(SERVER, outside, udp(53, 40_000, body), { options: Buffer.from([131, 7, 4, 1, 2, 3, 4, 0]) }),
    ipv4(SERVER, outside, icmp(4, 0, 0, 0x40000001, body)),
    ipv4('192.0.2.99', outside, icmp(4, 3, 4, 1300, quote4)),
    ipv4('192.0.2.99', outside, icmp(4, 11, 0, 32 << 16, Buffer.concat([quote4.subarray(0, 128), extension]))),
  ];
  const parts = [
    ...fragments(inside, server, 17, ipPacket(inside, server, udp(40_000, 53, body))),
    ...fragments(inside, server, 58, ipPacket(inside, server, icmp(6, 128, 0, 0x40000001, body))),
    ...fragments(SERVER, outside, 17, ipv4(SERVER, outside, { protocol: 17, bytes: udp(53, 40_000, body).bytes })),
    ...fragments(SERVER, outside, 1, ipv4(SERVER, outside, icmp(4, 0, 0, 0x40000001, body))),
  ];
  // Whole packets thrice, so that fragments do not crowd them out.
  return [...whole, ...whole, ...whole, ...parts];
}

/** The IPv6 address of an IPv4 one under the prefix of the configuration. */
function under(options: Nat64Options, address: string): string {
  if (options.prefix === undefined) return embedded(address);
  const [a, b, c, d] = [...addressBytes(address)].map((octet) => octet.toString(16).padStart(2, '0'));
  return `2001:db8:122:344:00${a}:${b}${c}:${d}00:0`;
}
