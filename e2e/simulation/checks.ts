// What must hold at every step, whatever happens: counters balance, tables are bounded, and nothing is left behind at the end.
import { type Core } from '@openclb/core-wasm';
import { WorkerState } from '@openclb/core-wasm/layout';

/** A broken promise: the history ends here, and its seed is printed. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export interface Counted {
  readonly role: string;
  readonly core: Core;
  /** Frames that were given to its ports, and those that its ports sent. */
  readonly framesIn: number;
  readonly framesOut: number;
}

const ENDS = ['forwarded', 'dropped', 'punted', 'consumed', 'held'] as const;
const counter = ({ core }: Counted, name: keyof typeof WorkerState.at): number =>
  Number(core.view.getBigUint64(core.worker.state + WorkerState.at[name], true));

/** received + added = forwarded + dropped + punted + consumed + held, and the wires saw the same: judged by the wires, not by counters alone. */
export function checkBalance(node: Counted): void {
  const received = counter(node, 'received');
  const added = counter(node, 'added');
  const ends = ENDS.reduce((sum, name) => sum + counter(node, name), 0);
  if (received + added !== ends)
    throw new Violation(`counters of a ${node.role}: received ${received} + added ${added}, but ends are ${ends}`);
  if (received !== node.framesIn)
    throw new Violation(`a ${node.role} counted ${received} received frames, the wire brought ${node.framesIn}`);
  const forwarded = counter(node, 'forwarded');
  if (forwarded !== node.framesOut)
    throw new Violation(`a ${node.role} counted ${forwarded} forwarded frames, the wire took ${node.framesOut}`);
}

/** Every packet that was not forwarded has one reason, none of them a bug of a walk. */
export function checkReasons({ role, core }: Counted): void {
  const counters = core.counters();
  const others = ENDS.slice(1).reduce((sum, name) => sum + (counters[name] ?? 0), 0);
  const reasons = Object.entries(counters).reduce((sum, [name, n]) => (name.startsWith('reason.') ? sum + n : sum), 0);
  if (reasons !== others)
    throw new Violation(`${others} packets of a ${role} were not forwarded, reasons count ${reasons}`);
  if ((counters['reason.WalkBug'] ?? 0) > 0) throw new Violation(`a walk of a ${role} ended without a verdict`);
  if ((counters['flowsActive'] ?? 0) > core.worker.flowsMax)
    throw new Violation(`a ${role} has more flows than its table`);
}

/** References that flows hold on listeners and targets. */
export function referencesOf({ plan, worker, view }: Core): number {
  let sum = 0;
  for (let slot = 0; slot < plan.map.listenersMax; slot++) sum += view.getUint32(worker.listenerRefs + slot * 4, true);
  for (let slot = 0; slot < plan.map.targetsMax; slot++) sum += view.getUint32(worker.targetRefs + slot * 4, true);
  return sum;
}
