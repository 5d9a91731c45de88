// Rows of the live tables as plain values, read by the main thread from the memory that the workers use (layout/records.ts).
// Nothing is locked: a row that changes while it is read shows a mixture, which costs an operator's look nothing and a packet less.
import { type LinearMemory, type MemoryPlan, formatAddress } from '@openclb/core-wasm';
import {
  ControlBlock,
  type Enumeration,
  ListenerRow,
  TargetRow,
  TrafficCounter,
  encapsulationEnum,
  schedulerEnum,
  translationEnum,
} from '@openclb/core-wasm/layout';
import { type LookTraffic } from '@openclb/model';

export interface ListenerFacts {
  readonly net: number;
  readonly vip: string;
  readonly vport: number;
  readonly protocol: number;
  readonly translation: string;
  readonly scheduler: string;
}

export interface TargetFacts {
  readonly net: number;
  readonly address: string;
  readonly port: number;
  readonly encapsulation: string;
}

export interface MemoryRows {
  readonly view: DataView;
  address(at: number): string;
  /** Slots keep their meaning while a flow refers to them, so rows of removed listeners and targets can be read too (P5). */
  listener(slot: number): ListenerFacts;
  target(slot: number): TargetFacts;
  /** Over all workers. */
  traffic(kind: 'listenerCounters' | 'targetCounters', slot: number): LookTraffic;
}

/** The name of a value of an enumeration of the layout. */
export function namer(definition: Enumeration): (value: number) => string {
  const names = new Map(Object.entries(definition.members).map(([name, [value]]) => [value, name]));
  return (value) => names.get(value) ?? String(value);
}

const translationOf = namer(translationEnum);
const schedulerOf = namer(schedulerEnum);
const encapsulationOf = namer(encapsulationEnum);

export const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 };
const PROTOCOLS = new Map(Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name]));

export function protocolName(protocol: number): string {
  return PROTOCOLS.get(protocol) ?? String(protocol);
}

export function memoryRows(plan: MemoryPlan, memory: LinearMemory): MemoryRows {
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const { map } = plan;
  const bank = (): number =>
    (view.getUint32(map.control + ControlBlock.at.generation, true) & 1) === 0 ? map.bankA : map.bankB;
  const address = (at: number): string => formatAddress(bytes.slice(at, at + 16));
  return {
    view,
    address,
    listener(slot) {
      const row = bank() + map.bankListeners + slot * ListenerRow.bytes;
      const { at } = ListenerRow;
      return {
        net: view.getUint32(row + at.net, true),
        vip: address(row + at.vip),
        vport: view.getUint16(row + at.vport, true),
        protocol: view.getUint8(row + at.protocol),
        translation: translationOf(view.getUint8(row + at.translation)),
        scheduler: schedulerOf(view.getUint8(row + at.scheduler)),
      };
    },
    target(slot) {
      const row = bank() + map.bankTargets + slot * TargetRow.bytes;
      const { at } = TargetRow;
      return {
        net: view.getUint32(row + at.net, true),
        address: address(row + at.address),
        port: view.getUint16(row + at.port, true),
        encapsulation: encapsulationOf(view.getUint8(row + at.encapsulation)),
      };
    },
    traffic(kind, slot) {
      const sum = (field: keyof LookTraffic): number =>
        plan.workers.reduce((total, worker) => {
          const row = worker[kind] + slot * TrafficCounter.bytes;
          return total + Number(view.getBigUint64(row + TrafficCounter.at[field], true));
        }, 0);
      return {
        packetsIn: sum('packetsIn'),
        bytesIn: sum('bytesIn'),
        packetsOut: sum('packetsOut'),
        bytesOut: sum('bytesOut'),
        flowsCreated: sum('flowsCreated'),
      };
    },
  };
}
