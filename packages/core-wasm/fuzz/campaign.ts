// The campaign: epochs of bursts through a director's and an endpoint's walks, with state carried over packets, images that change under
// them, and every invariant asked after every burst. An epoch is a fresh memory; it follows from (seed, epoch) alone, so it replays.
import {
  PacketFlag,
  PacketRecord,
  Step,
  TraceRecord,
  Verdict,
  WorkerState,
  limits,
  nameOf,
  reasonEnum,
  stepEnum,
  verdictEnum,
} from '../layout/index.ts';
import type { Artefact } from '../src/index.ts';
import { DirectorWorld } from './director-world.ts';
import { EndpointWorld, type World } from './endpoint-world.ts';
import { FRAME_MAX, answer, mutate, startOf, vary } from './mutate.ts';
import { Random } from './random.ts';
import { newInput, type Input, type Rig } from './rig.ts';
import { Layers, fault, ipOffset } from './wire.ts';

export interface EpochOptions {
  readonly walk: 'director' | 'endpoint';
  readonly seed: number;
  readonly epoch: number;
  readonly executions: number;
  /** Instances that get the same packets and must agree byte for byte; the first is the one that is counted. */
  readonly artefacts: readonly Artefact[];
  /** Byte of the guards of each; with different ones a read outside shows as a difference. The same for all by default. */
  readonly fills?: readonly number[];
  /** One in so many forwarded packets is judged by the independent checker and the oracle. */
  readonly judgeOnceIn?: number;
  /** Called with every judged frame that was sent, when all checksums were true before. */
  readonly onSent?: (frame: Uint8Array) => void;
  /** Called for the first input of each (verdict, reason). */
  readonly onFirst?: (first: First) => void;
}

export interface First {
  readonly walk: string;
  readonly verdict: string;
  readonly reason: string;
  readonly epoch: number;
  readonly port: number;
  readonly bytes: Uint8Array;
}

export class Tally {
  executions = 0;
  judged = 0;
  compared = 0;
  flips = 0;
  /** Milliseconds of wall time. */
  ms = 0;
  readonly verdicts: Record<string, number> = {};
  readonly reasons: Record<string, number> = {};
  /** Packets whose trace was read, and how many of them reached a step. */
  traced = 0;
  readonly steps: Record<string, number> = {};
  readonly counters: Record<string, number> = {};
}

const RECENT = 256;
const FLIP_EVERY_BURSTS = 200;
const add = (table: Record<string, number>, name: string, count = 1): void => {
  table[name] = (table[name] ?? 0) + count;
};

/** Runs one epoch into a tally. Throws at the first broken invariant, with all that is needed to see it again. */
export async function runEpoch(options: EpochOptions, tally: Tally): Promise<void> {
  const world: World = options.walk === 'director' ? new DirectorWorld() : await EndpointWorld.create();
  for (const [index, artefact] of options.artefacts.entries())
    await world.open(artefact, options.seed ^ options.epoch, options.fills?.[index] ?? 0xa5);
  const epoch = new Epoch(world, options, tally);
  const from = Date.now();
  try {
    epoch.run();
  } catch (error) {
    const where = `${options.walk}, seed ${options.seed}, epoch ${options.epoch}, packet ${epoch.sent}, ${options.artefacts.join('+')}`;
    throw new Error(`${where}: ${(error as Error).message}${epoch.dump()}`, { cause: error });
  }
  tally.ms += Date.now() - from;
}

class Epoch {
  sent = 0;
  private readonly world: World;
  private readonly options: EpochOptions;
  private readonly tally: Tally;
  private readonly random: Random;
  private readonly inputs: Input[] = Array.from({ length: limits.BURST_MAX }, newInput);
  private readonly recent: Input[] = [];
  private readonly layers = new Layers();
  private readonly seen = new Set<number>();
  private readonly verdicts = new Uint32Array(8);
  private readonly reasons = new Uint32Array(limits.REASONS_MAX);
  private suspect = -1;
  private nowMs: number;
  /** Milliseconds that a burst may take; in every fifth epoch so few that rates are exceeded. */
  private readonly pace: number;

  constructor(world: World, options: EpochOptions, tally: Tally) {
    this.world = world;
    this.options = options;
    this.tally = tally;
    this.random = new Random(options.seed, options.epoch);
    // Every fourth epoch lets the 32-bit clock wrap.
    this.nowMs = options.epoch % 4 === 3 ? 0xffffffff - 20_000 : 1000;
    this.pace = options.epoch % 5 === 4 ? 2 : 8;
  }

