// Meters as a library: limits, shares while it runs, demand, and what is refused with a reason.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createMeters, divideShares } from './index.ts';

test('a limit of packets, of bits and of connections each refuses in its own name', async () => {
  const meters = await createMeters(2);
  meters.set(0, { packetsPerSecond: 100, packetBurst: 3 });
  expect([1, 2, 3, 4].map(() => meters.packet(0, 100, 0))).toEqual(['Passed', 'Passed', 'Passed', 'Packets']);
  expect(meters.packet(0, 100, 10)).toBe('Passed');
  meters.set(1, { bitsPerSecond: 8_000_000, bitBurst: 24_000, connectionsPerSecond: 10, connectionBurst: 2 });
  expect([1, 2, 3].map(() => meters.packet(1, 1500, 0))).toEqual(['Passed', 'Passed', 'Bits']);
  expect([1, 2, 3].map(() => meters.connection(1, 0))).toEqual(['Passed', 'Passed', 'Connections']);
  expect(meters.counters(1)).toEqual({
    offeredPackets: 3,
    offeredBits: 36_000,
    offeredConnections: 3,
    refusedPackets: 0,
    refusedBits: 1,
    refusedConnections: 1,
  });
});

test('without limits everything passes, and a rate of 0 refuses everything', async () => {
  const meters = await createMeters(2);
  meters.set(1, { packetsPerSecond: 0 });
  for (let n = 0; n < 1000; n++)
    expect([meters.packet(0, 65_535, 0), meters.connection(0, 0), meters.packet(1, 1, n)]).toEqual([
      'Passed',
      'Passed',
      'Packets',
    ]);
});

test('a share takes effect with the next packet and enforces its part of the rate', async () => {
  const meters = await createMeters(1);
  const limits = { packetsPerSecond: 10_000, packetBurst: 100 };
  meters.set(0, limits);
  const passedIn = (from: number, ms: number): number => {
    let passed = 0;
    for (let now = from; now < from + ms; now++)
      for (let n = 0; n < 20; n++) if (meters.packet(0, 100, now) === 'Passed') passed++;
    return passed;
  };
  passedIn(0, 100);
  expect(passedIn(100, 1000)).toBe(10_000);
  meters.set(0, limits, 0.25);
  passedIn(1100, 100);
  expect(passedIn(1200, 1000)).toBe(2500);
});

test('any rate is reached to the packet over ten seconds of asking, whatever the share', async () => {
  const meters = await createMeters(100);
  let index = -1;
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3000 }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      fc.integer({ min: 0, max: 0xffffffff }),
      (rate, share, from) => {
        // A meter of its own, because time starts anywhere and no clock goes back.
        meters.set(++index, { packetsPerSecond: rate, packetBurst: 1 }, share);
        const enforced = Math.floor(rate * share);
        for (let n = 0; n < 5; n++) meters.packet(index, 64, from);
        let passed = 0;
        for (let ms = 1; ms <= 10_000; ms++)
          for (let n = 0; n < 4; n++) if (meters.packet(index, 64, from + ms) === 'Passed') passed++;
        expect(Math.abs(passed - enforced * 10)).toBeLessThanOrEqual(1);
      },
    ),
    { numRuns: 10 },
  );
});

test('shares sum up to one, follow demand and starve nobody', () => {
  expect(divideShares([0, 0])).toEqual([0.5, 0.5]);
  expect(divideShares([100, 0, 0, 0])).toEqual([0.8125, 0.0625, 0.0625, 0.0625]);
  fc.assert(
    fc.property(fc.array(fc.nat(1_000_000), { minLength: 1, maxLength: 64 }), (demands) => {
      const shares = divideShares(demands);
      expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 9);
      for (const share of shares) expect(share).toBeGreaterThanOrEqual(1 / (4 * demands.length) - 1e-12);
    }),
  );
});

test('numbers that make no sense are refused with a sentence that says which', async () => {
  const meters = await createMeters(1);
  expect(() => meters.set(0, { packetsPerSecond: 1.5 })).toThrow(/packets a second/);
  expect(() => meters.set(0, { bitsPerSecond: 10, bitBurst: -1 })).toThrow(/bit burst/);
  expect(() => meters.set(0, {}, 2)).toThrow(/share/);
  expect(() => meters.packet(1, 1, 0)).toThrow(/no meter 1/);
  expect(() => divideShares([-1])).toThrow(RangeError);
  await expect(createMeters(0)).rejects.toThrow(RangeError);
});
