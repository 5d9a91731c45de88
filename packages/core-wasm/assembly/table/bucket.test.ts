// Token buckets against their promise, in whole numbers: never more than rate * t + burst in any window, never less
// than rate * t for whoever asks all the time, at any clock, and shares that change under way.
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { Bucket, BucketSetting, Meter, MeterVerdict, meterLimits } from '../../layout/index.ts';
import { PLACE, metersWire, readRecord } from '../../test/meters-fixture.ts';
import type { Wire } from '../../test/wire.ts';

let under: Wire;
beforeAll(async () => void (under = await metersWire()));

const NEVER = { rate: 0n, full: 1n << 62n, fillMs: 0 };
const limit = (rate: number, burst: number): typeof NEVER => ({
  rate: BigInt(rate),
  full: BigInt(burst) * 1000n,
  fillMs: Math.ceil((burst * 1000) / rate),
});

/** Writes the settings as the main thread does; `isFresh` makes the meter new. */
function configure(settings: readonly (typeof NEVER)[], isFresh = true): void {
  const view = new DataView(under.bytes.buffer);
  if (isFresh) under.bytes.fill(0, PLACE.meter, PLACE.meter + meterLimits.METER_ROW_BYTES);
  for (const [kind, { rate, full, fillMs }] of settings.entries()) {
    const at = PLACE.meter + meterLimits.METER_SETTINGS + kind * BucketSetting.bytes;
    view.setBigUint64(at + BucketSetting.at.rate, rate, true);
    view.setBigUint64(at + BucketSetting.at.full, full, true);
    view.setUint32(at + BucketSetting.at.fillMs, fillMs, true);
  }
  const sequence = view.getUint32(PLACE.meter + Meter.at.sequence, true);
  view.setUint32(PLACE.meter + Meter.at.sequence, sequence + 2, true);
}
const ask = (now: number, bits = 0): number => under.call['meterPacketOne']!(PLACE.meter, bits, now | 0);
const level = (kind: number): number =>
  readRecord(under, Bucket, PLACE.meter + meterLimits.METER_BUCKETS + kind * Bucket.bytes)['level']!;

test('a row holds head, buckets and settings', () => {
  expect(meterLimits.METER_BUCKETS).toBe(Meter.bytes);
  expect(meterLimits.METER_SETTINGS).toBe(Meter.bytes + 3 * Bucket.bytes);
  expect(meterLimits.METER_SETTINGS + 3 * BucketSetting.bytes).toBeLessThanOrEqual(meterLimits.METER_ROW_BYTES);
});

test('no window lets more than rate * t + burst pass, and the one who asks all the time gets rate * t', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 1, max: 40 })), {
    minLength: 1,
    maxLength: 60,
  });
  const start = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: 50 }),
      start,
      steps,
      (rate, burst, from, gaps) => {
        configure([limit(rate, burst), NEVER, NEVER]);
        const passed: { at: number; count: number; isDry: boolean }[] = [];
        let at = 0;
        for (const [gap, tries] of gaps) {
          at += gap;
          let count = 0;
          for (let n = 0; n < tries; n++) if (ask(from + at) === MeterVerdict.Passed) count++;
          passed.push({ at, count, isDry: count < tries });
        }
        for (let first = 0; first < passed.length; first++) {
          let sum = 0;
          let alwaysDry = true;
          for (let last = first; last < passed.length; last++) {
            sum += passed[last]!.count;
            const time = passed[last]!.at - passed[first]!.at;
            expect(sum * 1000).toBeLessThanOrEqual(rate * time + burst * 1000);
            // Who was refused at the start and the end, and never had more saved up than fits, got all that was earned.
            alwaysDry &&=
              passed[last]!.isDry &&
              (last === first || (passed[last]!.at - passed[last - 1]!.at) * rate <= (burst - 1) * 1000);
            const later = sum - passed[first]!.count;
            expect(alwaysDry && last > first && (later + 1) * 1000 <= rate * time, 'starved').toBe(false);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('the level equals a model in unlimited whole numbers, to the thousandth, for any bits', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 90_000_000 }), fc.integer({ min: 0, max: 20_000 })), {
    maxLength: 80,
  });
  const rates = fc.integer({ min: 1, max: 400_000_000_000 });
  fc.assert(
    fc.property(
      rates,
      fc.integer({ min: 20_000, max: 4_000_000_000 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      steps,
      (rate, burst, from, gaps) => {
        configure([NEVER, limit(rate, burst), NEVER]);
        ask(from);
        let tokens = BigInt(burst) * 1000n;
        let now = from;
        for (const [gap, bits] of gaps) {
          now += gap;
          tokens += BigInt(rate) * BigInt(gap);
          if (tokens > BigInt(burst) * 1000n) tokens = BigInt(burst) * 1000n;
          const passes = tokens >= BigInt(bits) * 1000n;
          if (passes) tokens -= BigInt(bits) * 1000n;
          expect(ask(now, bits)).toBe(passes ? MeterVerdict.Passed : MeterVerdict.Bits);
          expect(level(1)).toBe(Number(tokens));
        }
      },
    ),
  );
});

