// The campaign on nat64.wasm: sequences of packets through one translator, with answers to what it sent, errors about it, and time.
import { Nat64Verdict, nameOf, nat64ReasonEnum, nat64VerdictEnum } from '../layout/index.ts';
import type { First, Tally } from './campaign.ts';
import { answer, mutate, vary } from './mutate.ts';
import { Nat64World } from './nat64-world.ts';
import { Random } from './random.ts';
import { type Input, newInput } from './rig.ts';
import { Layers, repair, setWord } from './wire.ts';

export interface ToolEpoch {
  readonly seed: number;
  readonly epoch: number;
  readonly executions: number;
  /** Called for the first input of each (verdict, reason). */
  readonly onFirst?: (first: First) => void;
}

const RECENT = 64;
const OFTEN = 64;
const COUNTERS = ['hairpins', 'bindingsMade', 'sessionsMade', 'reassembled', 'probed'] as const;
const layers = new Layers();

/** Runs one epoch into a tally. Throws at the first broken invariant, with the packet and all that is needed to see it again. */
export async function runNat64Epoch(options: ToolEpoch, tally: Tally): Promise<void> {
  const world = await Nat64World.create(options.epoch, options.seed ^ options.epoch);
  const random = new Random(options.seed, options.epoch);
  const from = Date.now();
  const recent: Uint8Array[] = [];
  const input = newInput();
  // Every fourth epoch goes over the end of the 32-bit clock.
  let now = options.epoch % 4 === 3 ? 2 ** 32 - 60_000 : 1000;
  for (let count = 0; count < options.executions; count++) {
    now += random.once(2000) ? random.below(4_000_000) : random.below(20);
    choose(input, world, recent, random);
    const packet = input.bytes.slice(0, input.length);
    try {
      const { verdict, reason, sent } = world.run(packet, random, now);
      tell(tally, options, verdict, reason, packet);
      for (const one of sent) {
        const wrong = world.judge(packet, verdict, one);
        if (wrong !== undefined) throw new Error(`${wrong}: ${Buffer.from(one).toString('hex')}`);
        tally.judged++;
        if (one.length <= 1600) recent[random.below(RECENT)] = one;
      }
      if (count % OFTEN === 0) rest(world, now);
    } catch (error) {
      const where = `nat64, seed ${options.seed}, epoch ${options.epoch}, packet ${count} at ${now} ms`;
      throw new Error(`${where}: ${(error as Error).message}\n${Buffer.from(packet).toString('hex')}`, {
        cause: error,
      });
    }
  }
  world.checkSilence(now);
  for (const name of COUNTERS) tally.counters[name] = (tally.counters[name] ?? 0) + world.counter(name);
  tally.ms += Date.now() - from;
}

function tell(tally: Tally, options: ToolEpoch, verdict: number, reason: number, bytes: Uint8Array): void {
  const said = nameOf(nat64VerdictEnum, verdict);
  const why = nameOf(nat64ReasonEnum, reason);
  tally.executions++;
  tally.verdicts[said] = (tally.verdicts[said] ?? 0) + 1;
  if (reason !== 0) tally.reasons[why] = (tally.reasons[why] ?? 0) + 1;
  options.onFirst?.({ walk: 'nat64', verdict: said, reason: why, epoch: options.epoch, port: options.epoch, bytes });
}

/** Between packets: expiry, what is due, and the tables. */
function rest(world: Nat64World, now: number): void {
  const { memory } = world;
  if (world.table('sessionsMax') !== 0) {
    memory.call('nat64Expire', memory.state, now >>> 0);
    for (let count = 0; count < 400; count++)
      if (memory.call('nat64Due', memory.state, now >>> 0) === Nat64Verdict.None) break;
  }
  world.checkTables();
}

function choose(input: Input, world: Nat64World, recent: readonly Uint8Array[], random: Random): void {
  const kind = random.below(100);
  const last = recent[random.below(RECENT)];
  if (kind < 3) {
    input.length = random.below(200);
    for (let at = 0; at < input.length; at++) input.bytes[at] = random.next();
    return;
  }
  if (kind < 8 && input.length !== 0) return;
  lay(input, last === undefined || kind < 45 ? random.pick(world.seeds) : last);
  if (last !== undefined && kind >= 90) complain(input, random);
  else if (last !== undefined && kind >= 45) answer(input, false, random);
  else vary(input, false, random);
  if (random.once(3)) mutate(input, false, random, world.seeds);
}

function lay(input: Input, bytes: Uint8Array): void {
  input.bytes.set(bytes);
  input.length = bytes.length;
}

/** An ICMP error of some router about the packet in hand. */
function complain(input: Input, random: Random): void {
  const isV6 = (input.bytes[0] as number) >> 4 === 6;
  const header = isV6 ? 40 : 20;
  const quote = input.bytes.slice(0, Math.min(input.length, 28 + random.below(600)));
  const { bytes } = input;
  bytes.set(quote, header + 8);
  const source = quote.slice(isV6 ? 8 : 12, isV6 ? 24 : 16);
  bytes.fill(0, 0, header + 8);
  const types = isV6 ? [1, 2, 3, 4] : [3, 11, 12];
  bytes[header] = random.pick(types);
  bytes[header + 1] = random.below(6);
  setWord(bytes, header + 6, random.below(1600));
  input.length = header + 8 + quote.length;
  bytes[0] = isV6 ? 0x60 : 0x45;
  setWord(bytes, isV6 ? 4 : 2, isV6 ? input.length - 40 : input.length);
  bytes[isV6 ? 6 : 9] = isV6 ? 58 : 1;
  bytes[isV6 ? 7 : 8] = 60;
  bytes.set(isV6 ? quote.subarray(24, 40) : quote.subarray(16, 20), isV6 ? 8 : 12);
  bytes.set(source, isV6 ? 24 : 16);
  repair(bytes, layers.read(bytes, 0, input.length));
}

/** Verdict and reason of one packet in a fresh translator. */
export async function nat64OutcomeOf(configuration: number, packet: Uint8Array): Promise<string> {
  const world = await Nat64World.create(configuration, 1);
  const { verdict, reason } = world.run(packet, ROOMY, 1000);
  world.checkTables();
  return `${nameOf(nat64VerdictEnum, verdict)} ${nameOf(nat64ReasonEnum, reason)}`;
}

/** Chooses the first of everything: a room with space before and behind. */
class Roomy extends Random {
  override next(): number {
    return 0;
  }
}
const ROOMY = new Roomy(0);
