// Meters: token buckets for packets, bits and new connections (data-plane.md P33). The core takes the tokens; here
// limits and shares are written, while it runs, and demand is read.
import { BucketSetting, Meter, meterLimits, meterVerdictEnum, nameOf } from '../layout/index.ts';
import type { LinearMemory } from './plan.ts';
import { WORKBENCH_START, type WorkbenchOptions, openWorkbench } from './workbench.ts';

/**
 * Whole numbers; a rate that is left out is no limit, a rate of 0 refuses everything. A burst defaults to a tenth of a
 * second.
 */
export interface MeterLimits {
  readonly packetsPerSecond?: number;
  readonly packetBurst?: number;
  readonly bitsPerSecond?: number;
  readonly bitBurst?: number;
  readonly connectionsPerSecond?: number;
  readonly connectionBurst?: number;
}

/** What a meter was asked and what it refused, since it was made. */
export interface MeterCounters {
  readonly offeredPackets: number;
  readonly offeredBits: number;
  readonly offeredConnections: number;
  /** Packets refused by the packet rate. */
  readonly refusedPackets: number;
  /** Packets refused by the bit rate. */
  readonly refusedBits: number;
  readonly refusedConnections: number;
}

/** What a meter says about a packet: it passed, or the limit that it is over. */
export type MeterAnswer = 'Passed' | 'Packets' | 'Bits' | 'Connections';

/** Token buckets of a program that uses the core alone (data-plane.md P33): packets, bits and new connections. */
export interface Meters {
  /**
   * Sets the limits of a meter, of which this instance enforces a share between 0 and 1 (all of it when absent). Throws
   * a RangeError.
   */
  set(index: number, limits: MeterLimits, share?: number): void;
  /**
   * A packet of so many bytes at a time in milliseconds: takes its tokens, or says which limit it is over and takes
   * none.
   */
  packet(index: number, bytes: number, nowMs: number): MeterAnswer;
  /** A new connection, after its packet has passed. */
  connection(index: number, nowMs: number): MeterAnswer;
  counters(index: number): MeterCounters;
}

const RATE_MAX = 2 ** 40;
const BURST_MAX = 2 ** 42;
const METERS_MAX = 65_536;
/** A frame of a whole chunk must fit into a full bucket, or it would never pass. */
const LARGEST_FRAME_BITS = 2048 * 8;
const BURST_PER_SECOND = 10;
const UNLIMITED_PARTS = 2n ** 62n;
const NEVER_MS = 0xffffffff;

/** Meters of a program that uses the core alone: `count` of them, up to 65,536. */
export async function createMeters(count: number, options: WorkbenchOptions = {}): Promise<Meters> {
  if (!Number.isInteger(count) || count < 1 || count > METERS_MAX)
    throw new RangeError(`A number of meters between 1 and ${METERS_MAX} is needed, not ${count}`);
  const bench = await openWorkbench(count * meterLimits.METER_ROW_BYTES, options);
  const memory = { buffer: bench.bytes.buffer };
  const at = (index: number): number => {
    if (!Number.isInteger(index) || index < 0 || index >= count) throw new RangeError(`There is no meter ${index}`);
    return WORKBENCH_START + index * meterLimits.METER_ROW_BYTES;
  };
  const answer = (verdict: number): MeterAnswer => nameOf(meterVerdictEnum, verdict) as MeterAnswer;
  for (let index = 0; index < count; index++) writeMeter(memory, at(index), {});
  return {
    set: (index, limits, share) => writeMeter(memory, at(index), limits, share),
    packet: (index, bytes, nowMs) => answer(bench.call('meterPacketOne', at(index), bytes * 8, nowMs | 0)),
    connection: (index, nowMs) => answer(bench.call('meterConnectionOne', at(index), nowMs | 0)),
    counters: (index) => readMeter(memory, at(index)),
  };
}

/**
 * Writes limits and share of the meter at `address`, whose worker may be using it: it takes them over with its next
 * packet, all three or none. `share` is the part of the service's limits that this worker enforces, 0 to 1. Throws a
 * RangeError for numbers that are not whole, negative or above 2^40 a second (bursts 2^42).
 */
