// Stable slots (data-plane.md P5): a slot never changes its meaning while a flow refers to it.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SlotAllocator } from './slots.ts';

const allocator = (references: (slot: number) => number = () => 0, capacity = 4) =>
  new SlotAllocator({ kind: 'targets', capacity, references });

describe('slots', () => {
  test('an id keeps its slot whatever comes and goes around it', () => {
    const slots = allocator();
    slots.assign(['a', 'b'], 0, 1000);
    const slot = slots.slotOf('b');
    slots.assign(['b', 'c', '0'], 1, 1000);
    expect(slots.slotOf('b')).toBe(slot);
    expect(slots.tombstones()).toMatchObject([{ id: 'a' }]);
  });

  test('a removed id that comes back in time gets its own slot again', () => {
    const slots = allocator();
    expect(slots.assign(['a', 'b'], 0, 1000)).toEqual(['a', 'b']);
    const slot = slots.slotOf('a');
    slots.assign(['b'], 1, 1000);
    expect(slots.slotOf('a')).toBeUndefined();
    expect(slots.assign(['a', 'b'], 2, 1000)).toEqual([]);
    expect(slots.slotOf('a')).toBe(slot);
  });

  test('a slot is reused only after the hold time and without references', () => {
    let references = 1;
    const slots = allocator(() => references, 1);
    slots.assign(['a'], 0, 1000);
    slots.assign([], 0, 1000);
    expect(() => slots.assign(['b'], 999, 1000)).toThrow(/1 still serve flows/);
    expect(() => slots.assign(['b'], 2000, 1000)).toThrow(RangeError);
    references = 0;
    slots.assign(['b'], 2000, 1000);
    expect(slots.slotOf('b')).toBe(0);
  });

  test('an image that does not fit changes nothing', () => {
    const slots = allocator();
    slots.assign(['a', 'b'], 0, 1000);
    expect(() => slots.assign(['c', 'd', 'e'], 1, 1000)).toThrow(/raise targets in the memory plan/);
    expect(slots.slotOf('a')).toBe(0);
    expect(slots.tombstones()).toEqual([]);
  });

  test('no two live or remembered ids ever share a slot', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { maxLength: 4 }), { maxLength: 30 }),
        (images) => {
          const slots = allocator((slot) => slot % 2, 16);
          for (const [time, ids] of images.entries()) {
            slots.assign(ids, time * 10, 25);
            const used = [...ids.map((id) => slots.slotOf(id)), ...slots.tombstones().map(({ slot }) => slot)];
            expect(new Set(used).size).toBe(used.length);
          }
        },
      ),
    );
  });
});
