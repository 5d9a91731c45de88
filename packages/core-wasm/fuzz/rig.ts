// One core under fuzz: its memory with guard bytes around every region of the plan and around every chunk, and the burst that is run in
// it. A byte that changes in a guard is a write outside; two rigs with different guards that disagree are a read outside.
import { LAYOUT_HASH, MemoryMap, PacketRecord, Verdict, WorkerMap, WorkerState, limits } from '../layout/index.ts';
import { Core, type Artefact, type LinearMemory, type MemoryPlan, type PlanOptions } from '../src/index.ts';
import { allocate, planMemory } from '../src/plan.ts';
import { word } from './wire.ts';

const GUARD = 4096;
const IS_ADDRESS = /^(Address of|Region of|Ring areas|Image bank|Live table)/;

/** One packet on its way into a rig: the frame begins at `bytes[0]`. */
export interface Input {
  readonly bytes: Uint8Array;
  length: number;
  port: number;
  headroom: number;
  flags: number;
}

export const newInput = (): Input => ({ bytes: new Uint8Array(4096), length: 0, port: 0, headroom: 128, flags: 0 });

type Fields = Record<string, readonly [string, string]>;
const addressFields = (fields: object): string[] =>
  Object.entries(fields as Fields)
    .filter(([name, [, meaning]]) => name !== 'workerMaps' && IS_ADDRESS.test(meaning))
    .map(([name]) => name);

/** The same plan with GUARD bytes in front of every region. Returns where the guards begin as well. */
function guarded(plan: MemoryPlan): { plan: MemoryPlan; guards: number[] } {
  type Values = Record<string, number>;
  const parts: readonly (readonly [Values, string[]])[] = [
    [plan.map as unknown as Values, addressFields(MemoryMap.fields)],
    ...[...plan.workers, plan.explainer].map(
      (worker) => [worker as unknown as Values, addressFields(WorkerMap.fields)] as const,
    ),
  ];
  const starts = [...new Set(parts.flatMap(([values, names]) => names.map((name) => values[name] ?? 0)))]
    .filter((start) => start > 0)
    .sort((a, b) => a - b);
  const rank = (address: number): number => starts.filter((start) => start <= address).length;
  const shift = (address: number): number => (address === 0 ? 0 : address + GUARD * rank(address));
  const move = <T>(values: T, names: string[]): T => {
    const copy: Values = { ...(values as Values) };
    for (const name of names) copy[name] = shift(copy[name] ?? 0);
    return copy as T;
  };
  const worker = (old: MemoryPlan['explainer']) => ({
    ...move(old, addressFields(WorkerMap.fields)),
    ports: old.ports.map((port) => ({ ...port, ...move(port, []), state: shift(port.state), area: shift(port.area) })),
  });
  const pages = plan.pages + Math.ceil((GUARD * (starts.length + 1)) / 65536);
  return {
    plan: {
      ...plan,
      pages,
      map: { ...move(plan.map, addressFields(MemoryMap.fields)), pages },
      workers: plan.workers.map(worker),
      explainer: worker(plan.explainer),
    },
    guards: [...starts.map((start) => shift(start) - GUARD), pages * 65536 - GUARD],
  };
}

export class Rig {
  readonly core: Core;
  readonly plan: MemoryPlan;
  readonly walk: 'director' | 'endpoint';
  readonly artefact: Artefact;
  received = 0;
  private readonly guards: number[];
  private readonly even: Buffer;
  private readonly memory: Buffer;
  private readonly fill: number;

  private constructor(core: Core, walk: 'director' | 'endpoint', artefact: Artefact, guards: number[], fill: number) {
    this.core = core;
    this.plan = core.plan;
    this.walk = walk;
    this.artefact = artefact;
    this.guards = guards;
    this.fill = fill;
    this.even = Buffer.alloc(GUARD, fill);
    this.memory = Buffer.from(core.bytes.buffer as ArrayBuffer);
    for (const guard of guards) this.memory.fill(fill, guard, guard + GUARD);
    this.clear();
  }

  /** `fill` is the byte of guards and unused room; everything random about the core follows from the seed. */
  static async open(
    walk: 'director' | 'endpoint',
    artefact: Artefact,
    sizes: PlanOptions,
    seed: number,
    fill: number,
    prepare: (plan: MemoryPlan, memory: LinearMemory) => void = () => {},
  ): Promise<Rig> {
    const { plan, guards } = guarded(planMemory({ ...sizes, injectChunks: 2 * limits.BURST_MAX + 1 }));
    const memory = allocate(plan, artefact === 'shared' || artefact === 'trace' ? 'shared' : 'plain');
    const view = new DataView(memory.buffer);
    const state = (plan.workers[0] as MemoryPlan['explainer']).state;
    view.setBigUint64(state + WorkerState.at.sipKey0, BigInt(seed >>> 0) + 1n, true);
    view.setBigUint64(state + WorkerState.at.sipKey1, 0x1234567890abcdefn, true);
    prepare(plan, memory);
    const core = await Core.open({ memory, plan, worker: 0, artefact });
    if (core.view.getUint32(plan.mapAddress + MemoryMap.at.layoutHash, true) !== LAYOUT_HASH >>> 0)
      throw new Error('The memory map was overwritten while the guards were laid');
    return new Rig(core, walk, artefact, guards, fill);
  }

