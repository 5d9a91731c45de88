// Isolation decided in a virtual time: when it begins, whom it limits and to what, and when it ends.
import { type MeterCounters, type MeterLimits } from '@openclb/core-wasm';
import { type ServiceLimits } from '@openclb/model';
import { describe, expect, test } from 'vitest';
import { Isolation, type LimitShare, type Watermark, fairLevel } from './isolation.ts';
import { silentLog } from './log.ts';

const ALL: LimitShare = { packets: 1, bits: 1, connections: 1 };

/** Services that are asked for so many packets a second, of which limits let some pass. */
function cluster(services: Record<string, ServiceLimits | undefined>, watermark?: Watermark, share = ALL) {
  const limits = new Map<string, MeterLimits | null>();
  const passed = new Map<string, number>();
  const refused = new Map<string, number>();
  let nowMs = 0;
  let cpuMicroseconds = 0;
  let packets = 0;
  const isolation = new Isolation({
    watermark,
    log: silentLog,
    share: () => share,
    read: () => ({ nowMs, cpuMicroseconds, cpuAtMs: nowMs, packets, passed: new Map(passed) }),
    counters: (name) => ({ refusedPackets: refused.get(name) ?? 0, refusedBits: 0 }) as MeterCounters,
    limit: (name, value) => void limits.set(name, value),
  });
  const listeners = Object.entries(services).map(([name, value]) => ({ name, limits: value }));
  isolation.configure({ listeners } as unknown as Parameters<Isolation['configure']>[0]);
  const second = (offered: Record<string, number>, cpu: number): void => {
    for (const [name, count] of Object.entries(offered)) {
      const pass = Math.min(count, limits.get(name)?.packetsPerSecond ?? Infinity);
      passed.set(name, (passed.get(name) ?? 0) + pass);
      refused.set(name, (refused.get(name) ?? 0) + count - pass);
      packets += count;
    }
    nowMs += 1000;
    cpuMicroseconds += cpu * 1e6;
    isolation.sample();
  };
  isolation.sample();
  return { isolation, limits, second };
}

function seconds(count: number, step: () => void): void {
  for (let at = 0; at < count; at++) step();
}

describe('isolation', () => {
  test('leaves everybody alone below the watermark', () => {
    const { isolation, limits, second } = cluster({ a: undefined, b: { packetsPerSecond: 100 } });
    seconds(20, () => second({ a: 50_000, b: 50_000 }, 0.8));
    expect(isolation.isOn).toBe(false);
    expect([...limits.values()].filter((value) => value !== null)).toEqual([]);
  });

  test('is on within 5 s of a flood, which is limited, while its neighbours may have all that they ask for', () => {
    const { isolation, limits, second } = cluster({ flooded: undefined, small: undefined, other: undefined });
    seconds(7, () => second({ flooded: 1000, small: 1000, other: 2000 }, 0.1));
    let waited = 0;
    for (; !isolation.isOn && waited < 10; waited++) second({ flooded: 400_000, small: 1000, other: 2000 }, 1);
    expect(waited).toBeLessThanOrEqual(5);
    const level = limits.get('flooded')?.packetsPerSecond ?? 0;
    // 0.85 of all that the worker could do, less what the neighbours ask for.
    expect(level).toBe(Math.floor(0.85 * 403_000 - 3000));
    expect(limits.get('small')).toEqual({ packetsPerSecond: level, packetBurst: level });
  });

  test('takes more from a flood whose refusal alone is too much work, and gives it back later', () => {
    const { limits, second } = cluster({ flooded: undefined, small: undefined });
    seconds(5, () => second({ flooded: 100_000, small: 1000 }, 1));
    const first = limits.get('flooded')?.packetsPerSecond ?? 0;
    seconds(5, () => second({ flooded: 100_000, small: 1000 }, 1));
    const then = limits.get('flooded')?.packetsPerSecond ?? 0;
    expect(then).toBeLessThan(first);
    seconds(5, () => second({ flooded: 100_000, small: 1000 }, 0.7));
    expect(limits.get('flooded')?.packetsPerSecond).toBeGreaterThan(then);
  });

  test('limits nobody for a CPU that is busy with few packets', () => {
    const { limits, second } = cluster({ a: undefined, b: undefined });
    seconds(10, () => second({ a: 100, b: 2000 }, 1));
    expect([...limits.values()].filter((value) => value !== null)).toEqual([]);
  });

  test('ends when all together ask for less again', () => {
    const { isolation, limits, second } = cluster({ flooded: undefined, small: undefined });
    seconds(5, () => second({ flooded: 100_000, small: 1000 }, 1));
    expect(isolation.isOn).toBe(true);
    seconds(5, () => second({ flooded: 1000, small: 1000 }, 0.1));
    expect(isolation.isOn).toBe(false);
    expect(limits.get('flooded')).toBeNull();
    expect(limits.get('small')).toBeNull();
  });

  test('a watermark in packets needs no busy CPU', () => {
    const { isolation, limits, second } = cluster(
      { flooded: undefined, small: undefined },
      { packetsPerSecond: 10_000 },
    );
    seconds(5, () => second({ flooded: 50_000, small: 1000 }, 0.3));
    expect(isolation.isOn).toBe(true);
    expect(limits.get('flooded')).toEqual({ packetsPerSecond: 9000, packetBurst: 9000 });
  });

  test('limits of a service hold under load, those that say so always, each by the part of this director', () => {
    const half = { packets: 0.5, bits: 0.5, connections: 0.25 };
    const { limits, second } = cluster(
      { sold: { bitsPerSecond: 1e6, connectionsPerSecond: 100, when: 'always' }, own: { packetsPerSecond: 3000 } },
      {},
      half,
    );
    expect(limits.get('sold')).toEqual({ bitsPerSecond: 5e5, connectionsPerSecond: 25 });
    expect(limits.get('own')).toBeUndefined();
    seconds(5, () => second({ sold: 1000, own: 100_000 }, 1));
    expect(limits.get('own')).toEqual({ packetsPerSecond: 1500 });
  });
});

describe('the level that all may have', () => {
  test('is what is left for the greedy when the modest have what they ask for', () => {
    expect(fairLevel([10, 20, 1000], 100)).toBe(70);
    expect(fairLevel([10, 500, 1000], 100)).toBe(45);
    expect(fairLevel([500, 1000], 100)).toBe(50);
    expect(fairLevel([10, 20], 100)).toBe(Infinity);
    expect(fairLevel([], 100)).toBe(Infinity);
  });
});
