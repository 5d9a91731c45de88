// What one exchange remembers on its walk, and what it may use of the proxy and of its client connection.
// One Exchange belongs to one client connection and is used again for each of its requests.
import type { FilterRequest, L7Filter } from '@openclb/model';
import { Body } from './codec/body.ts';
import type { Head } from './codec/h1.ts';
import type { Counters } from './counters.ts';
import type { Outbox } from './outbox.ts';
import type { CompiledListener, CompiledRule } from './image.ts';
import type { Limits } from './limits.ts';
import type { SecureIdentity } from './phase/identify.ts';
import type { AccessRecord } from './log/record.ts';
import type { OwnAnswer } from './policy/compile.ts';
import type { Encoder } from './policy/compress.ts';
import type { MessageEdit } from './policy/edit.ts';
import type { Group, Member } from './scheduler.ts';
import type { CircuitBreaker } from './upstream/circuit.ts';
import type { GrpcKind } from './upstream/grpc.ts';
import type { Target, UpstreamConnection, UpstreamPool } from './upstream.ts';
import type { Plan } from './upstream/plan.ts';
import type { Shadow } from './shadow.ts';
import type { Wheel } from './wheel.ts';

export interface ProxyContext {
  readonly limits: Limits;
  readonly wheel: Wheel;
  readonly outbox: Outbox;
  readonly pool: UpstreamPool;
  readonly counters: Counters;
  /** Scratch: valid from parsing to the end of that turn. */
  readonly requestHead: Head;
  readonly responseHead: Head;
  readonly filters: readonly L7Filter[];
  readonly accessLog: ((record: AccessRecord) => void) | null;
  /** Seals the cookies of stickiness; equal on every proxy of a cluster. */
  readonly stickyKey: Buffer;
  /** A target failed or answered, for passive health checks. */
  readonly onTargetFailure: (target: Target, group: Group) => void;
  readonly onFilterError: (filter: string, error: unknown) => void;
  isDraining: boolean;
  /** A candidate image that decides beside the active one. */
  shadow: Shadow | null;
  /** Counts client connections for logs. */
  connectionSerial: number;
}

/** The client side of an exchange, whatever protocol it speaks. */
export interface Downstream {
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly vip: string;
  readonly vport: number;
  readonly scheme: 'http' | 'https';
  readonly isHttp2: boolean;
  /** Number of the client connection, and of requests that it has brought. */
  readonly connectionId: number;
  readonly requestCount: number;
  /** What TLS said about the client; null where it speaks in plain. */
  readonly secure: SecureIdentity | null;
  /** `X-Real-IP`, `X-Client-Proto` and `X-Forwarded-Proto` lines of this client. */
  readonly identityFields: string;
  /** The same with X-Forwarded-For and the empty line: how nearly every request ends. */
  readonly identityTail: string;
  /** The listener as the newest image has it; null when it is gone. */
  readonly listener: CompiledListener | null;
  readonly canKeepAlive: boolean;
  /** Afterwards `isBacklogged` says whether to stop until `exchange.clientDrained`. */
  write(data: string | Buffer): void;
  /** The client does not read what waits for it. */
  readonly isBacklogged: boolean;
  /** Between the two, writes are kept back and leave together. */
  cork(): void;
  uncork(): void;
  /** All that was written has reached the kernel. */
  readonly isFlushed: boolean;
  /** The client's FIN has been seen. */
  readonly isInputEnded: boolean;
  pause(): void;
  resume(): void;
  /** The response is complete. */
  finished(closes: boolean): void;
  /** Cuts the client off, so that it cannot take half a response for a whole one. */
  abort(): void;
  /** 101 was answered: from now on bytes are bytes. Returns those that came early. */
  becomeTunnel(): Buffer | null;
  /** The target said FIN in a tunnel. */
  endTunnel(): void;
}

export class Exchange {
  readonly proxy: ProxyContext;
  readonly downstream: Downstream;
  readonly requestBody = new Body();
  readonly responseBody = new Body();
  readonly tried: Target[] = [];
  /** Request body bytes that wait for a connection. */
  readonly held: Buffer[] = [];
  heldBytes = 0;

