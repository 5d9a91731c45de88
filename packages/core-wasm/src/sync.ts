// Cluster state as the main thread of a director sees it (data-plane.md P9): flows of its workers that the peers must hear of, and the
// standby table of the flows of others. Records carry stable ids; what slot an id has here is nobody's business but this file's.
import { FlowState, StandbyRow, StandbyState, limits, syncLimits } from '../layout/index.ts';
import { Core } from './core.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';
import type { Slots } from './slots.ts';

/** What one director tells another about a flow. Times are ages in milliseconds, so clocks need not agree. */
export interface SyncRecord {
  /** The flow has ended. */
  readonly isEnd: boolean;
  /** Stable ids. */
  readonly listener: bigint;
  readonly target: bigint;
  /** 16 bytes each, IPv4 as ::ffff:a.b.c.d. */
  readonly client: Uint8Array;
  readonly seen: Uint8Array;
  readonly clientHost: Uint8Array;
  readonly clientPort: number;
  readonly seenPort: number;
  readonly protocol: number;
  /** FlowState and FlowFlag bits. */
  readonly state: number;
  readonly flags: number;
  readonly inboundAgeMs: number;
  /** Of a flow whose target has never sent: NEVER. */
  readonly outboundAgeMs: number;
  readonly createdAgeMs: number;
  readonly epoch: number;
  readonly ordinal: number;
  readonly sequenceDelta: number;
  readonly timestampDelta: number;
}

export const NEVER = 0xffffffff;

type Wasm = Record<
  'begin' | 'sweep' | 'copyFlows' | 'copyStandby' | 'meetFlow' | 'take' | 'expire' | 'flowsEnd' | 'cursorAfter',
  (...values: number[]) => number
>;

/** `none` delays what should go at once, `all` delays nothing. */
export type SyncHaste = 'usual' | 'none' | 'all';
const HASTE: Readonly<Record<SyncHaste, number>> = { usual: 0, none: 1, all: 2 };

/** Records of one turn, and where to go on: -1 when everything was looked at. */
export interface SyncPage {
  readonly records: SyncRecord[];
  readonly next: number;
}

export class SyncTable {
  private readonly instances: readonly Wasm[];
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly state: number;
  private readonly buffer: number;
  private readonly slots: Slots;
  private listeners = new Map<bigint, number>();
  private targets = new Map<bigint, number>();
  private nowMs = 0;

  private constructor(plan: MemoryPlan, memory: LinearMemory, slots: Slots, instances: readonly Wasm[]) {
    this.instances = instances;
    this.slots = slots;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.state = plan.map.standby;
    this.buffer = this.word('buffer');
  }

  static async open(plan: MemoryPlan, memory: LinearMemory, slots: Slots): Promise<SyncTable> {
    const cores = await Promise.all(
      plan.workers.map((_, worker) => Core.open({ plan, memory, worker, artefact: 'sync' })),
    );
    const table = new SyncTable(
      plan,
      memory,
      slots,
      cores.map(({ exports }) => exports as unknown as Wasm),
    );
    const key = plan.map.standby + StandbyState.at.key0;
    if (table.view.getBigUint64(key, true) === 0n) table.bytes.set(crypto.getRandomValues(new Uint8Array(16)), key);
    return table;
  }

  get workers(): number {
    return this.instances.length;
  }

  /** Once a turn, before all else. False before the first image. */
  begin(nowMs: number): boolean {
    this.nowMs = nowMs;
    return this.instances.every((wasm) => wasm.begin(nowMs) !== 0);
  }

  /** After an image: what the ids of records are here, tombstones included, because their flows run on. */
  learnSlots(): void {
    const read = ({ live, gone }: ReturnType<Slots['targets']['all']>): Map<bigint, number> =>
      new Map([...gone, ...live].map(([id, slot]) => [BigInt(`0x${id}`), slot]));
    this.listeners = read(this.slots.listeners.all());
    this.targets = read(this.slots.targets.all());
  }

  /** The next `count` entries of a worker's flow table: what the peers must hear of now. */
  sweep(worker: number, from: number, count: number, haste: SyncHaste = 'usual'): SyncPage {
    return this.page(worker, (wasm) => wasm.sweep(from, count, HASTE[haste]));
  }

  /** Every flow of ours that is at least so old, for a peer that joins or before we leave. */
  copyFlows(worker: number, from: number, count: number, ageMs: number): SyncPage {
    return this.page(worker, (wasm) => wasm.copyFlows(from, count, ageMs));
  }

  /** The standby table itself, for a peer that joins. */
  copyStandby(from: number, count: number): SyncPage {
    const found = (this.instances[0] as Wasm).copyStandby(from, count);
    return { records: this.read(found), next: this.after(this.instances[0] as Wasm, this.word('fresh')) };
  }

