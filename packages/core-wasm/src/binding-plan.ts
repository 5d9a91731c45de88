// The part of a memory plan in which connections wait for their target (data-plane.md P26, P27).
import { BindingState, PendingRow, Segment, TcpView, bindingLimits } from '../layout/index.ts';
import type { LinearMemory, MemoryPlan, WorkerPlan } from './plan.ts';
import { Space, powerOfTwo } from './space.ts';

/** Head, scratch, rows, chains and blocks in one piece: `writeBindingState` fills the head in. */
export function bindingParts(at: number, rows: number) {
  // Behind the head lies what work.ts uses.
  const space = new Space(at + BindingState.bytes + TcpView.bytes + Segment.bytes);
  return {
    rows: space.take(rows * PendingRow.bytes),
    heads: space.take(powerOfTwo(rows * 2) * 4),
    text: space.take(bindingLimits.KEPT_BYTES_MAX),
    blocks: space.take(rows * bindingLimits.KEPT_BLOCK_BYTES),
    end: space.taken,
  };
}

export function writeBindingState({ pending }: MemoryPlan, { binding }: WorkerPlan, words: Uint32Array): void {
  if (binding === 0) return;
  const parts = bindingParts(binding, pending);
  const word = (field: keyof typeof BindingState.at, value: number): void => {
    words[(binding + BindingState.at[field]) / 4] = value;
  };
  for (const part of ['rows', 'heads', 'text', 'blocks'] as const) word(part, parts[part]);
  word('rowsMax', pending);
  word('blocksMax', pending);
  word('headMask', powerOfTwo(pending * 2) - 1);
}

/** Forgets the connections of a worker that wait for their target: of one that is made anew. */
export function clearBinding(plan: MemoryPlan, memory: LinearMemory, worker: number): void {
  const { binding } = plan.workers[worker] as WorkerPlan;
  if (binding === 0) return;
  const { heads, rows } = bindingParts(binding, plan.pending);
  const bytes = new Uint8Array(memory.buffer);
  for (const field of ['free', 'fresh', 'count', 'blockFree', 'blockFresh', 'cursor'] as const)
    bytes.fill(0, binding + BindingState.at[field], binding + BindingState.at[field] + 4);
  bytes.fill(0, heads, heads + powerOfTwo(plan.pending * 2) * 4);
  bytes.fill(0, rows, rows + plan.pending * PendingRow.bytes);
}