  run(): void {
    for (let burst = 0; this.sent < this.options.executions; burst++) {
      const count = this.random.once(8) ? 1 + this.random.below(limits.BURST_MAX) : limits.BURST_MAX;
      this.burst(Math.min(count, this.options.executions - this.sent), burst);
      if (burst % FLIP_EVERY_BURSTS === FLIP_EVERY_BURSTS - 1) {
        this.world.flip(this.random, this.nowMs);
        this.tally.flips++;
      }
      this.nowMs = (this.nowMs + this.random.below(this.random.once(512) ? 100_000 : this.pace)) >>> 0;
    }
    for (const rig of this.world.rigs) rig.checkCounters();
    this.world.finish(this.nowMs);
    this.settle();
  }

  private burst(count: number, number: number): void {
    const { rigs } = this.world;
    for (let index = 0; index < count; index++) {
      const input = this.inputs[index] as Input;
      this.make(input, index === 0 ? undefined : this.inputs[index - 1]);
      for (const rig of rigs) rig.place(index, input);
    }
    let records = 0;
    for (const rig of rigs) {
      records = rig.run(count, this.nowMs);
      rig.checkGuards(count, number % 64 === 0);
      if (rig.walk === 'director') rig.core.expireFlows(this.nowMs);
    }
    for (let index = 0; index < records; index++) this.look(index, count);
    if (rigs.length > 1) this.compare(records);
    if (number % 1024 === 0) for (const rig of rigs) rig.checkCounters();
    this.trace();
    this.sent += count;
    this.suspect = -1;
  }

  /** An answer to what was sent, a seed that opens or follows a flow, the last packet again, or noise; often with a mutation. */
  private make(input: Input, previous: Input | undefined): void {
    const { random, world } = this;
    const kind = random.below(100);
    input.flags = random.once(200) ? PacketFlag.PartialChecksum : 0;
    input.headroom = random.once(16) ? 16 + random.below(280) : 128;
    if (kind < 42 && this.recent.length > 0) {
      copy(random.pick(this.recent), input);
      answer(input, world.isEthernet(input.port), random);
    } else if (kind < 92 || previous === undefined) {
      const seed = random.below(world.seeds.length);
      const bytes = world.seeds[seed] as Uint8Array;
      input.bytes.set(bytes);
      input.length = bytes.length;
      input.port = world.port(random, seed);
      vary(input, world.isEthernet(input.port), random);
    } else if (kind < 98) copy(previous, input);
    else {
      input.length = random.below(random.once(2) ? 100 : FRAME_MAX);
      for (let at = 0; at < input.length; at += 4) input.bytes[at] = random.next();
      input.port = world.port(random, 0);
    }
    if (random.below(100) < 38) mutate(input, world.isEthernet(input.port), random, world.seeds);
    if (input.length + input.headroom > limits.CHUNK_BYTES) input.headroom = limits.CHUNK_BYTES - input.length;
  }

  private look(index: number, count: number): void {
    const rig = this.world.rigs[0] as Rig;
    const { core } = rig;
    this.suspect = Math.min(index, count - 1);
    rig.checkRecord(index, count);
    const record = core.record(index);
    const verdict = core.bytes[record + PacketRecord.at.verdict] as number;
    const reason = core.bytes[record + PacketRecord.at.reason] as number;
    const isReceived = index < count;
    if (isReceived) {
      this.verdicts[verdict] = (this.verdicts[verdict] as number) + 1;
      this.reasons[reason] = (this.reasons[reason] as number) + 1;
      this.first(verdict, reason, this.inputs[index] as Input);
    }
    if (verdict !== Verdict.Forward) return;
    if (isReceived && this.random.once(4)) this.keep(rig, index, record);
    if (!this.random.once(this.options.judgeOnceIn ?? 32)) return;
    if (isReceived) this.judge(rig, index, record, this.inputs[index] as Input);
    this.tally.judged++;
  }

  private first(verdict: number, reason: number, input: Input): void {
    const key = verdict * 256 + reason;
    if (this.options.onFirst === undefined || this.seen.has(key)) return;
    this.seen.add(key);
    this.options.onFirst({
      walk: this.options.walk,
      verdict: nameOf(verdictEnum, verdict),
      reason: nameOf(reasonEnum, reason),
      epoch: this.options.epoch,
      port: input.port,
      bytes: input.bytes.slice(0, input.length),
    });
  }

