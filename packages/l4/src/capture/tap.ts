// The worker's end of `clb capture`: copies of packets before and after their walk, with their records. Off, it costs one question a burst.
// On, it keeps a bounded number of packets a turn, so a capture of everything samples and the packets are never late for it.
import { type Core } from '@openclb/core-wasm';
import {
  ControlBlock,
  FlowEntry,
  ListenerRow,
  PacketRecord,
  TargetRow,
  Verdict,
  limits,
  reasonEnum,
  verdictEnum,
} from '@openclb/core-wasm/layout';
import { type LookFilter } from '@openclb/model';
import { PROTOCOL_NUMBERS } from '../look/memory-rows.ts';
import { endpointAt, prefixMatch } from '../look/filter.ts';

/** Packets that one turn of the worker (a millisecond) may keep. */
const KEPT_PER_TURN_MAX = 64;

export interface TappedPacket {
  /** As the port brought it; null of a packet that the core added itself. */
  readonly received: Uint8Array | null;
  /** As it left; null unless forwarded. */
  readonly sent: Uint8Array | null;
  /** The PacketRecord after the walk. */
  readonly record: Uint8Array;
  /** FlowState, or -1. */
  readonly flowState: number;
  /** Milliseconds since 1970, with fractions. */
  readonly atMs: number;
}

export interface Tap {
  readonly isOn: boolean;
  set(filter: LookFilter | null): void;
  /** Behind `receive`. */
  before(count: number): void;
  /** Behind the walk and before `transmit`. */
  after(count: number): void;
  /** What has come since the last call; null when nothing has. */
  take(): { packets: TappedPacket[]; missed: number } | null;
}

const { at } = PacketRecord;

export function createTap(core: Core): Tap {
  let match: ((record: number) => boolean) | null = null;
  let received: Uint8Array[] = [];
  let packets: TappedPacket[] = [];
  let missed = 0;

  function keep(index: number, record: number): void {
    if (packets.length >= KEPT_PER_TURN_MAX) {
      missed++;
      return;
    }
    const flow = core.view.getUint32(record + at.flowSlot, true);
    packets.push({
      received: received[index] ?? null,
      sent: core.verdict(index) === Verdict.Forward ? core.frame(index).slice() : null,
      record: core.bytes.slice(record, record + PacketRecord.bytes),
      flowState: flow === limits.NONE ? -1 : core.view.getUint8(flowAt(core, flow) + FlowEntry.at.state),
      atMs: performance.timeOrigin + performance.now(),
    });
  }

  return {
    get isOn() {
      return match !== null;
    },
    set(filter) {
      match = filter === null ? null : recordMatch(core, filter);
      packets = [];
      missed = 0;
    },
    before(count) {
      received = Array.from({ length: count }, (_, index) => core.frame(index).slice());
    },
    after(count) {
      const isWanted = match ?? (() => false);
      for (let index = 0; index < count; index++) {
        const record = core.record(index);
        if (isWanted(record)) keep(index, record);
      }
      received = [];
    },
    take() {
      if (packets.length === 0 && missed === 0) return null;
      const taken = { packets, missed };
      packets = [];
      missed = 0;
      return taken;
    },
  };
}

function flowAt(core: Core, slot: number): number {
  return core.worker.flows + slot * FlowEntry.bytes;
}

function valueIn(
  members: Readonly<Record<string, readonly [number, string]>>,
  name: string | undefined,
): number | null {
  if (name === undefined) return null;
  const found = Object.entries(members).find(([key]) => key.toLowerCase() === name.toLowerCase());
  if (found === undefined) throw new RangeError(`"${name}" is none of ${Object.keys(members).join(', ')}`);
  return found[1][0];
}

/**
 * Which packets are wanted, asked of their records after the walk. A part that names an address holds when the flow, the listener or the
 * target has it, and without those when source or destination is it. Throws a RangeError that names a part which makes no sense.
 */
export function recordMatch(core: Core, filter: LookFilter): (record: number) => boolean {
  const { view } = core;
  const verdict = valueIn(verdictEnum.members, filter.verdict);
  const reason = valueIn(reasonEnum.members, filter.reason);
  const protocol = filter.protocol === undefined ? null : (PROTOCOL_NUMBERS[filter.protocol] ?? null);
  const client = prefixMatch(filter.client);
  const vip = endpointAt(filter.vip);
  const target = endpointAt(filter.target);
  const eitherEnd = (record: number, wanted: ReturnType<typeof endpointAt>): boolean =>
    wanted(view, record + at.source, view.getUint16(record + at.sourcePort, true)) ||
    wanted(view, record + at.destination, view.getUint16(record + at.destinationPort, true));
  return (record) => {
    if (verdict !== null && view.getUint8(record + at.verdict) !== verdict) return false;
    if (reason !== null && view.getUint8(record + at.reason) !== reason) return false;
    if (protocol !== null && view.getUint8(record + at.protocol) !== protocol) return false;
    const flow = view.getUint32(record + at.flowSlot, true);
    const isClients =
      flow === limits.NONE
        ? client(view, record + at.source) || client(view, record + at.destination)
        : client(view, flowAt(core, flow) + FlowEntry.at.client);
    if (!isClients) return false;
    const listener = rowAt(core, 'bankListeners', view.getUint32(record + at.listenerSlot, true), ListenerRow.bytes);
    const row = rowAt(core, 'bankTargets', view.getUint32(record + at.targetSlot, true), TargetRow.bytes);
    const isVips =
      listener === null
        ? eitherEnd(record, vip)
        : vip(view, listener + ListenerRow.at.vip, view.getUint16(listener + ListenerRow.at.vport, true));
    if (!isVips) return false;
    return row === null
      ? eitherEnd(record, target)
      : target(view, row + TargetRow.at.address, view.getUint16(row + TargetRow.at.port, true));
  };
}

/** The row of a slot in the bank in use, or null without a slot. */
function rowAt(core: Core, table: 'bankListeners' | 'bankTargets', slot: number, bytes: number): number | null {
  if (slot === limits.NONE) return null;
  const { map } = core.plan;
  const isOdd = (core.view.getUint32(map.control + ControlBlock.at.generation, true) & 1) === 1;
  return (isOdd ? map.bankB : map.bankA) + map[table] + slot * bytes;
}