  /** Chunk of the n-th packet: every second one, so that guards lie on both sides. */
  chunk(index: number): number {
    return this.core.worker.injectChunk + (2 * index + 1) * limits.CHUNK_BYTES;
  }

  private clear(): void {
    const { slab, injectChunk, extraChunk } = this.core.worker;
    this.memory.fill(this.fill, slab + injectChunk, slab + extraChunk + limits.EXTRA_MAX * limits.CHUNK_BYTES);
  }

  place(index: number, input: Input): void {
    const { core } = this;
    const record = core.record(index);
    const address = this.chunk(index) + input.headroom;
    this.memory.fill(0, record, record + PacketRecord.bytes);
    core.view.setUint32(record + PacketRecord.at.address, address, true);
    core.view.setUint32(record + PacketRecord.at.length, input.length, true);
    core.view.setUint32(record + PacketRecord.at.chunk, this.chunk(index), true);
    core.view.setUint16(record + PacketRecord.at.flags, input.flags, true);
    core.bytes[record + PacketRecord.at.portIn] = input.port;
    const from = core.worker.slab + this.chunk(index);
    this.memory.fill(this.fill, from, from + limits.CHUNK_BYTES);
    core.bytes.set(input.bytes.subarray(0, input.length), core.worker.slab + address);
  }

  /** Runs the walk over the placed packets. Returns how many records there are afterwards. */
  run(count: number, nowMs: number): number {
    this.received += count;
    let records = count;
    if (this.walk === 'director') records = this.core.forwardBurst(count, nowMs);
    else this.core.endpointBurst(count, nowMs);
    return records;
  }

  /** Throws when a record is without verdict or outside its chunk. */
  checkRecord(index: number, count: number): void {
    const { core } = this;
    const record = core.record(index);
    const verdict = core.bytes[record + PacketRecord.at.verdict] as number;
    if (verdict < Verdict.Forward || verdict > Verdict.Held) throw new Error(`verdict ${verdict} of packet ${index}`);
    const address = core.view.getUint32(record + PacketRecord.at.address, true);
    const length = core.view.getUint32(record + PacketRecord.at.length, true);
    const chunk = index < count ? this.chunk(index) : core.worker.extraChunk + (index - count) * limits.CHUNK_BYTES;
    if (address < chunk || address + length > chunk + limits.CHUNK_BYTES)
      throw new Error(`packet ${index} lies at ${address}+${length}, its chunk at ${chunk}`);
  }

  /** Throws when a guard between chunks or, when asked, around a region has changed. */
  checkGuards(count: number, isThorough: boolean): void {
    const { slab, injectChunk } = this.core.worker;
    for (let index = 0; index <= count; index++) {
      const from = slab + injectChunk + 2 * index * limits.CHUNK_BYTES;
      if (this.memory.compare(this.even, 0, limits.CHUNK_BYTES, from, from + limits.CHUNK_BYTES) !== 0)
        throw new Error(`written beside the chunk of packet ${index}`);
    }
    const bytes = isThorough ? GUARD : 64;
    for (const guard of this.guards) {
      const isWhole =
        this.memory.compare(this.even, 0, bytes, guard, guard + bytes) === 0 &&
        this.memory.compare(this.even, 0, bytes, guard + GUARD - bytes, guard + GUARD) === 0;
      if (!isWhole) throw new Error(`written into the guard at ${guard}`);
    }
  }

  /** Throws when packets are counted twice or not at all. */
  checkCounters(): void {
    const { received = 0, added = 0, ...ends } = this.core.counters();
    if (received !== this.received) throw new Error(`${this.received} packets went in and ${received} were counted`);
    const { forwarded = 0, dropped = 0, punted = 0, consumed = 0, held = 0 } = ends;
    const sum = forwarded + dropped + punted + consumed + held;
    if (sum !== received + added) throw new Error(`received ${received} + added ${added}, but ends are ${sum}`);
    const reasons = Object.entries(ends).reduce((all, [name, n]) => (name.startsWith('reason.') ? all + n : all), 0);
    if (reasons !== sum - forwarded) throw new Error(`${sum - forwarded} not forwarded, but reasons count ${reasons}`);
    if ((ends['reason.WalkBug'] ?? 0) > 0) throw new Error('a walk ended without a verdict (WalkBug)');
  }

  /** EtherType of a frame in place; for messages. */
  etherType(index: number): number {
    return word(this.core.frame(index), 12);
  }
}
