// Maglev and rendezvous (data-plane.md P12): the same for everyone who knows the same list, and little moves when the list changes.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAGLEV_EMPTY, jump, maglev, primeAtMost, rendezvous, sortedById } from './hash.ts';

const members = (count: number, weight = 1) =>
  Array.from({ length: count }, (_, index) => ({ id: `target-${index}`, weight }));
const share = (table: Uint16Array, index: number): number =>
  table.filter((slot) => slot === index).length / table.length;

describe('maglev', () => {
  test('the order of the list does not matter', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1, maxLength: 16 }), { minLength: 1, maxLength: 30 }),
        fc.integer(),
        (ids, seed) => {
          const list = ids.map((id, index) => ({ id, weight: 1 + (index % 5) }));
          const shuffled = [...list].sort((a, b) => ((a.id.length * seed) % 7) - ((b.id.length * seed) % 7));
          expect(maglev(shuffled, 251)).toEqual(maglev(list, 251));
        },
      ),
      { numRuns: 50 },
    );
  });

  test('shares follow the weights, and the smallest weight is never starved', () => {
    const list = Array.from({ length: 100 }, (_, index) => ({ id: `t${index}`, weight: index + 1 }));
    const table = maglev(list, 4093);
    const sorted = sortedById(list);
    for (const [index, member] of sorted.entries()) {
      const expected = member.weight / 5050;
      expect(share(table, index)).toBeGreaterThan(0);
      expect(Math.abs(share(table, index) - expected)).toBeLessThan(2 / 4093);
    }
  });

  test('removing one of ten moves its own share and little else; adding it back restores the table', () => {
    const all = sortedById(members(10));
    const before = maglev(all, 4093);
    const after = maglev(
      all.filter((member) => member.id !== 'target-3'),
      4093,
    );
    const rest = all.filter((member) => member.id !== 'target-3').map((member) => member.id);
    let strangers = 0;
    for (let slot = 0; slot < before.length; slot++) {
      const owner = all[before[slot] ?? 0]?.id;
      if (owner !== 'target-3' && rest[after[slot] ?? 0] !== owner) strangers++;
    }
    expect(strangers / before.length).toBeLessThan(0.05);
    expect(maglev(all, 4093)).toEqual(before);
  });

  test('weight 0 leaves the table, and all weights 0 leave it empty', () => {
    expect(new Set(maglev([...members(2), { id: 'drained', weight: 0 }], 251)).has(0)).toBe(false);
    expect(new Set(maglev(members(3, 0), 251))).toEqual(new Set([MAGLEV_EMPTY]));
  });

  test('a size that is no prime is lowered to one', () => {
    expect(primeAtMost(4096)).toBe(4093);
    expect(maglev(members(3), 65537)).toHaveLength(65537);
    expect(maglev(members(3), 300)).toHaveLength(293);
  });
});

describe('rendezvous', () => {
  test('everyone chooses alike, a removed member moves only its own keys, weights shift the odds', () => {
    const list = members(5);
    const counts = new Map<string, number>();
    for (let key = 0; key < 5000; key++) {
      const chosen = rendezvous(list, `key-${key}`)?.id ?? '';
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
      const without = rendezvous(
        list.filter((member) => member.id !== 'target-2'),
        `key-${key}`,
      )?.id;
      expect(chosen === 'target-2' || without === chosen).toBe(true);
    }
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
    const heavy = [
      { id: 'a', weight: 3 },
      { id: 'b', weight: 1 },
    ];
    const a = Array.from({ length: 4000 }, (_, key) => rendezvous(heavy, `${key}`)?.id).filter(
      (id) => id === 'a',
    ).length;
    expect(Math.abs(a / 4000 - 0.75)).toBeLessThan(0.03);
    expect(rendezvous([], 'x')).toBeUndefined();
    expect(rendezvous([{ id: 'drained', weight: 0 }], 'x')).toBeUndefined();
  });
});

describe('jump', () => {
  test('a bucket more takes its share from all others and moves no key between two that stay', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 5000 }), (key, buckets) => {
        const before = jump(key, buckets);
        const after = jump(key, buckets + 1);
        expect(before).toBeLessThan(buckets);
        expect(after === before || after === buckets).toBe(true);
      }),
      { numRuns: 500 },
    );
    const keys = Array.from({ length: 20_000 }, (_, key) => `key-${key}`);
    const moved = keys.filter((key) => jump(key, 10) !== jump(key, 11)).length;
    expect(Math.abs(moved / keys.length - 1 / 11)).toBeLessThan(0.01);
  });

  test('buckets get equal shares', () => {
    const counts = new Uint32Array(16);
    for (let key = 0; key < 32_000; key++) counts[jump(`${key}`, 16)]! += 1;
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(200);
  });

  test('a number of buckets that is none is refused', () => {
    for (const buckets of [0, -1, 1.5, 2 ** 31, Number.NaN])
      expect(() => jump('x', buckets)).toThrow('buckets must be a whole number from 1 to 2147483647');
  });
});
