// Writes access lists into a bank, and says to the workers when flows must be looked at again.
import { BankHeader } from '../layout/index.ts';
import { type AccessListInput, type BuiltAccess, buildAccess, isSameAccess } from './access-lists.ts';
import { sortedById } from './hash.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

interface Guarded {
  readonly id: string;
  readonly access?: string | undefined;
}

/** First node of the list of a listener in the family of its VIP; 0 when it has none. Throws a RangeError for a list that is not there. */
export function rootOf({ roots }: BuiltAccess, { id, access }: Guarded, isV4: boolean): number {
  if (access === undefined) return 0;
  const found = roots.get(access);
  if (found === undefined)
    throw new RangeError(`Listener ${id} names the access list ${access}, which the image lacks`);
  return isV4 ? found.v4 : found.v6;
}

export class AccessWriter {
  private readonly plan: MemoryPlan;
  private readonly memory: LinearMemory;
  private last: { readonly lists: readonly AccessListInput[]; readonly built: BuiltAccess } | null = null;
  private written: BuiltAccess | null = null;
  private guarded = '';
  private epoch = 0;

  constructor(plan: MemoryPlan, memory: LinearMemory) {
    this.plan = plan;
    this.memory = memory;
  }

  /** Lists that are those of the last image are not built again. Throws a RangeError. */
  build(lists: readonly AccessListInput[] = []): BuiltAccess {
    if (this.last === null || !isSameAccess(this.last.lists, lists))
      this.last = { lists, built: buildAccess(lists, this.plan.map.accessMax) };
    return this.last.built;
  }

  write(bank: number, access: BuiltAccess, listeners: readonly Guarded[]): void {
    const bytes = new Uint8Array(this.memory.buffer);
    bytes.set(access.nodes, bank + this.plan.map.bankAccessNodes);
    bytes.set(access.rules, bank + this.plan.map.bankAccessRules);
    const guarded = JSON.stringify(sortedById(listeners).map(({ id, access: list }) => [id, list]));
    if (access !== this.written || guarded !== this.guarded) this.epoch++;
    this.written = access;
    this.guarded = guarded;
    new DataView(this.memory.buffer).setUint32(bank + BankHeader.at.accessEpoch, this.epoch, true);
  }
}
