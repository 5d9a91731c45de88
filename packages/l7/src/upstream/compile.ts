// The upstream half of a rule's policy (model/upstream-policy.ts) → what the walk uses. Null where a rule asks for nothing of it,
// which is what keeps a plain request free of all this.
import { type Mirror, type Retry, RETRY_DEFAULTS, type RulePolicy, type UpstreamTimeouts } from '@openclb/model';
import type { OwnAnswer } from '../policy/compile.ts';
import type { Group } from '../scheduler.ts';
import { Budget } from './budget.ts';
import { Latencies } from './latencies.ts';
import { type Peer, peerOf } from './peer.ts';

export const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

export interface CompiledRetry {
  readonly tries: number;
  readonly on: ReadonlySet<string>;
  readonly statuses: ReadonlySet<number>;
  readonly methods: ReadonlySet<string>;
  readonly perTryMs: number;
  readonly bodyBytesMax: number;
  readonly budget: Budget;
}

export interface CompiledHedge {
  /** 0: by `percentile`. */
  readonly delayMs: number;
  readonly percentile: number;
  readonly latencies: Latencies;
  readonly budget: Budget;
}

export interface CompiledMirror {
  readonly group: Group;
  readonly percent: number;
  readonly bodyBytesMax: number;
  readonly inFlightMax: number;
  /** Copies under way. */
  inFlight: number;
}

export interface CompiledUpstream {
  readonly peer: Peer | null;
  readonly isGrpc: boolean;
  readonly times: UpstreamTimeouts;
  readonly retry: CompiledRetry | null;
  readonly hedge: CompiledHedge | null;
  readonly mirror: CompiledMirror | null;
  /** Answers of targets that are replaced, by status. */
  readonly pages: ReadonlyMap<number, OwnAnswer> | null;
}

/** Body bytes that are kept for a second try where no rule says how many: REFUSED_STREAM of a gRPC target. */
const GRPC_REPLAY_BYTES_MAX = 65_536;

/** `before` is the same rule of the image before: budgets and latencies go on. */
export function compileUpstream(
  policy: RulePolicy,
  pages: ReadonlyMap<number, OwnAnswer> | null,
  groupOf: (id: string) => Group,
  before: CompiledUpstream | null,
): CompiledUpstream | null {
  const { forward, timeouts, retry, hedge, mirror } = policy;
  const peer = peerOf(forward);
  const asked = [timeouts, retry, hedge, mirror].some((part) => part !== undefined);
  if (peer === null && pages === null && !asked) return null;
  const isGrpc = peer?.isHttp2 === true;
  return {
    peer,
    isGrpc,
    times: timeouts ?? {},
    retry: retry === undefined ? null : retryOf(retry, before?.retry ?? null),
    hedge:
      hedge === undefined
        ? null
        : {
            delayMs: hedge.delayMs ?? 0,
            percentile: hedge.percentile ?? 95,
            latencies: before?.hedge?.latencies ?? new Latencies(),
            budget: (before?.hedge?.budget ?? new Budget()).set(hedge.budgetPercent ?? 10, 0),
          },
    mirror: mirror === undefined ? null : mirrorOf(mirror, groupOf(mirror.targetGroup)),
    pages,
  };
}

function retryOf(retry: Retry, before: CompiledRetry | null): CompiledRetry {
  const { budgetPercent, minPerSecond } = { ...RETRY_DEFAULTS, ...retry };
  return {
    tries: retry.tries ?? RETRY_DEFAULTS.tries,
    on: new Set(retry.on ?? ['connect', 'reset']),
    statuses: new Set(retry.statuses),
    methods: retry.methods === undefined ? IDEMPOTENT : new Set<string>(retry.methods),
    perTryMs: retry.perTryMs ?? 0,
    bodyBytesMax: retry.bodyBytesMax ?? RETRY_DEFAULTS.bodyBytesMax,
    budget: (before?.budget ?? new Budget()).set(budgetPercent, minPerSecond),
  };
}

function mirrorOf(mirror: Mirror, group: Group): CompiledMirror {
  const { percent = 100, bodyBytesMax = 65_536, inFlightMax = 100 } = mirror;
  return { group, percent, bodyBytesMax, inFlightMax, inFlight: 0 };
}

/** Bytes of a request body that must be kept until nothing can need them again. */
export function replayBytesOf({ retry, hedge, mirror, isGrpc }: CompiledUpstream): number {
  let bytes = isGrpc ? GRPC_REPLAY_BYTES_MAX : 0;
  if (retry !== null) bytes = Math.max(bytes, retry.bodyBytesMax);
  if (hedge !== null) bytes = Math.max(bytes, RETRY_DEFAULTS.bodyBytesMax);
  if (mirror !== null) bytes = Math.max(bytes, mirror.bodyBytesMax);
  return bytes;
}