  /** Remembers a sent frame, so that it can be answered. */
  private keep(rig: Rig, index: number, record: number): void {
    const frame = rig.core.frame(index);
    if (frame.length > FRAME_MAX) return;
    let slot = this.recent[this.random.below(RECENT)];
    if (slot === undefined || this.recent.length < RECENT) {
      slot = newInput();
      this.recent.push(slot);
    }
    slot.bytes.set(frame);
    slot.length = frame.length;
    slot.port = rig.core.bytes[record + PacketRecord.at.portOut] as number;
  }

  /** Independent of the core: checksums are true when they came in true, and the images allow the way out. */
  private judge(rig: Rig, index: number, record: number, input: Input): void {
    const { world, layers } = this;
    const output = rig.core.frame(index);
    const portOut = rig.core.bytes[record + PacketRecord.at.portOut] as number;
    const wrong = world.judge(input.bytes, input.length, output, input.port, portOut);
    if (wrong !== undefined) throw new Error(`sent where it must not go: ${wrong}`);
    if (input.flags !== 0) return;
    const from = world.isEthernet(input.port) ? ipOffset(input.bytes, input.length) : 0;
    if (from === 0 && world.isEthernet(input.port)) return;
    if (fault(input.bytes, layers.read(input.bytes, from, input.length)) !== undefined) return;
    const to = world.isEthernet(portOut) ? startOf(output, true) : 0;
    const broken = fault(output, layers.read(output, to, output.length));
    if (broken !== undefined) throw new Error(`a wrong checksum was sent: ${broken}`);
    this.options.onSent?.(output);
  }

  /** All rigs got the same packets: verdicts, reasons, ways out and bytes must be the same. */
  private compare(records: number): void {
    const [left, ...others] = this.world.rigs as [Rig, ...Rig[]];
    for (let index = 0; index < records; index++) {
      const frame = Buffer.from(left.core.frame(index));
      for (const right of others) {
        this.tally.compared++;
        const isSame =
          left.core.verdict(index) === right.core.verdict(index) &&
          left.core.reason(index) === right.core.reason(index) &&
          (left.core.verdict(index) !== Verdict.Forward || frame.equals(right.core.frame(index)));
        if (isSame) continue;
        this.suspect = Math.min(index, limits.BURST_MAX - 1);
        const say = (rig: Rig): string =>
          `${rig.artefact} ${rig.core.verdict(index)}/${rig.core.reason(index)} ${Buffer.from(rig.core.frame(index)).toString('hex')}`;
        throw new Error(`the artefacts differ at packet ${index}: ${say(left)} and ${say(right)}`);
      }
    }
  }

  /** Steps of the last packet of the burst: the trace of one packet stays until the next. */
  private trace(): void {
    const { core, artefact } = this.world.rigs[0] as Rig;
    if (this.options.walk !== 'director' || (artefact !== 'trace' && artefact !== 'check')) return;
    this.tally.traced++;
    const count = core.view.getUint32(core.worker.state + WorkerState.at.trace, true);
    let reached = 0;
    for (let at = 0; at < count; at++)
      reached |= 1 << (core.bytes[core.worker.trace + at * TraceRecord.bytes + TraceRecord.at.step] as number);
    for (const step of Object.values(Step)) if (reached & (1 << step)) add(this.tally.steps, nameOf(stepEnum, step));
  }

  private settle(): void {
    const { tally } = this;
    tally.executions += this.sent;
    for (const [verdict, count] of this.verdicts.entries())
      if (count > 0) add(tally.verdicts, nameOf(verdictEnum, verdict), count);
    for (const [reason, count] of this.reasons.entries())
      if (count > 0 && reason > 0) add(tally.reasons, nameOf(reasonEnum, reason), count);
    for (const [name, count] of Object.entries(this.world.counters())) add(tally.counters, name, count);
  }

  /** The input under suspicion, for the message. */
  dump(): string {
    const input = this.inputs[this.suspect];
    if (input === undefined) return '';
    const hex = Buffer.from(input.bytes.subarray(0, input.length)).toString('hex');
    return `\n  input: port ${input.port}, headroom ${input.headroom}, flags ${input.flags}, now ${this.nowMs}, ${hex}`;
  }
}

function copy(from: Input, to: Input): void {
  to.bytes.set(from.bytes.subarray(0, from.length));
  to.length = from.length;
  to.port = from.port;
}