test('asking every millisecond loses nothing to rounding, across the wrap of the clock', () => {
  // The clock ticks in milliseconds, so a burst must hold what one tick earns and the token that waits: src/meters.ts
  // sees to it.
  configure([limit(333, 2), NEVER, NEVER]);
  const from = 0xffffffff - 30_000;
  let passed = 0;
  for (let ms = 0; ms < 60_000; ms++) if (ask(from + ms) === MeterVerdict.Passed) passed++;
  expect(passed).toBe(Math.floor((333 * 59_999) / 1000) + 2);
});

test('a packet takes from both buckets or from none', () => {
  configure([limit(10, 10), limit(1000, 1000), NEVER]);
  expect(ask(0, 900)).toBe(MeterVerdict.Passed);
  expect(ask(0, 900)).toBe(MeterVerdict.Bits);
  expect(level(0)).toBe(9000);
  for (let n = 0; n < 9; n++) expect(ask(0, 1)).toBe(MeterVerdict.Passed);
  expect(ask(0, 1)).toBe(MeterVerdict.Packets);
  expect(level(1)).toBe(91_000);
  expect(readRecord(under, Meter, PLACE.meter)).toMatchObject({
    offeredPackets: 12,
    offeredBits: 1810,
    refusedPackets: 1,
    refusedBits: 1,
  });
});

test('connections have a bucket of their own', () => {
  configure([limit(1, 1), NEVER, limit(100, 3)]);
  const connect = (now: number): number => under.call['meterConnectionOne']!(PLACE.meter, now);
  expect([connect(0), connect(0), connect(0), connect(0)]).toEqual([0, 0, 0, MeterVerdict.Connections]);
  expect(connect(10)).toBe(MeterVerdict.Passed);
  expect(readRecord(under, Meter, PLACE.meter)).toMatchObject({
    offeredConnections: 5,
    refusedConnections: 1,
    offeredPackets: 0,
  });
});

test('a new share counts from its moment: what was earned before was earned at the old rate', () => {
  configure([limit(1000, 100), NEVER, NEVER]);
  for (let n = 0; n < 100; n++) ask(0);
  expect(ask(0)).toBe(MeterVerdict.Packets);
  configure([limit(10, 50), NEVER, NEVER], false);
  ask(40);
  expect(level(0)).toBe(39_000);
  configure([limit(10, 5), NEVER, NEVER], false);
  ask(40);
  expect(level(0)).toBe(4000);
});

test('settings that are being written are not read', () => {
  configure([limit(1000, 1), NEVER, NEVER]);
  ask(0);
  const view = new DataView(under.bytes.buffer);
  view.setUint32(PLACE.meter + Meter.at.sequence, 3, true);
  view.setBigUint64(PLACE.meter + meterLimits.METER_SETTINGS, 7n, true);
  ask(1);
  expect(readRecord(under, Bucket, PLACE.meter + meterLimits.METER_BUCKETS)['rate']).toBe(1000);
  view.setUint32(PLACE.meter + Meter.at.sequence, 4, true);
  ask(1);
  expect(readRecord(under, Bucket, PLACE.meter + meterLimits.METER_BUCKETS)['rate']).toBe(7);
});

test('no limit lets all pass, a rate of 0 nothing, and a clock that steps back earns nothing', () => {
  configure([NEVER, NEVER, NEVER]);
  for (let n = 0; n < 1000; n++) expect(ask(0, 4_000_000_000)).toBe(MeterVerdict.Passed);
  configure([{ rate: 0n, full: 0n, fillMs: 0xffffffff }, NEVER, NEVER]);
  for (const now of [0, 1000, 1_000_000_000]) expect(ask(now)).toBe(MeterVerdict.Packets);
  configure([limit(1000, 1), NEVER, NEVER]);
  expect([ask(5000), ask(4000), ask(5000), ask(5001)]).toEqual([0, MeterVerdict.Packets, MeterVerdict.Packets, 0]);
});
