// The replay window of flow sync (data-plane.md P9): every number once, in any order within its reach; recordings are refused.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SKEW_MS_MAX, SyncWindow, WINDOW } from './sync-window.ts';

const NOW = 1_790_000_000_000;
const START = NOW - 10_000;

test('numbers in any order are taken once each, and again never', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(Array.from({ length: 300 }, (_, index) => index + 2)), (order) => {
      const window = new SyncWindow();
      expect(window.accept(START, 1, NOW, NOW)).toBeNull();
      expect(order.map((number) => window.accept(START, number, NOW, NOW))).toEqual(order.map(() => null));
      expect(order.map((number) => window.accept(START, number, NOW, NOW))).toEqual(order.map(() => 'replayed'));
    }),
    { numRuns: 50 },
  );
});

test('what is further behind than the window reaches is refused, even unseen', () => {
  const window = new SyncWindow();
  window.accept(START, 1, NOW, NOW);
  window.accept(START, WINDOW + 10, NOW, NOW);
  expect(window.accept(START, 10, NOW, NOW)).toBe('replayed');
  expect(window.accept(START, 11, NOW, NOW)).toBeNull();
});

test('a sender that starts anew is followed, and its former self is not heard again', () => {
  const window = new SyncWindow();
  window.accept(START, 500, NOW, NOW);
  expect(window.accept(START + 1, 1, NOW, NOW)).toBeNull();
  expect(window.accept(START, 501, NOW, NOW)).toBe('stale');
  expect(window.accept(START + 1, 2, NOW, NOW)).toBeNull();
});

test('a recording is refused by its age, also by a receiver that has just started', () => {
  expect(new SyncWindow().accept(START, 1, NOW - SKEW_MS_MAX - 1, NOW)).toBe('stale');
  expect(new SyncWindow().accept(START, 1, NOW + SKEW_MS_MAX + 1, NOW)).toBe('stale');
  expect(new SyncWindow().accept(START, 1, NOW - SKEW_MS_MAX + 1, NOW)).toBeNull();
});

test('a number that stays away is a gap once, one that is only late is none', () => {
  const window = new SyncWindow();
  window.accept(START, 1, NOW, NOW);
  window.accept(START, 3, NOW, NOW);
  expect(window.takeGap(NOW + 100, 300)).toBe(false);
  window.accept(START, 2, NOW, NOW + 100);
  expect(window.takeGap(NOW + 400, 300)).toBe(false);
  window.accept(START, 6, NOW, NOW + 500);
  window.accept(START, 5, NOW, NOW + 600);
  expect(window.takeGap(NOW + 700, 300)).toBe(false);
  expect(window.takeGap(NOW + 800, 300)).toBe(true);
  expect(window.takeGap(NOW + 900, 300)).toBe(false);
});
