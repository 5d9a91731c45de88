// What the walk asks of a plan (`plan.ts`), one function a question, so that `exchange.ts` reads as a walk.
import { performance } from 'node:perf_hooks';
import type { Head } from '../codec/h1.ts';
import type { FailureCode } from '../phase/fail.ts';
import type { OwnAnswer } from '../policy/compile.ts';
import type { Exchange } from '../state.ts';
import type { UpstreamConnection } from '../upstream.ts';
import { mirror } from './mirror.ts';
import type { RetryReason } from './plan.ts';

/** Before the first try: the clock of the whole request, and a copy where the rule wants one. */
export function prepare(exchange: Exchange, giveUp: (exchange: Exchange, code: FailureCode) => void): void {
  const plan = exchange.plan!;
  const { serial } = exchange;
  plan.start(() => {
    if (exchange.serial === serial && exchange.isActive && !exchange.isTunnel) giveUp(exchange, 'request-timeout');
  });
  const { mirror: spec } = plan.spec;
  if (spec === null || exchange.wantsUpgrade) return;
  if (spec.percent < 100 && Math.random() * 100 >= spec.percent) return;
  plan.wantsMirror = true;
  if (exchange.isRequestDone) mirror(exchange);
}

const REASONS: Partial<Record<FailureCode, RetryReason>> = {
  'connect-refused': 'connect',
  'connect-timeout': 'connect',
  'target-handshake': 'connect',
  'response-missing': 'reset',
  'response-timeout': 'timeout',
  'response-malformed': 'malformed',
};

export function mayRetry(exchange: Exchange, connection: UpstreamConnection, code: FailureCode): boolean {
  const why = REASONS[code];
  return exchange.plan !== null && why !== undefined && exchange.plan.mayRetry(exchange, connection, why);
}

export function noteFirstByte(exchange: Exchange): void {
  const plan = exchange.plan!;
  plan.stopHedge();
  plan.spec.hedge?.latencies.note(performance.now() - exchange.sentAt);
}

/** What the client gets instead of this answer; null: the answer. */
export function substitute(exchange: Exchange, connection: UpstreamConnection, head: Head): OwnAnswer | 'retry' | null {
  const plan = exchange.plan!;
  const { retry, pages } = plan.spec;
  if (retry?.statuses.has(head.status) === true) {
    const { tried } = exchange;
    const isOther = exchange.rule!.group.usable.some(
      ({ target }) => target !== connection.target && !tried.includes(target),
    );
    if (isOther && plan.mayRetry(exchange, connection, head.status)) return 'retry';
  }
  return pages?.get(head.status) ?? null;
}

/** Nothing of this answer is still to come, and its connection may carry another one. */
export function isWhole(exchange: Exchange, head: Head, waiting: number): boolean {
  const length = exchange.method === 'HEAD' ? 0 : head.contentLength;
  return exchange.isRequestDone && head.minor === 1 && !head.isClose && !head.isChunked && length === waiting;
}

/** Why a connection did not come to be. */
export function unconnected(connection: UpstreamConnection, error: NodeJS.ErrnoException | null): FailureCode {
  if (error?.code === 'ETIMEDOUT') return 'connect-timeout';
  return connection.isHandshaking ? 'target-handshake' : 'connect-refused';
}

/** A tenth of what is new: a target that has become slow is noticed within some twenty answers. */
export function noteLatency({ sentAt }: Exchange, { target }: UpstreamConnection): void {
  const ms = performance.now() - sentAt;
  target.latencyMs = target.latencyMs === 0 ? ms : target.latencyMs * 0.9 + ms * 0.1;
}
