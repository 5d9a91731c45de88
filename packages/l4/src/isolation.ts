// Isolation of services (acceptance.md A137, data-plane.md P33). Every 5 s the load of the last second is looked at. Above the watermark each
// service has a token bucket, so that one that is flooded leaves room for the others; below it there are none. Limits that always hold
// are kept beside that, and divided among the directors by demand.
import { type MeterCounters, type MeterLimits } from '@openclb/core-wasm';
import { type DirectorImage, type ServiceLimits } from '@openclb/model';
import { type Log } from './log.ts';

/** When a director has more load than it should: either is enough. */
export interface Watermark {
  /** Part of one CPU that the packet worker uses, 0 to 1; 0.85 by default. */
  readonly cpuShare?: number;
  /** Packets a second of all services; no watermark by default. */
  readonly packetsPerSecond?: number;
}

/** What has passed since the start, by all services and by each. */
export interface LoadReading {
  readonly nowMs: number;
  /** CPU time of the packet worker in microseconds, and when it was that. */
  readonly cpuMicroseconds: number;
  readonly cpuAtMs: number;
  readonly packets: number;
  /** By name of the service: packets in both directions that passed. */
  readonly passed: ReadonlyMap<string, number>;
}

export interface IsolationOptions {
  readonly watermark?: Watermark | undefined;
  readonly log: Log;
  read(): LoadReading;
  counters(service: string): MeterCounters | undefined;
  /** Switches the buckets of a service on, or off with null. */
  limit(service: string, limits: MeterLimits | null): void;
  /** Part of the limits of a service that this director enforces, by what is limited. */
  share(service: string): LimitShare;
}

export interface LimitShare {
  readonly packets: number;
  readonly bits: number;
  readonly connections: number;
}

const CPU_SHARE = 0.85;
export const SAMPLE_EVERY_MS = 1_000;
export const SHARE_EVERY_MS = 200;
const SAMPLES_PER_LOOK = 5;
/** Isolation ends when all together ask for less than this part of what may pass. */
const CALM = 0.8;
/** What may pass follows the CPU share of the worker by at most this a look. */
const STEP_DOWN = 0.5;
const STEP_UP = 1.25;
/** Every machine can do this much: a CPU that is busy with few packets is busy with something else. */
const CAPACITY_MIN = 10_000;
const LEVEL_MIN = 100;

/** Looks and limits; the caller calls `sample` every second and `divide` every 200 ms. */
export class Isolation {
  private readonly options: IsolationOptions;
  private services = new Map<string, ServiceLimits | undefined>();
  private readonly applied = new Map<string, string>();
  private last: LoadReading | null = null;
  private lastRefused = new Map<string, number>();
  /** Packets a second that all services may have together; null while isolation is off. */
  private capacity: number | null = null;
  private level = Infinity;
  private engagements = 0;
  private samples = 0;
  private looks = 0;
  private cpu = 0;

  constructor(options: IsolationOptions) {
    this.options = options;
  }

  get isOn(): boolean {
    return this.capacity !== null;
  }

  /** The services of an image, after its tables have been written. */
  configure({ listeners }: Pick<DirectorImage, 'listeners'>): void {
    this.services = new Map(listeners.map(({ name, limits }) => [name, limits]));
    for (const name of this.applied.keys()) if (!this.services.has(name)) this.applied.delete(name);
    this.divide();
  }

  /** Measures the load since the last sample; every fifth time it is compared with the watermark. */
  sample(): void {
    const { options, last } = this;
    const now = options.read();
    const refused = new Map([...this.services.keys()].map((name) => [name, refusedPackets(options.counters(name))]));
    const seconds = last === null ? 0 : (now.nowMs - last.nowMs) / 1000;
    if (last !== null && seconds > 0) {
      const rate = (after: number, before = 0): number => Math.max(0, after - before) / seconds;
      const demands = new Map(
        [...this.services.keys()].map((name) => {
          const passed = rate(now.passed.get(name) ?? 0, last.passed.get(name));
          return [name, passed + rate(refused.get(name) ?? 0, this.lastRefused.get(name))] as const;
        }),
      );
      const cpuMs = now.cpuAtMs - last.cpuAtMs;
      if (cpuMs > 0) this.cpu = Math.max(0, now.cpuMicroseconds - last.cpuMicroseconds) / (1000 * cpuMs);
      this.samples++;
      if (this.samples % SAMPLES_PER_LOOK === 0) this.decide(this.cpu, rate(now.packets, last.packets), demands);
    }
    this.last = now;
    this.lastRefused = refused;
  }

