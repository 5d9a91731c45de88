// Writing images (data-plane.md P5, P11, P12): flipped between bursts, refused as a whole, tombstones for what was removed.
import { describe, expect, test } from 'vitest';
import { TABLES, director, id } from '../test/director-fixture.ts';

describe('images', () => {
  test('a bank is not rewritten while a worker may read it', async () => {
    const { core, writer } = await director();
    expect(writer.isApplied()).toBe(true);
    writer.write(TABLES);
    expect(writer.isApplied()).toBe(false);
    expect(() => writer.write(TABLES)).toThrow(/try again/);
    expect(core.adopt()).toBe(2);
    expect(writer.isFree()).toBe(true);
    expect(writer.write(TABLES)).toBe(3);
  });

  test('an image that names what it has not is refused, and the old one goes on', async () => {
    const { core, writer, send } = await director();
    const broken = {
      ...TABLES,
      groups: TABLES.groups.map((row) => ({ ...row, targets: [{ target: 'ffffffffffffffff', weight: 1 }] })),
    };
    expect(() => writer.write(broken)).toThrow(/names ffffffffffffffff among its targets/);
    expect(writer.generation).toBe(1);
    core.adopt();
    expect(send(Buffer.alloc(60)).reason).toBe('NotIp');
  });

  test('an image larger than the plan is refused with what to raise', async () => {
    const { writer } = await director({ plan: { targets: 8 } });
    const more = Array.from({ length: 9 }, (_, index) => ({
      ...TABLES.targets[0]!,
      id: id(`extra${index}`).replace(/.$/, String(index)),
    }));
    expect(() => writer.write({ ...TABLES, targets: [...TABLES.targets, ...more] })).toThrow(/raise targets/);
    expect(() => writer.write({ ...TABLES, groups: TABLES.groups.map((row) => ({ ...row, slots: 65537 })) })).toThrow(
      /maglevSlots/,
    );
  });

  test('groups with the check type none are alive at once', async () => {
    const { writer, core, plan, slots, memory } = await director({ withoutImage: true });
    writer.write({
      ...TABLES,
      groups: TABLES.groups.map((row) => (row.id === id('ga1') ? { ...row, check: { type: 'none' } } : row)),
    });
    core.adopt();
    const health = (name: string): number =>
      new Uint8Array(memory.buffer)[plan.map.health + (slots.targets.slotOf(id(name)) ?? 0)] ?? -1;
    expect([health('a1'), health('a2')]).toEqual([1, 0]);
  });
});
