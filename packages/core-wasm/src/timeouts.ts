// Idle times of flows, other than the defaults of layout/limits.ts: written once for all workers, read when a flow is looked at for expiry.
import { ControlBlock } from '../layout/index.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

/**
 * Idle times by state of a flow (data-plane.md P4, P20); RFC 5382, 5 and RFC 4787, 4.3 name the least that is wise.
 */
export interface FlowTimeouts {
  /** Milliseconds; each at least 1. */
  readonly synSeenMs?: number;
  readonly synAckSeenMs?: number;
  readonly finSeenMs?: number;
  readonly timeWaitMs?: number;
  readonly closedMs?: number;
  readonly directClosedMs?: number;
  readonly datagramMs?: number;
}

const LONGEST_MS = 2 ** 31 - 1;

/** What is left out keeps its default. Throws a RangeError for a time that is no whole number of milliseconds up to 24 days. */
export function setFlowTimeouts(plan: MemoryPlan, memory: LinearMemory, timeouts: FlowTimeouts): void {
  const view = new DataView(memory.buffer);
  for (const [name, value] of Object.entries(timeouts) as [keyof FlowTimeouts, number][]) {
    if (!Number.isInteger(value) || value < 1 || value > LONGEST_MS)
      throw new RangeError(`${name} must be a whole number of milliseconds from 1 to ${LONGEST_MS}, not ${value}`);
    view.setUint32(plan.map.control + ControlBlock.at[name], value, true);
  }
}
