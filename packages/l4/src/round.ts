// One round of a packet worker: adopt → receive → walk → transmit → kick → recycle, a burst of every port.
// This is the hot path of TypeScript: in `round` no object, view or spread is made.
import { type Binding, type Core } from '@openclb/core-wasm';
import { limits } from '@openclb/core-wasm/layout';
import { type BetweenBursts } from './between-bursts.ts';
import { type Tap } from './capture/tap.ts';
import { clock } from './clock.ts';
import { type WorkerRole } from './worker-messages.ts';
import { type WorkerPorts } from './worker-ports.ts';

const BURST = limits.BURST_MAX;

type Call = (...values: number[]) => number;

/** Runs every port once, a burst each; returns the packets that came. */
export function createRound(
  role: WorkerRole,
  core: Core,
  ports: Pick<WorkerPorts, 'count' | 'fill' | 'kick'>,
  between: BetweenBursts,
  clockMs: () => number = clock,
  binding: Binding | null = null,
  tap?: Tap,
): () => number {
  const { adopt, receive, transmit, recycle } = core.exports as Record<
    'adopt' | 'receive' | 'transmit' | 'recycle',
    Call
  >;
  const isDirector = role === 'director';
  const walk = core.exports[isDirector ? 'forwardBurst' : 'endpointBurst'] as Call;

  return function round() {
    const now = clockMs();
    let total = 0;
    if (isDirector) adopt();
    for (let index = 0; index < ports.count; index++) {
      if (!ports.fill(index)) continue;
      const count = receive(index, BURST);
      if (count === 0) continue;
      const isTapped = tap !== undefined && tap.isOn;
      if (isTapped) tap.before(count);
      // A director adds packets: pieces, and fragments that were held. An endpoint says nothing.
      const walked = walk(count, now) || count;
      const records = binding === null ? walked : binding.burst(count, walked, now);
      if (isTapped) tap.after(records);
      ports.kick(transmit(records));
      ports.kick(between.takeBurst(records, now));
      recycle(count);
      total += count;
    }
    return total;
  };
}