  isActive = false;
  method = '';
  minor = 1;
  host = '';
  /** The target named its own host (RFC 9112 3.2.2). */
  isAbsolute = false;
  /** Path and query; empty until something needs it. */
  target = '';
  keepsAlive = false;
  wantsUpgrade = false;
  expectsContinue = false;
  readsTrailers = false;
  /** The rewritten request head. */
  headText = '';
  filtered: FilterRequest | null = null;

  listener: CompiledListener | null = null;
  rule: CompiledRule | null = null;
  /** What answers instead of a target. */
  answer: OwnAnswer | null = null;
  /** The path and query that the target sees, where it is another than `target`. */
  forwardTarget = '';
  bodyBytesMax = 0;
  /** Seconds after which a refused client may come again; 0: the failure's own. */
  retryAfter = 0;
  /** The client's stickiness cookie. */
  pinned = '';
  hashKey = '';
  acceptedCodings = '';
  requestId = '';
  responseEdit: MessageEdit | null = null;
  /** The body goes through a coding on its way to the client. */
  encoder: Encoder | null = null;
  member: Member | null = null;
  connection: UpstreamConnection | null = null;
  attempts = 0;
  /** What the rule asks of its targets' side beyond one try in plain HTTP/1.1; null for most. */
  plan: Plan | null = null;
  /** It failed before a rule was found, and its client reads failures in the words of gRPC. */
  earlyGrpc: GrpcKind = '';
  earlyGrpcStatus = -1;
  /** The circuit breaker of its group counts this request. */
  circuit: CircuitBreaker | null = null;
  /** It counts as waiting for a connection. */
  isPending = false;

  isSent = false;
  isRequestDone = false;
  /** Any byte of the target's answer has been seen. */
  hasAnswer = false;
  /** The final response head has been written to the client. */
  isResponding = false;
  isUpstreamPersistent = false;
  closesAfter = false;
  /** The target ends its body by FIN and the client is told so by chunks. */
  encodesChunks = false;
  interimCount = 0;
  isTunnel = false;
  /** A filter is thinking; bytes that arrive meanwhile are kept. */
  isWaiting = false;
  /** The body is collected before a target is asked. */
  isHolding = false;
  /** Nobody sends this request: it takes no tokens. */
  isDry = false;
  status = 0;
  upstreamStatus = 0;
  failure = '';
  /** As the request says it; −1: not said. */
  contentLength = -1;
  requestBytes = 0;
  responseBytes = 0;
  /** Kept for logs only. */
  userAgent = '';
  referer = '';
  startedAt = 0;
  /** When the target was chosen. */
  attemptAt = 0;
  sentAt = 0;
  answeredAt = 0;
  /** Counts requests, so that a late filter cannot touch the next one. */
  serial = 0;

  constructor(proxy: ProxyContext, downstream: Downstream) {
    this.proxy = proxy;
    this.downstream = downstream;
  }

  reset(): void {
    this.serial++;
    this.isActive = true;
    if (this.tried.length > 0) this.tried.length = 0;
    if (this.held.length > 0) this.held.length = 0;
    this.heldBytes = 0;
    this.target = '';
    this.isAbsolute = false;
    this.filtered = null;
    this.rule = null;
    this.answer = null;
    this.forwardTarget = '';
    this.bodyBytesMax = this.proxy.limits.bodyBytesMax;
    this.retryAfter = 0;
    this.pinned = '';
    this.hashKey = '';
    this.acceptedCodings = '';
    this.requestId = '';
    this.responseEdit = null;
    this.encoder = null;
    this.member = null;
    this.attempts = 0;
    this.plan = null;
    this.earlyGrpc = '';
    this.earlyGrpcStatus = -1;
    this.circuit = null;
    this.isSent = false;
    this.hasAnswer = false;
    this.isResponding = false;
    this.closesAfter = false;
    this.encodesChunks = false;
    this.interimCount = 0;
    this.isTunnel = false;
    this.isWaiting = false;
    this.isHolding = false;
    this.status = 0;
    this.upstreamStatus = 0;
    this.failure = '';
    this.answeredAt = 0;
    this.requestBytes = 0;
    this.responseBytes = 0;
  }
}
