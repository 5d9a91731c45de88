// stick: a client that is bound to a target stays there. Source-based binding is the scheduler's own (`ip-hash`, `maglev`: E2);
// what is bound here is one exchange: every retry of it must leave the target that failed.
import type { Exchange } from '../state.ts';

export function stick(exchange: Exchange): void {
  const { member } = exchange;
  member!.target.active++;
  member!.target.requests++;
  exchange.attempts++;
}
