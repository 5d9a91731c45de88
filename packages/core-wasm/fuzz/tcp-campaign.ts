// The campaign on tcp.wasm: segments of conversations, mutated, through every tool, with cookies that are issued, proven and rotated. What one
// tool does another takes back, and the judge of checksums shares nothing with either.
import { type TcpOptions, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { PacketError } from '../src/standalone.ts';
import type { CookieKeys } from '../src/cookie.ts';
import { type TcpTools, createTcp } from '../src/tcp.ts';
import { WORKBENCH_START, type Workbench } from '../src/workbench.ts';
import type { Tally } from './campaign.ts';
import { mutate, vary } from './mutate.ts';
import type { ToolEpoch } from './nat64-campaign.ts';
import { Random } from './random.ts';
import { type Input, newInput } from './rig.ts';
import { Layers, fault } from './wire.ts';

const CANARY = 0xa5;
/** Where src/tcp.ts lays packets, what an answer may add, and how far behind it nothing may be written. */
const PACKET = WORKBENCH_START + 512;
const GROWTH = 128;
const GUARD = 2048;
const ENDS4 = { source: '198.51.100.7', destination: '203.0.113.10', sourcePort: 40_000, destinationPort: 80 };
const ENDS6 = { source: '2001:db8:1::10', destination: '2001:db8::80', sourcePort: 40_000, destinationPort: 80 };
const TOOLS = ['read', 'translate', 'toa', 'strip', 'proxy', 'synAck', 'cookie'] as const;
type Tool = (typeof TOOLS)[number];

const layers = new Layers();
/** True, unless it cannot be judged. */
const isTrue = (packet: Uint8Array): boolean | undefined => {
  const wrong = fault(packet, layers.read(packet, 0, packet.length));
  return wrong === 'odd' ? undefined : wrong === undefined;
};
const isEqual = (left: Uint8Array, right: Uint8Array): boolean => Buffer.from(left).equals(right);

function seeds(): Buffer[] {
  const payload = Buffer.alloc(200, 'p');
  const options: TcpOptions[] = [
    { flags: 'S', mss: 1460 },
    { flags: 'S' },
    { flags: 'A', payload },
    { flags: 'PA', payload },
    { flags: 'FA' },
    { flags: 'R' },
  ];
  // Options in full: MSS, SACK permitted, timestamps, window scale; SACK blocks; client addresses of all three kinds.
  const lists = [
    '020405b40402080a0000000100000000010303070',
    '0101080a000000020000000101010512000000010000000200000003000000040000',
    'fe080050c6336407c8080050c6336407',
    'fd14005020010db8000100000000000000000010',
    '0101010100ffff00',
  ].map((hex) => Buffer.from(hex.slice(0, hex.length & ~7), 'hex'));
  const segments = [
    ...options.map((one) => tcp({ sourcePort: 40_000, destinationPort: 80, ...one })),
    ...lists.map((list) =>
      withOptions(tcp({ sourcePort: 40_000, destinationPort: 80, flags: 'S', payload }).bytes, list),
    ),
  ];
  const packets = segments.flatMap((segment) =>
    [ENDS4, ENDS6].map(({ source, destination }) => ipPacket(source, destination, segment)),
  );
  return [...packets, ipPacket(ENDS4.source, ENDS4.destination, udp(40_000, 53, payload))];
}

function withOptions(segment: Buffer, list: Buffer): { protocol: number; bytes: Buffer; checksumAt: number } {
  const bytes = Buffer.concat([segment.subarray(0, 20), list, segment.subarray(20)]);
  bytes.writeUInt8(((20 + list.length) / 4) << 4, 12);
  return { protocol: 6, bytes, checksumAt: 16 };
}

/** Runs one epoch into a tally. Throws at the first broken invariant. */
export async function runTcpEpoch(options: ToolEpoch, tally: Tally): Promise<void> {
  const tools = await createTcp();
  const bench = (tools as unknown as { bench: Workbench }).bench;
  const random = new Random(options.seed, options.epoch);
  const kept = seeds();
  const input = newInput();
  const from = Date.now();
  const conversation = new Conversation(tools, random);
  for (let count = 0; count < options.executions; count++) {
    const tool = random.pick(TOOLS);
    choose(input, kept, random);
    const packet = input.bytes.slice(0, input.length);
    try {
      const behind = PACKET + packet.length + GROWTH;
      bench.bytes.fill(CANARY, behind, behind + GUARD);
      const said = outcome(tools, tool, packet, random, conversation);
      for (let at = behind; at < behind + GUARD; at++)
        if (bench.bytes[at] !== CANARY) throw new Error(`A byte ${at - behind + GROWTH} behind the packet was written`);
      tally.executions++;
      tally.verdicts[said] = (tally.verdicts[said] ?? 0) + 1;
      tally.reasons[tool] = (tally.reasons[tool] ?? 0) + 1;
      options.onFirst?.({ walk: 'tcp', verdict: said, reason: tool, epoch: options.epoch, port: 0, bytes: packet });
    } catch (error) {
      const where = `tcp, seed ${options.seed}, epoch ${options.epoch}, packet ${count}, ${tool}`;
      throw new Error(`${where}: ${(error as Error).message}\n${Buffer.from(packet).toString('hex')}`, {
        cause: error,
      });
    }
  }
  tally.judged += conversation.judged;
  tally.counters.proven = (tally.counters.proven ?? 0) + conversation.proven;
  tally.ms += Date.now() - from;
}

function choose(input: Input, kept: readonly Buffer[], random: Random): void {
  const seed = random.pick(kept);
  input.bytes.set(seed);
  input.length = seed.length;
  if (random.once(2)) vary(input, false, random);
  if (random.once(2)) mutate(input, false, random, kept);
}

/** What a tool made of the packet; a PacketError is a refusal, anything else that is thrown is a finding. */
function outcome(tools: TcpTools, tool: Tool, packet: Uint8Array, random: Random, conversation: Conversation): string {
  try {
    return USES[tool](tools, packet, random, conversation);
  } catch (error) {
    if (error instanceof PacketError) return 'Refused';
    throw error;
  }
}

type Use = (tools: TcpTools, packet: Uint8Array, random: Random, conversation: Conversation) => string;
const USES: Readonly<Record<Tool, Use>> = {
  read(tools, packet) {
    const { scale = 0, sack, isMalformed } = tools.readOptions(packet);
    if (scale > 14 || sack.length > 4) throw new Error(`Scale ${scale}, ${sack.length} blocks`);
    return isMalformed ? 'Malformed' : 'Read';
  },
  translate(tools, packet, random, conversation) {
    const [sequence, acknowledgment, tsval, tsecr] = [random.next(), random.next(), random.next(), random.next()];
    const there = tools.translate(packet, { sequence, acknowledgment, tsval, tsecr });
    conversation.judge(packet, there);
    const back = tools.translate(there, {
      sequence: -sequence,
      acknowledgment: -acknowledgment,
      tsval: -tsval,
      tsecr: -tsecr,
    });
    // Zero has two ways to be written in one's complement; a packet that was true is the same again.
    if (isTrue(packet) === true && !isEqual(back, packet)) throw new Error('There and back is another segment');
    return 'Translated';
  },
  toa(tools, packet, random, conversation) {
    const kind = random.pick([200, 253, 254] as const);
    const address = kind === 200 || (kind === 254 && random.once(2)) ? ENDS4.source : ENDS6.source;
    const wider = tools.insertToa(packet, { address, port: 40_000, kind });
    if (wider === undefined) return 'NoRoom';
    conversation.judge(packet, wider);
    if (tools.stripToa(wider).stripped === 0) throw new Error('The address that was put in is not found');
    return 'Inserted';
  },
  strip(tools, packet, _random, conversation) {
    const once = tools.stripToa(packet);
    conversation.judge(packet, once.packet);
    if (once.packet.length !== packet.length || tools.stripToa(once.packet).stripped !== 0)
      throw new Error('An address is left');
    return once.stripped === 0 ? 'Clean' : 'Stripped';
  },
  proxy(tools, packet, _random, conversation) {
    const isV6 = (packet[0] ?? 0) >> 4 === 6;
    const wider = tools.insertProxyHeader(packet, isV6 ? ENDS6 : ENDS4);
    if (wider === undefined) return 'NoRoom';
    if (wider.length !== packet.length + (isV6 ? 52 : 28))
      throw new Error(`${wider.length - packet.length} bytes more`);
    conversation.judge(packet, wider);
    return 'Inserted';
  },
  synAck: (_tools, packet, _random, conversation) => conversation.answer(packet),
  cookie: (_tools, packet, _random, conversation) => conversation.prove(packet),
};

/** Cookies that were issued, and their keys, which rotate. */
class Conversation {
  judged = 0;
  proven = 0;
  private keys: CookieKeys;
  private clock = 1000;
  private answered: Uint8Array | undefined;
  private readonly tools: TcpTools;
  private readonly random: Random;

  constructor(tools: TcpTools, random: Random) {
    this.tools = tools;
    this.random = random;
    this.keys = { epoch: 5, keys: [newKey(random), newKey(random), newKey(random)] };
  }

  /** True before, true after. */
  judge(before: Uint8Array, after: Uint8Array): void {
    if (isTrue(before) !== true) return;
    this.judged++;
    if (isTrue(after) === false) throw new Error(`A checksum is wrong: ${Buffer.from(after).toString('hex')}`);
  }

  answer(packet: Uint8Array): string {
    this.clock += this.random.below(1000);
    if (this.random.once(1000)) this.keys = nextKeys(this.keys, this.random);
    const reply = this.tools.synAck(packet, { keys: this.keys, mss: 1440, nowMs: this.clock });
    if (reply === undefined) return 'NoSyn';
    if (isTrue(reply) === false) throw new Error(`The answer is wrong: ${Buffer.from(reply).toString('hex')}`);
    this.judged++;
    this.answered = reply;
    return 'Answered';
  }

  /** The client's answer to what was issued last, or the packet as it is, which proves nothing. */
  prove(packet: Uint8Array): string {
    const isAnswer = this.answered !== undefined && this.random.once(2);
    const segment = isAnswer ? acknowledge(this.answered as Uint8Array) : packet;
    const said = this.tools.checkCookie(segment, { keys: this.keys });
    if (typeof said === 'string') return said;
    // A cookie has few bits: one in millions is guessed.
    if (!isAnswer) return 'Guessed';
    if (said.mss > 1460 || (said.scale ?? 0) > 14 || isTrue(said.syn) !== true) throw new Error('The SYN is wrong');
    this.proven++;
    this.judged++;
    return 'Proven';
  }
}

/** What a client sends back: ends change places, the numbers too, one further. */
function acknowledge(reply: Uint8Array): Buffer {
  const isV6 = (reply[0] as number) >> 4 === 6;
  const [header, source, size] = isV6 ? [40, 8, 16] : [20, 12, 4];
  const from = Buffer.from(reply);
  const back = Buffer.from(reply);
  from.copy(back, source, source + size, source + 2 * size);
  from.copy(back, source + size, source, source + size);
  from.copy(back, header, header + 2, header + 4);
  from.copy(back, header + 2, header, header + 2);
  from.copy(back, header + 4, header + 8, header + 12);
  back.writeUInt32BE((from.readUInt32BE(header + 4) + 1) >>> 0, header + 8);
  back.writeUInt8(0x10, header + 13);
  return back;
}

const newKey = (random: Random): Uint8Array => Uint8Array.from({ length: 16 }, () => random.next());

/** The epoch that follows. */
function nextKeys({ epoch, keys }: CookieKeys, random: Random): CookieKeys {
  return { epoch: epoch + 1, keys: [keys[1], keys[2], newKey(random)] };
}

/** Outcome of one packet in a fresh instance. */
export async function tcpOutcomeOf(tool: string, packet: Uint8Array): Promise<string> {
  const tools = await createTcp();
  const random = new Random(1);
  return outcome(tools, tool as Tool, packet, random, new Conversation(tools, random));
}