export function writeMeter(memory: LinearMemory, address: number, limits: MeterLimits, share = 1): void {
  if (!(share >= 0 && share <= 1)) throw new RangeError(`A share is a number between 0 and 1, not ${share}`);
  const settings = [
    settingOf('packet', limits.packetsPerSecond, limits.packetBurst, share, 1),
    settingOf('bit', limits.bitsPerSecond, limits.bitBurst, share, LARGEST_FRAME_BITS),
    settingOf('connection', limits.connectionsPerSecond, limits.connectionBurst, share, 1),
  ];
  const view = new DataView(memory.buffer);
  const words = new Int32Array(memory.buffer);
  const sequence = (address + Meter.at.sequence) / 4;
  Atomics.add(words, sequence, 1);
  for (const [kind, { rate, full, fillMs }] of settings.entries()) {
    const at = address + meterLimits.METER_SETTINGS + kind * BucketSetting.bytes;
    view.setBigUint64(at + BucketSetting.at.rate, rate, true);
    view.setBigUint64(at + BucketSetting.at.full, full, true);
    view.setUint32(at + BucketSetting.at.fillMs, fillMs, true);
  }
  Atomics.add(words, sequence, 1);
}

interface Setting {
  readonly rate: bigint;
  readonly full: bigint;
  readonly fillMs: number;
}

/**
 * A bucket holds at least what one tick of the clock earns and one unit more: with less, rounding to milliseconds would
 * cost rate.
 */
function settingOf(
  what: string,
  perSecond: number | undefined,
  burst: number | undefined,
  share: number,
  unit: number,
): Setting {
  if (perSecond === undefined) return { rate: 0n, full: UNLIMITED_PARTS, fillMs: 0 };
  whole(`${what}s a second`, perSecond, RATE_MAX);
  const rate = Math.floor(perSecond * share);
  if (rate === 0) return { rate: 0n, full: 0n, fillMs: NEVER_MS };
  const wanted = whole(`${what} burst`, burst ?? Math.ceil(perSecond / BURST_PER_SECOND), BURST_MAX) * share;
  const tokens = Math.max(Math.floor(wanted), Math.ceil(rate / 1000) + unit);
  return {
    rate: BigInt(rate),
    full: BigInt(tokens) * BigInt(meterLimits.TOKEN_PARTS),
    fillMs: Math.min(NEVER_MS, Math.ceil((tokens * meterLimits.TOKEN_PARTS) / rate)),
  };
}

function whole(what: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max)
    throw new RangeError(`The ${what} must be a whole number between 0 and ${max}, not ${value}`);
  return value;
}

/** What was asked and what was refused since the meter was made: the difference of two reads is the demand. */
export function readMeter(memory: LinearMemory, address: number): MeterCounters {
  const view = new DataView(memory.buffer);
  const of = (field: keyof MeterCounters): number => Number(view.getBigUint64(address + Meter.at[field], true));
  return {
    offeredPackets: of('offeredPackets'),
    offeredBits: of('offeredBits'),
    offeredConnections: of('offeredConnections'),
    refusedPackets: of('refusedPackets'),
    refusedBits: of('refusedBits'),
    refusedConnections: of('refusedConnections'),
  };
}

/**
 * Divides one limit among workers by what each was asked for lately (P33): shares that sum up to 1. Nobody gets less
 * than a quarter of an equal share, so that demand which moves is met at once; the rest follows demand, so that above
 * the limit all refuse alike. Throws a RangeError for a demand that is negative or no number.
 */
export function divideShares(demands: readonly number[]): number[] {
  if (demands.some((demand) => !(demand >= 0 && Number.isFinite(demand))))
    throw new RangeError('A demand is a number that is not negative');
  const total = demands.reduce((sum, demand) => sum + demand, 0);
  const floor = 1 / (4 * demands.length);
  if (total === 0) return demands.map(() => 1 / demands.length);
  return demands.map((demand) => floor + 0.75 * (demand / total));
}
