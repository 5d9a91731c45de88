// What one exchange leaves behind for logs (tencent-cloud.md E6). Made once an exchange is over, and only when somebody wants it.
import { randomBytes } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { SecureIdentity } from '../phase/identify.ts';
import type { Exchange } from '../state.ts';

export interface AccessRecord {
  /** Milliseconds since the epoch at which the request head was complete. */
  readonly time: number;
  readonly requestId: string;
  readonly loadBalancer: string;
  readonly listener: string;
  readonly rule: string;
  /** Domain of the rule. */
  readonly domain: string;
  readonly group: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly vip: string;
  readonly vport: number;
  readonly scheme: 'http' | 'https';
  /** 1.0, 1.1 or 2.0. */
  readonly version: string;
  readonly isTunnel: boolean;
  readonly method: string;
  readonly host: string;
  readonly target: string;
  readonly userAgent: string;
  readonly referer: string;
  readonly status: number;
  /** Code of `phase/fail.ts`, or empty. */
  readonly failure: string;
  readonly upstreamAddress: string;
  readonly upstreamStatus: number;
  readonly attempts: number;
  /** Of gRPC: what the target said in fields or trailers, or the proxy for it; −1: none. */
  readonly grpcStatus: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly requestMs: number;
  /** From the request sent to the first byte of the answer; −1 when none came. */
  readonly upstreamMs: number;
  /** From choosing the target until it was connected; 0 on a kept connection, −1 when it never was. */
  readonly connectMs: number;
  /** From choosing the target to the end of the exchange; −1 without a target. */
  readonly upstreamTotalMs: number;
  readonly connection: number;
  readonly connectionRequests: number;
  readonly tls: TlsFacts | null;
}

export interface TlsFacts {
  readonly protocol: string;
  readonly cipher: string;
  readonly isReused: boolean;
  readonly handshakeMs: number;
}

/** A target's verdict has changed (tencent-cloud.md E6); one for each rule that uses the target's group. */
export interface HealthRecord {
  readonly time: number;
  readonly protocol: string;
  readonly vip: string;
  readonly vport: number;
  readonly address: string;
  readonly port: number;
  readonly net: number;
  readonly isAlive: boolean;
  readonly domain: string;
  readonly path: string;
  readonly reason: string;
}

export function recordOf(exchange: Exchange): AccessRecord {
  const { downstream, listener, member, rule } = exchange;
  const now = performance.now();
  return {
    time: Date.now() - (now - exchange.startedAt),
    requestId: requestIdOf(exchange),
    loadBalancer: listener?.loadBalancer ?? '',
    listener: listener?.name ?? '',
    rule: rule?.name ?? '',
    domain: rule?.domain ?? '',
    group: rule?.group.name ?? '',
    remoteAddress: downstream.clientAddress,
    remotePort: downstream.clientPort,
    vip: downstream.vip,
    vport: downstream.vport,
    scheme: downstream.scheme,
    version: downstream.isHttp2 ? '2.0' : exchange.minor === 0 ? '1.0' : '1.1',
    isTunnel: exchange.isTunnel,
    method: exchange.method,
    host: exchange.host,
    target: exchange.target,
    userAgent: exchange.userAgent,
    referer: exchange.referer,
    status: exchange.status,
    failure: exchange.failure,
    upstreamAddress: member === null ? '' : `${member.target.identity.address}:${member.target.identity.port}`,
    upstreamStatus: exchange.upstreamStatus,
    attempts: exchange.attempts,
    grpcStatus: exchange.plan?.grpcStatus ?? exchange.earlyGrpcStatus,
    requestBytes: exchange.requestBytes,
    responseBytes: exchange.responseBytes,
    requestMs: now - exchange.startedAt,
    upstreamMs: exchange.answeredAt > 0 ? exchange.answeredAt - exchange.sentAt : -1,
    connectMs: exchange.isSent ? Math.max(0, exchange.sentAt - exchange.attemptAt) : -1,
    upstreamTotalMs: member === null ? -1 : now - exchange.attemptAt,
    connection: downstream.connectionId,
    connectionRequests: downstream.requestCount,
    tls: downstream.secure === null ? null : factsOf(downstream.secure),
  };
}

const PREFIX = randomBytes(12).toString('hex');
let serial = 0;

/** Unique to this process's life and cheap: 24 random digits of the process and a counter. It is no secret. */
export function requestIdOf(exchange: Exchange): string {
  if (exchange.requestId === '') {
    serial = (serial + 1) >>> 0;
    exchange.requestId = PREFIX + serial.toString(16).padStart(8, '0');
  }
  return exchange.requestId;
}

const FACTS = new WeakMap<SecureIdentity, TlsFacts>();

function factsOf(secure: SecureIdentity): TlsFacts {
  let facts = FACTS.get(secure);
  if (facts === undefined) {
    const socket = secure.socket instanceof TLSSocket && !secure.socket.destroyed ? secure.socket : null;
    facts = {
      protocol: socket?.getProtocol() ?? '',
      cipher: socket?.getCipher()?.name ?? '',
      isReused: socket?.isSessionReused() ?? false,
      handshakeMs: secure.handshakeMs ?? 0,
    };
    FACTS.set(secure, facts);
  }
  return facts;
}
