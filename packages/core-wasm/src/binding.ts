// Delayed binding of one worker (data-plane.md P26, P27): binding.wasm beside its core, driven by the same thread.
//   burst:    const all = core.forwardBurst(n, nowMs); const records = binding.burst(n, all, nowMs); core.transmit(records); …
//   between:  const more = binding.tick(nowMs); core.transmit(more); kick        once a millisecond
import { BindingState } from '../layout/index.ts';
import { Core } from './core.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

export interface Binding {
  /** After forwardBurst, with the packets received and the records there are. Returns how many records there are now. */
  burst(received: number, all: number, nowMs: number): number;
  /** Sends what is due: records from the first one on, as many as it returns. Between bursts only. */
  tick(nowMs: number): number;
}

/** Opens it on the memory of a plan; rejects when the package is not built. */
export async function openBinding(plan: MemoryPlan, memory: LinearMemory, worker: number): Promise<Binding> {
  const { exports } = await Core.open({ plan, memory, worker, artefact: 'binding' });
  const { bindBurst, bindTick } = exports as Record<'bindBurst' | 'bindTick', (...values: number[]) => number>;
  return { burst: bindBurst, tick: bindTick };
}

/** What delayed binding of a worker has counted, and how many connections wait now. */
export function bindingCounters(plan: MemoryPlan, memory: LinearMemory, worker: number): Record<string, number> {
  const at = plan.workers[worker]?.binding ?? 0;
  if (at === 0) return {};
  const view = new DataView(memory.buffer);
  const counters: Record<string, number> = { pending: view.getUint32(at + BindingState.at.count, true) };
  for (const [name, [type]] of Object.entries(BindingState.fields)) {
    if (type !== 'u64') continue;
    counters[name] = Number(view.getBigUint64(at + BindingState.at[name as keyof typeof BindingState.at], true));
  }
  return counters;
}
