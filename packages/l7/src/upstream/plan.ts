// What one request needs of the upstream half of its rule while it runs: the body kept for another try, its deadline, its hedge.
// Made only for rules that ask for something of it (`compile.ts`).
import { performance } from 'node:perf_hooks';
import type { Head } from '../codec/h1.ts';
import { fieldOf } from '../policy/view.ts';
import type { Exchange } from '../state.ts';
import type { UpstreamConnection } from '../upstream.ts';
import { type CompiledUpstream, IDEMPOTENT, replayBytesOf } from './compile.ts';
import { type GrpcKind, grpcKindOf, grpcTimeoutMs } from './grpc.ts';
import type { HedgedTry } from './hedge.ts';

export class Plan {
  readonly spec: CompiledUpstream;
  readonly grpc: GrpcKind;
  /** Of the whole request; 0: none. */
  readonly requestMs: number;
  readonly #replayMax: number;
  /** Body bytes as they went out, framing included; null when there were too many. */
  replay: Buffer[] | null = [];
  replayBytes = 0;
  isRetried = false;
  isHedged = false;
  hedge: HedgedTry | null = null;
  wantsMirror = false;
  #timer: NodeJS.Timeout | null = null;
  #hedgeTimer: NodeJS.Timeout | null = null;
  grpcStatus = -1;

  constructor(spec: CompiledUpstream, exchange: Exchange, head: Head | null) {
    this.spec = spec;
    this.grpc = spec.isGrpc ? grpcKindOf(fieldOf(exchange, head, 'content-type')) : '';
    const deadline = this.grpc === '' ? null : grpcTimeoutMs(fieldOf(exchange, head, 'grpc-timeout'));
    const own = spec.times.requestMs ?? 0;
    this.requestMs = deadline === null ? own : own === 0 ? deadline : Math.min(own, deadline);
    this.#replayMax = replayBytesOf(spec);
    for (const part of exchange.held) this.keep(part);
    if (spec.retry !== null) spec.retry.budget.active++;
    if (spec.hedge !== null) spec.hedge.budget.active++;
    // The length of a stream of messages is nobody's business, unless the rule says so.
    if (this.grpc !== '' && exchange.rule!.policy!.bodyBytesMax === null) exchange.bodyBytesMax = Infinity;
  }

  keep(part: Buffer): void {
    if (this.replay === null) return;
    this.replayBytes += part.length;
    if (this.replayBytes > this.#replayMax) this.replay = null;
    else this.replay.push(part);
  }

  /** The clock of the whole request starts. */
  start(onLate: () => void): void {
    if (this.requestMs === 0) return;
    this.#timer = setTimeout(onLate, Math.min(this.requestMs, 0x7fff_ffff));
    this.#timer.unref();
  }

  scheduleHedge(ms: number, act: () => void): void {
    this.#hedgeTimer = setTimeout(act, ms);
    this.#hedgeTimer.unref();
  }

  stopHedge(): void {
    if (this.#hedgeTimer !== null) clearTimeout(this.#hedgeTimer);
    this.#hedgeTimer = null;
    this.hedge?.cancel();
    this.hedge = null;
  }

  /** The exchange is over. */
  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.stopHedge();
    const { retry, hedge } = this.spec;
    if (retry !== null) {
      retry.budget.active--;
      if (this.isRetried) retry.budget.extra--;
    }
    if (hedge !== null) {
      hedge.budget.active--;
      if (this.isHedged) hedge.budget.extra--;
    }
  }

  /** The whole body can be sent once more. */
  canReplay(exchange: Exchange): boolean {
    return exchange.requestBody.isDone && exchange.requestBody.bytes === 0 ? true : this.replay !== null;
  }

  /** A body that has been sent is waiting to be sent again. */
  refill(exchange: Exchange): void {
    if (this.replay === null) return;
    exchange.held.length = 0;
    for (const part of this.replay) exchange.held.push(part);
    exchange.heldBytes = this.replayBytes;
  }

  /** Whether a try that ended so may be followed by another one; takes of the budget. */
  mayRetry(exchange: Exchange, connection: UpstreamConnection, why: RetryReason): boolean {
    const { retry } = this.spec;
    const isUnsent = !exchange.isSent || connection.isUnprocessed;
    if (exchange.isSent && !this.canReplay(exchange)) return false;
    if (retry === null) return isUnsent && exchange.attempts < exchange.proxy.limits.attemptsMax;
    if (exchange.attempts >= retry.tries) return false;
    if (!isUnsent) {
      if (!retry.methods.has(exchange.method)) return false;
      if (typeof why === 'number' ? !retry.statuses.has(why) : !retry.on.has(why)) return false;
    } else if (typeof why === 'string' && !retry.on.has('connect')) return false;
    // One request holds one place in the budget, however often it is tried.
    if (!this.isRetried && !retry.budget.take(performance.now())) {
      exchange.proxy.counters.retriesRefused++;
      return false;
    }
    this.isRetried = true;
    return true;
  }

  get mayHedge(): boolean {
    return this.spec.hedge !== null;
  }

  static isIdempotent(method: string): boolean {
    return IDEMPOTENT.has(method);
  }
}

/** A status, or how a try was lost. */
export type RetryReason = number | 'connect' | 'reset' | 'timeout' | 'malformed';
