// Meters of services: which meter a listener row has, what it lets pass, and the switch in the row that the walk looks at (P33). Listener
// rows of one name are one service. Limits and switches change while workers run; an image only says which services there are.
import { ListenerRow, Meter, RowFlag, meterLimits } from '../layout/index.ts';
import { type MeterCounters, type MeterLimits, readMeter, writeMeter } from './meters.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

interface Service {
  readonly meter: number;
  readonly slots: readonly number[];
}

/** What a service was asked for while it was limited and what it was refused, and the new flows that its access list has kept out. */
export interface ServiceCounters extends MeterCounters {
  readonly denied: number;
}

const UNLIMITED: MeterLimits = {};

export class ServiceMeters {
  private readonly plan: MemoryPlan;
  private readonly memory: LinearMemory;
  private readonly bytes: Uint8Array;
  private services = new Map<string, Service>();
  /** What is on, by service; it stays on over images. */
  private readonly limited = new Map<string, { readonly limits: MeterLimits; readonly share: number }>();

  constructor(plan: MemoryPlan, memory: LinearMemory) {
    this.plan = plan;
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
  }

  /** The services of a new image, each with the slots of its listener rows. Their rows ask `meterOf` and `flagOf` next. */
  assign(rows: readonly { readonly service: string; readonly slot: number }[]): void {
    const slots = new Map<string, number[]>();
    for (const { service, slot } of rows) slots.set(service, [...(slots.get(service) ?? []), slot]);
    const before = this.services;
    this.services = new Map([...slots].map(([name, own]) => [name, { meter: Math.min(...own), slots: own }]));
    for (const name of this.limited.keys()) if (!this.services.has(name)) this.limited.delete(name);
    for (const [name, { meter }] of this.services) {
      if (before.get(name)?.meter === meter) continue;
      // It belonged to another service: what that one was asked for is nothing to this one.
      for (const worker of this.plan.workers) {
        const at = worker.meters + meter * meterLimits.METER_ROW_BYTES;
        this.bytes.fill(0, at, at + meterLimits.METER_ROW_BYTES);
      }
      const on = this.limited.get(name);
      this.write(meter, on?.limits ?? UNLIMITED, on?.share ?? 1);
    }
  }

  meterOf(service: string): number {
    return this.services.get(service)?.meter ?? 0;
  }

  flagOf(service: string): number {
    return this.limited.has(service) ? RowFlag.Limited : 0;
  }

  /**
   * Limits a service from the next packet on, each worker to an equal part of `share` (0 to 1) of the limits; null takes the limits off.
   * Throws a RangeError for limits that no meter can have.
   */
  limit(service: string, limits: MeterLimits | null, share = 1): void {
    const found = this.services.get(service);
    if (limits === null) this.limited.delete(service);
    else {
      if (found !== undefined) this.write(found.meter, limits, share);
      this.limited.set(service, { limits, share });
    }
    for (const slot of found?.slots ?? []) this.switch(slot, limits !== null);
  }

  /** What a service was asked for while it was limited, and what it was refused, by all workers together. */
  counters(service: string): ServiceCounters | undefined {
    const found = this.services.get(service);
    if (found === undefined) return undefined;
    const sum: Record<string, number> = { denied: 0 };
    const view = new DataView(this.memory.buffer);
    for (const worker of this.plan.workers) {
      const at = worker.meters + found.meter * meterLimits.METER_ROW_BYTES;
      const one = { ...readMeter(this.memory, at), denied: Number(view.getBigUint64(at + Meter.at.denied, true)) };
      for (const [name, value] of Object.entries(one)) sum[name] = (sum[name] ?? 0) + value;
    }
    return sum as unknown as ServiceCounters;
  }

  private write(meter: number, limits: MeterLimits, share: number): void {
    const { workers } = this.plan;
    for (const worker of workers)
      writeMeter(this.memory, worker.meters + meter * meterLimits.METER_ROW_BYTES, limits, share / workers.length);
  }

  /** One byte, in both banks: a worker sees it with its next packet, whichever bank it reads. */
  private switch(slot: number, isOn: boolean): void {
    for (const bank of [this.plan.map.bankA, this.plan.map.bankB]) {
      const at = bank + this.plan.map.bankListeners + slot * ListenerRow.bytes + ListenerRow.at.flags;
      const flags = this.bytes[at] ?? 0;
      if ((flags & RowFlag.Present) !== 0) this.bytes[at] = isOn ? flags | RowFlag.Limited : flags & ~RowFlag.Limited;
    }
  }
}
