// Stable slots (P5): a slot keeps its meaning while a flow refers to it. An id that leaves the image becomes a tombstone; its slot goes
// to another id only when nothing refers to it and 2 × the longest idle time has passed.
import { TargetRow } from '../layout/index.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

/** How many slots there are, and how often each is referred to. */
export interface SlotOptions {
  /** What is counted, for the message when it is full. */
  readonly kind: string;
  readonly capacity: number;
  /** How many live things refer to a slot. */
  readonly references: (slot: number) => number;
}

interface Tombstone {
  readonly id: string;
  readonly slot: number;
  readonly removedMs: number;
}

/**
 * Gives stable ids their slots (data-plane.md P5): an id keeps its slot, and a slot gets another id only when nothing
 * refers to it. Throws a RangeError when none is free.
 */
export class SlotAllocator {
  private readonly options: SlotOptions;
  private live = new Map<string, number>();
  private dead = new Map<string, Tombstone>();
  private free: number[] = [];
  private fresh = 0;

  constructor(options: SlotOptions) {
    this.options = options;
  }

  /** One more than the highest slot in use or tombstoned. */
  get end(): number {
    return this.fresh;
  }

  slotOf(id: string): number | undefined {
    return this.live.get(id);
  }

  /** The id that a slot stands for, tombstones included. */
  idOf(slot: number): string | undefined {
    for (const [id, found] of this.live) if (found === slot) return id;
    for (const { id, slot: found } of this.dead.values()) if (found === slot) return id;
    return undefined;
  }

  /** Every id that means something, with its slot. */
  all(): { readonly live: ReadonlyMap<string, number>; readonly gone: ReadonlyMap<string, number> } {
    return { live: this.live, gone: new Map([...this.dead].map(([id, { slot }]) => [id, slot])) };
  }

  tombstones(): readonly { readonly id: string; readonly slot: number }[] {
    return [...this.dead.values()];
  }

  /**
   * Makes exactly these ids live. Returns the ids that are new. Throws a RangeError, and changes nothing, when they do not fit:
   * the image is then refused as a whole.
   */
  assign(ids: readonly string[], nowMs: number, holdMs: number): readonly string[] {
    const wanted = new Set(ids);
    this.sweep(nowMs, holdMs);
    const missing = [...wanted].filter((id) => !this.live.has(id) && !this.dead.has(id));
    const room = this.free.length + (this.options.capacity - this.fresh);
    if (missing.length > room) {
      throw new RangeError(
        `The image needs ${missing.length} more ${this.options.kind} slots and ${room} of ${this.options.capacity} are free` +
          (this.dead.size > 0 ? `; ${this.dead.size} still serve flows of removed ones` : '') +
          `: raise ${this.options.kind} in the memory plan`,
      );
    }
    for (const [id, slot] of this.live) if (!wanted.has(id)) this.dead.set(id, { id, slot, removedMs: nowMs });
    for (const id of this.dead.keys()) this.live.delete(id);
    const added: string[] = [];
    for (const id of wanted) {
      if (this.live.has(id)) continue;
      const back = this.dead.get(id);
      if (back === undefined) added.push(id);
      this.dead.delete(id);
      this.live.set(id, back?.slot ?? this.free.pop() ?? this.fresh++);
    }
    return added;
  }

  private sweep(nowMs: number, holdMs: number): void {
    for (const [id, { slot, removedMs }] of this.dead) {
      if (nowMs - removedMs < holdMs || this.options.references(slot) > 0) continue;
      this.dead.delete(id);
      this.free.push(slot);
    }
  }
}

/** The allocators of a director's tables. */
export interface Slots {
  readonly listeners: SlotAllocator;
  readonly targets: SlotAllocator;
  readonly groups: SlotAllocator;
  readonly hosts: SlotAllocator;
  readonly eips: SlotAllocator;
}

/** References are counted by the workers in the memory itself: listeners and targets by flows, groups by listeners, hosts by targets. */
export function createSlots(plan: MemoryPlan, memory: LinearMemory): Slots {
  const words = new Uint32Array(memory.buffer);
  const sum = (field: 'listenerRefs' | 'targetRefs', slot: number): number =>
    plan.workers.reduce((total, worker) => total + (words[worker[field] / 4 + slot] ?? 0), 0);
  const { map } = plan;
  const targets = new SlotAllocator({
    kind: 'targets',
    capacity: map.targetsMax,
    references: (slot) => sum('targetRefs', slot),
  });
  const usesHost = (slot: number): number => {
    for (const bank of [map.bankA, map.bankB]) {
      for (let target = 0; target < targets.end; target++) {
        const row = (bank + map.bankTargets + target * TargetRow.bytes) / 4;
        if (words[row + TargetRow.at.host / 4] === slot && words[row + TargetRow.at.port / 4] !== 0) return 1;
      }
    }
    return 0;
  };
  return {
    listeners: new SlotAllocator({
      kind: 'listeners',
      capacity: map.listenersMax,
      references: (slot) => sum('listenerRefs', slot),
    }),
    targets,
    groups: new SlotAllocator({ kind: 'groups', capacity: map.groupsMax, references: () => 0 }),
    hosts: new SlotAllocator({ kind: 'hosts', capacity: map.hostsMax, references: usesHost }),
    eips: new SlotAllocator({ kind: 'eips', capacity: map.eipsMax, references: () => 0 }),
  };
}
