// The regions of one packet worker in the shared memory, as the main thread sees them (data-plane.md P11).
import { type LinearMemory, type MemoryPlan, clearBinding } from '@openclb/core-wasm';
import { FlowEntry, WorkerState } from '@openclb/core-wasm/layout';

const CLEARED = [
  'adopted',
  'flowFree',
  'flowFresh',
  'flowCount',
  'expireCursor',
  'evictCursor',
  'unresolvedHead',
  'unresolvedTail',
] as const;

/** Makes the region of a dead worker as new (P11): its flows are lost, what it counted is kept. */
export function clearWorker(plan: MemoryPlan, memory: LinearMemory): void {
  const worker = plan.workers[0]!;
  const bytes = new Uint8Array(memory.buffer);
  const clear = (at: number, length: number): void => void bytes.fill(0, at, at + length);
  clear(worker.flowIndex, worker.flowIndexSlots * 4);
  clear(worker.flows, worker.flowsMax * FlowEntry.bytes);
  clear(worker.listenerRefs, plan.map.listenersMax * 4);
  clear(worker.targetRefs, plan.map.targetsMax * 4);
  clear(worker.wrr, plan.map.membersMax * 4);
  clearBinding(plan, memory, 0);
  for (const field of CLEARED) clear(worker.state + WorkerState.at[field], 4);
}