  private decide(cpu: number, packets: number, demands: ReadonlyMap<string, number>): void {
    const { watermark = {}, log } = this.options;
    const { cpuShare = CPU_SHARE, packetsPerSecond = Infinity } = watermark;
    const offered = [...demands.values()].reduce((sum, demand) => sum + demand, 0);
    const wasOn = this.capacity !== null;
    this.looks++;
    if (this.capacity === null) {
      if (cpu <= cpuShare && packets <= packetsPerSecond) return;
      this.capacity = Math.min(packetsPerSecond, Math.max(CAPACITY_MIN, packets * Math.min(1, cpuShare / cpu)));
      this.engagements++;
    } else if (offered <= CALM * this.capacity && cpu <= cpuShare) this.capacity = null;
    else {
      const step = Math.min(STEP_UP, Math.max(STEP_DOWN, cpuShare / cpu));
      this.capacity = Math.min(packetsPerSecond, Math.max(CAPACITY_MIN, this.capacity * step));
    }
    this.level = this.capacity === null ? Infinity : this.levelOf(demands, this.capacity);
    this.divide();
    if (wasOn === this.isOn) return;
    const facts = { cpu, packets: Math.round(packets), capacity: this.capacity, packetsPerService: this.level };
    log.info(
      facts,
      this.isOn ? 'load above the watermark: services are limited' : 'load is low again: services are free',
    );
  }

  /** A service with a limit of its own asks for no more than that. */
  private levelOf(demands: ReadonlyMap<string, number>, capacity: number): number {
    const wanted = [...demands].map(([name, demand]) => {
      const limit = this.services.get(name)?.packetsPerSecond ?? Infinity;
      return Math.min(demand, limit * this.options.share(name).packets);
    });
    return Math.max(LEVEL_MIN, fairLevel(wanted, capacity));
  }

  /** Writes the limits that hold now, where they are others than before. */
  divide(): void {
    for (const [name, limits] of this.services) {
      const wanted = limitsNow(limits, this.isOn, this.level, () => this.options.share(name));
      const text = JSON.stringify(wanted);
      if ((this.applied.get(name) ?? 'null') === text) continue;
      this.options.limit(name, wanted);
      this.applied.set(name, text);
    }
  }

  counters(): Record<string, number> {
    const level = Number.isFinite(this.level) ? Math.floor(this.level) : 0;
    return { on: this.isOn ? 1 : 0, looks: this.looks, engagements: this.engagements, packetsPerService: level };
  }
}

function refusedPackets(counters: MeterCounters | undefined): number {
  return counters === undefined ? 0 : counters.refusedPackets + counters.refusedBits;
}

/**
 * The largest number of packets a second that every service may have so that all together have no more than `capacity`: who asks for less
 * leaves the rest to the others (max-min fairness). Infinity when all can have what they ask for.
 */
export function fairLevel(demands: readonly number[], capacity: number): number {
  const sorted = [...demands].sort((a, b) => a - b);
  let left = capacity;
  for (const [index, demand] of sorted.entries()) {
    const equal = left / (sorted.length - index);
    if (demand > equal) return equal;
    left -= demand;
  }
  return Infinity;
}

function limitsNow(
  limits: ServiceLimits | undefined,
  isOn: boolean,
  level: number,
  share: () => LimitShare,
): MeterLimits | null {
  const isLevel = Number.isFinite(level);
  const holds = limits !== undefined && (limits.when === 'always' || isOn);
  // A second's worth at once: who keeps to the level over a second is not to feel it, even when the worker was held up.
  if (!holds) return isLevel ? { packetsPerSecond: Math.floor(level), packetBurst: Math.floor(level) } : null;
  const { packets, bits, connections } = share();
  const part = (limit: number | undefined, of: number): number | undefined =>
    limit === undefined ? undefined : Math.max(1, Math.floor(limit * of));
  const own = part(limits.packetsPerSecond, packets);
  const packetsPerSecond = isLevel ? Math.min(own ?? Infinity, Math.floor(level)) : own;
  const bitsPerSecond = part(limits.bitsPerSecond, bits);
  const connectionsPerSecond = part(limits.connectionsPerSecond, connections);
  return {
    ...(packetsPerSecond === undefined ? {} : { packetsPerSecond }),
    ...(bitsPerSecond === undefined ? {} : { bitsPerSecond }),
    ...(connectionsPerSecond === undefined ? {} : { connectionsPerSecond }),
  };
}
