// Maglev's invariants as properties (data-plane.md P12): one table for everyone, fair by weight, nobody starved, little moved.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAGLEV_EMPTY, maglev, primeAtMost, sortedById, type MaglevMember } from './hash.ts';

const size = fc.oneof(fc.integer({ min: 251, max: 4093 }), fc.constantFrom(251, 509, 4093, 16381, 65537));
const id = fc.bigInt({ min: 1n, max: (1n << 64n) - 1n }).map((value) => value.toString(16).padStart(16, '0'));
const group = (weightMin: number): fc.Arbitrary<MaglevMember[]> =>
  fc.uniqueArray(fc.record({ id, weight: fc.integer({ min: weightMin, max: 100 }) }), {
    minLength: 1,
    maxLength: 40,
    selector: (member) => member.id,
  });

/** Slots of each member by id. */
function counts(members: readonly MaglevMember[], table: Uint16Array): Map<string, number> {
  const sorted = sortedById(members);
  const found = new Map<string, number>(sorted.map((member) => [member.id, 0]));
  for (const index of table) {
    const owner = sorted[index]?.id;
    if (owner !== undefined) found.set(owner, (found.get(owner) ?? 0) + 1);
  }
  return found;
}

/** Part of the slots whose owner changed although it is in both groups. */
function movedWithoutNeed(before: readonly MaglevMember[], after: readonly MaglevMember[], slots: number): number {
  const [left, right] = [sortedById(before), sortedById(after)];
  const [old, fresh] = [maglev(before, slots), maglev(after, slots)];
  const stays = new Set(right.map((member) => member.id));
  const isNew = new Set(right.map((member) => member.id));
  for (const member of left) isNew.delete(member.id);
  let moved = 0;
  for (const [slot, index] of old.entries()) {
    const was = left[index]?.id ?? '';
    const is = right[fresh[slot] ?? 0]?.id ?? '';
    if (was !== is && stays.has(was) && !isNew.has(is)) moved++;
  }
  return moved / old.length;
}

describe('a Maglev table of any prime size from 251 to 65,537', () => {
  test('is the same whatever the order of the list', () => {
    fc.assert(
      fc.property(
        group(0).chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        size,
        ([list, shuffled], slots) => {
          expect(maglev(shuffled, slots)).toEqual(maglev(list, slots));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('is full, has the largest prime that fits, and gives nothing to weight 0', () => {
    fc.assert(
      fc.property(group(0), size, (list, slots) => {
        const table = maglev(list, slots);
        expect(table.length).toBe(primeAtMost(slots));
        const isEmpty = list.every((member) => member.weight === 0);
        expect(table.every((index) => (index === MAGLEV_EMPTY) === isEmpty)).toBe(true);
        const found = counts(list, table);
        for (const { id: name } of list.filter(({ weight }) => weight === 0)) expect(found.get(name)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test('gives every member with a weight at least one slot, and its share to within two slots', () => {
    fc.assert(
      fc.property(group(1), size, (list, slots) => {
        const table = maglev(list, slots);
        const whole = list.reduce((sum, member) => sum + member.weight, 0);
        const found = counts(list, table);
        for (const { id: name, weight } of list) {
          const has = found.get(name) ?? 0;
          expect(has).toBeGreaterThanOrEqual(1);
          expect(Math.abs(has - (table.length * weight) / whole)).toBeLessThanOrEqual(
            2 + (list.length * weight) / whole,
          );
        }
      }),
      { numRuns: 100 },
    );
  });

  test('serves as many members as it has slots: each has one', () => {
    const list = Array.from({ length: 251 }, (_, index) => ({ id: `t${index}`, weight: 1 + (index % 7) }));
    expect(new Set(maglev(list, 251)).size).toBe(251);
  });

  test.each([
    [2, 4093, 0],
    [10, 4093, 0.02],
    [100, 4093, 0.05],
    [2, 65537, 0],
    [10, 65537, 0.005],
    [100, 65537, 0.01],
    [1000, 65537, 0.01],
  ])('of %i equal members and %i slots moves little without need when one leaves', (count, slots, most) => {
    const list = Array.from({ length: count }, (_, index) => ({ id: `target-${index}`, weight: 1 }));
    for (const gone of [0, Math.floor(count / 2), count - 1]) {
      const rest = list.filter((_, index) => index !== gone);
      expect(movedWithoutNeed(list, rest, slots)).toBeLessThanOrEqual(most);
      expect(movedWithoutNeed(rest, list, slots)).toBeLessThanOrEqual(most);
    }
  });
});
