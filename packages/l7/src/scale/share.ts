// A worker's part of what all workers know: who is alive by the main thread's checks, and which targets rest because some worker
// saw them fail. Both are read from shared memory; a message says when to look at verdicts.
import type { CompiledImage } from '../image.ts';
import type { Group, Member } from '../scheduler.ts';
import type { ImageState } from './messages.ts';
import { SharedCounts, SharedRates } from './shared.ts';

export const VERDICTS: readonly Member['health'][] = ['unknown', 'alive', 'dead'];

/** Members in the order in which every thread finds them. */
export function membersOf(image: CompiledImage): { group: Group; member: Member }[] {
  return [...image.groups.values()].flatMap((group) => group.members.map((member) => ({ group, member })));
}

export class WorkerShare {
  readonly rates: SharedRates;
  readonly counts: SharedCounts;
  readonly #bit: number;
  #members: { group: Group; member: Member }[] = [];
  #verdicts: Uint8Array = new Uint8Array(0);
  #resting: Int32Array<ArrayBufferLike> = new Int32Array(0);

  constructor(rates: SharedArrayBuffer, counts: SharedArrayBuffer, worker: number) {
    this.rates = new SharedRates(rates);
    this.counts = new SharedCounts(counts, worker);
    this.#bit = 1 << worker;
  }

  attach(image: CompiledImage, state: ImageState): void {
    for (const { id: listener, routes, policy } of image.listeners) {
      policy?.guard?.share(this.rates, listener);
      for (const rule of routes.rules) {
        for (const { id, policy: own } of [rule, ...rule.variants]) own?.guard?.share(this.rates, id);
      }
    }
    this.#members = membersOf(image);
    this.#verdicts = new Uint8Array(state.verdicts);
    this.#resting = new Int32Array(state.resting);
    this.readVerdicts();
    this.syncResting();
  }

  readVerdicts(): void {
    const changed = new Set<Group>();
    for (const [index, { group, member }] of this.#members.entries()) {
      const health = VERDICTS[this.#verdicts[index] ?? 0]!;
      if (member.health === health) continue;
      member.health = health;
      changed.add(group);
    }
    for (const group of changed) group.refresh();
  }

  /** Says which targets rest here, and learns which rest because of others. */
  syncResting(): void {
    const changed = new Set<Group>();
    for (const [index, { group, member }] of this.#members.entries()) {
      const held = Atomics.load(this.#resting, index);
      if (member.isEjected !== ((held & this.#bit) !== 0)) Atomics.xor(this.#resting, index, this.#bit);
      const isEjectedElsewhere = (held & ~this.#bit) !== 0;
      if (member.isEjectedElsewhere === isEjectedElsewhere) continue;
      member.isEjectedElsewhere = isEjectedElsewhere;
      changed.add(group);
    }
    for (const group of changed) group.refresh();
  }
}