  /** Takes in what a peer says. False: we know better, or there is no room. */
  take(record: SyncRecord): boolean {
    this.write(record);
    let isOurs = false;
    for (const wasm of this.instances) if (wasm.meetFlow(0) === 0) isOurs = true;
    return !isOurs && this.instances[0]!.take(0) !== 0;
  }

  /** Ends idle rows among the next `count`. */
  expire(count: number): number {
    return this.instances[0]!.expire(count);
  }

  /** Rows in use, and what has become of records. */
  counters(): Record<string, number> {
    const counters: Record<string, number> = { rows: this.word('count') };
    for (const [name, [type]] of Object.entries(StandbyState.fields)) {
      if (type !== 'u64' || name.startsWith('key')) continue;
      const at = this.state + StandbyState.at[name as keyof typeof StandbyState.at];
      counters[name] = Number(this.view.getBigUint64(at, true));
    }
    return counters;
  }

  private page(worker: number, call: (wasm: Wasm) => number): SyncPage {
    const wasm = this.instances[worker] as Wasm;
    const found = call(wasm);
    return { records: this.read(found), next: this.after(wasm, wasm.flowsEnd()) };
  }

  private after(wasm: Wasm, end: number): number {
    const cursor = wasm.cursorAfter() >>> 0;
    return cursor >= end >>> 0 ? -1 : cursor;
  }

  private word(field: keyof typeof StandbyState.at): number {
    return this.view.getUint32(this.state + StandbyState.at[field], true);
  }

  private read(count: number): SyncRecord[] {
    return Array.from({ length: Math.min(count, syncLimits.SYNC_ROWS) }, (_, index) => this.readOne(index));
  }

  private readOne(index: number): SyncRecord {
    const { at } = StandbyRow;
    const row = this.buffer + index * StandbyRow.bytes;
    const { view, bytes, nowMs } = this;
    const word = (field: keyof typeof at): number => view.getUint32(row + at[field], true);
    const age = (atMs: number): number => (nowMs - atMs) >>> 0;
    const outboundMs = word('outboundMs');
    return {
      isEnd: word('sequence') === 1,
      listener: view.getBigUint64(row + at.listener, true),
      target: view.getBigUint64(row + at.target, true),
      client: bytes.slice(row + at.client, row + at.client + 16),
      seen: bytes.slice(row + at.seen, row + at.seen + 16),
      clientHost: bytes.slice(row + at.clientHost, row + at.clientHost + 16),
      clientPort: view.getUint16(row + at.clientPort, true),
      seenPort: view.getUint16(row + at.seenPort, true),
      protocol: bytes[row + at.protocol] as number,
      state: bytes[row + at.state] as number,
      flags: view.getUint16(row + at.flags, true),
      inboundAgeMs: age(word('inboundMs')),
      outboundAgeMs: outboundMs === 0 ? NEVER : age(outboundMs),
      createdAgeMs: age(word('createdMs')),
      epoch: word('epoch'),
      ordinal: word('ordinal'),
      sequenceDelta: word('sequenceDelta'),
      timestampDelta: word('timestampDelta'),
    };
  }

  private write(record: SyncRecord): void {
    const { at } = StandbyRow;
    const { view, bytes, buffer: row, nowMs } = this;
    const word = (field: keyof typeof at, value: number): void => view.setUint32(row + at[field], value, true);
    const moment = (ageMs: number): number => (nowMs - ageMs) >>> 0;
    bytes.fill(0, row, row + StandbyRow.bytes);
    bytes.set(record.client, row + at.client);
    bytes.set(record.seen, row + at.seen);
    bytes.set(record.clientHost, row + at.clientHost);
    view.setBigUint64(row + at.listener, record.listener, true);
    view.setBigUint64(row + at.target, record.target, true);
    view.setUint16(row + at.clientPort, record.clientPort, true);
    view.setUint16(row + at.seenPort, record.seenPort, true);
    bytes[row + at.protocol] = record.protocol;
    // Half-open flows are never told; a row that is free would be lost.
    bytes[row + at.state] = record.state === FlowState.Free ? FlowState.Established : record.state;
    view.setUint16(row + at.flags, record.flags, true);
    word('inboundMs', moment(record.inboundAgeMs));
    word('outboundMs', record.outboundAgeMs === NEVER ? 0 : moment(record.outboundAgeMs));
    word('createdMs', moment(record.createdAgeMs));
    word('epoch', record.epoch);
    word('ordinal', record.ordinal);
    word('sequenceDelta', record.sequenceDelta);
    word('timestampDelta', record.timestampDelta);
    word('listenerSlot', this.listeners.get(record.listener) ?? limits.NONE);
    word('targetSlot', this.targets.get(record.target) ?? limits.NONE);
    word('sequence', record.isEnd ? 1 : 0);
  }
}
