// The circuit breaker of a group: beyond so many requests, waiting requests or connections, more would only make targets slower, so
// they are answered 503 at once. It outlives images, because what it counts does.
import type { Circuit } from '@openclb/model';
import type { FailureCode } from '../phase/fail.ts';
import type { Exchange } from '../state.ts';

export class CircuitBreaker {
  #connectionsMax = Infinity;
  #pendingMax = Infinity;
  #requestsMax = Infinity;
  requests = 0;
  pending = 0;

  set({ connectionsMax = Infinity, pendingMax = Infinity, requestsMax = Infinity }: Circuit): this {
    this.#connectionsMax = connectionsMax;
    this.#pendingMax = pendingMax;
    this.#requestsMax = requestsMax;
    return this;
  }

  /** Before a try; the first one counts the request until `leave`. */
  enter(exchange: Exchange): FailureCode | null {
    if (exchange.circuit === null) {
      if (this.requests >= this.#requestsMax) return 'circuit-requests';
      this.requests++;
      exchange.circuit = this;
      exchange.isPending = false;
    }
    const peer = exchange.plan?.spec.peer ?? null;
    if (exchange.proxy.pool.hasFree(exchange.member!.target, peer)) return null;
    if (this.pending >= this.#pendingMax) return 'circuit-pending';
    return this.#connectionsMax !== Infinity && this.#connections(exchange) >= this.#connectionsMax
      ? 'circuit-connections'
      : null;
  }

  #connections(exchange: Exchange): number {
    let count = 0;
    for (const { target } of exchange.rule!.group.members) count += target.connections;
    return count;
  }

  /** The try waits for a connection. */
  wait(exchange: Exchange): void {
    if (exchange.isPending) return;
    exchange.isPending = true;
    this.pending++;
  }

  connected(exchange: Exchange): void {
    exchange.isPending = false;
    this.pending--;
  }

  leave(exchange: Exchange): void {
    this.requests--;
    if (exchange.isPending) this.connected(exchange);
    exchange.circuit = null;
  }
}
