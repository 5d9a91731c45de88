// The flow tables of the workers, looked at while they are in use: pages for `clb ld flows`, counts for `clb ld list`.
// A page reads a bounded number of entries and gives the turn back, so neither packets nor the main thread ever wait for it.
import { type MemoryPlan } from '@openclb/core-wasm';
import { FlowEntry, FlowFlag, FlowState, WorkerState, flowStateEnum } from '@openclb/core-wasm/layout';
import { type LookFilter, type LookFlow } from '@openclb/model';
import { type FlowMatch, flowMatch } from './filter.ts';
import { type ListenerFacts, type MemoryRows, type TargetFacts, namer, protocolName } from './memory-rows.ts';

/** Entries that one page looks at: below 10 ms on an idle core. */
export const SCAN_ENTRIES_MAX = 131_072;
const COUNT_SLICE = 65_536;

export interface FlowPage {
  readonly rows: readonly LookFlow[];
  readonly next: number | null;
}

export interface ActiveCounts {
  /** By target slot, within a listener slot: `listener * 2^32 + target`. */
  of(listener: number, target: number): { active: number; inactive: number };
}

const { at } = FlowEntry;
const stateOf = namer(flowStateEnum);
const ACTIVE: ReadonlySet<number> = new Set([FlowState.Established, FlowState.DatagramReplied]);

/** Flows from entry `cursor` on, counted through all workers; `limit` of them at most. */
export function readFlows(
  plan: MemoryPlan,
  rows: MemoryRows,
  filter: LookFilter,
  { cursor, limit, nowMs }: { cursor: number; limit: number; nowMs: number },
): FlowPage {
  const match = flowMatch(filter);
  const facts = factsCache(rows);
  const found: LookFlow[] = [];
  let looked = 0;
  for (let place = cursor; ;) {
    const spot = locate(plan, rows, place);
    if (spot === null) return { rows: found, next: null };
    if (found.length >= limit || looked >= SCAN_ENTRIES_MAX) return { rows: found, next: spot.place };
    const entry = spot.flows + spot.index * FlowEntry.bytes;
    const flow = readFlow(rows, facts, match, entry, spot.worker, nowMs);
    if (flow !== null) found.push(flow);
    looked++;
    place = spot.place + 1;
  }
}

/** Counts every flow by listener and target; gives the turn back after each slice. */
export async function countActive(plan: MemoryPlan, rows: MemoryRows): Promise<ActiveCounts> {
  const counts = new Map<number, { active: number; inactive: number }>();
  const { view } = rows;
  let looked = 0;
  for (const worker of plan.workers) {
    const used = view.getUint32(worker.state + WorkerState.at.flowFresh, true);
    for (let index = 0; index < Math.min(used, worker.flowsMax); index++) {
      if (++looked % COUNT_SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
      const entry = worker.flows + index * FlowEntry.bytes;
      const state = view.getUint8(entry + at.state);
      if (state === FlowState.Free) continue;
      const key = keyOf(view.getUint32(entry + at.listener, true), view.getUint32(entry + at.target, true));
      const count = counts.get(key) ?? { active: 0, inactive: 0 };
      if (ACTIVE.has(state)) count.active++;
      else count.inactive++;
      counts.set(key, count);
    }
  }
  return { of: (listener, target) => counts.get(keyOf(listener, target)) ?? { active: 0, inactive: 0 } };
}

function keyOf(listener: number, target: number): number {
  return listener * 1_048_576 + target;
}

/** Which entry of which worker a place is; places beyond what a worker has ever used are jumped over. */
function locate(
  plan: MemoryPlan,
  { view }: MemoryRows,
  place: number,
): { worker: number; flows: number; index: number; place: number } | null {
  let from = 0;
  for (const [worker, { flows, flowsMax, state }] of plan.workers.entries()) {
    const used = Math.min(flowsMax, view.getUint32(state + WorkerState.at.flowFresh, true));
    const index = Math.max(0, place - from);
    if (index < used) return { worker, flows, index, place: from + index };
    from += flowsMax;
  }
  return null;
}

interface Facts {
  listener(slot: number): ListenerFacts;
  target(slot: number): TargetFacts;
}

/** A page has many flows and few listeners. */
function factsCache(rows: MemoryRows): Facts {
  const listeners = new Map<number, ListenerFacts>();
  const targets = new Map<number, TargetFacts>();
  return {
    listener(slot) {
      const known = listeners.get(slot) ?? rows.listener(slot);
      listeners.set(slot, known);
      return known;
    },
    target(slot) {
      const known = targets.get(slot) ?? rows.target(slot);
      targets.set(slot, known);
      return known;
    },
  };
}

function readFlow(
  rows: MemoryRows,
  facts: Facts,
  match: FlowMatch,
  entry: number,
  worker: number,
  nowMs: number,
): LookFlow | null {
  const { view } = rows;
  const state = view.getUint8(entry + at.state);
  if (state === FlowState.Free || !match.state(stateOf(state)) || !match.client(view, entry + at.client)) return null;
  const listener = facts.listener(view.getUint32(entry + at.listener, true));
  const target = facts.target(view.getUint32(entry + at.target, true));
  const protocol = protocolName(view.getUint8(entry + at.protocol));
  if (!match.protocol(protocol) || !match.vip(listener.vip, listener.vport)) return null;
  if (!match.target(target.address, target.port)) return null;
  const [inboundMs, outboundMs] = [
    view.getUint32(entry + at.inboundMs, true),
    view.getUint32(entry + at.outboundMs, true),
  ];
  const sinceOutbound = outboundMs === 0 ? Infinity : (nowMs - outboundMs) >>> 0;
  const flags = view.getUint16(entry + at.flags, true);
  return {
    protocol,
    client: rows.address(entry + at.client),
    clientPort: view.getUint16(entry + at.clientPort, true),
    vip: listener.vip,
    vport: listener.vport,
    net: listener.net,
    target: target.address,
    targetPort: target.port === 0 ? listener.vport : target.port,
    state: stateOf(state),
    worker,
    ageMs: (nowMs - view.getUint32(entry + at.createdMs, true)) >>> 0,
    idleMs: Math.min((nowMs - inboundMs) >>> 0, sinceOutbound),
    packetsIn: view.getUint32(entry + at.packetsIn, true),
    packetsOut: view.getUint32(entry + at.packetsOut, true),
    flags: Object.entries(FlowFlag).flatMap(([name, bit]) => ((flags & bit) !== 0 ? [name] : [])),
  };
}
