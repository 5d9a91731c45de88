// log: one record for each exchange, made only when somebody wants it (variables of tencent-cloud.md E6).
import type { Exchange } from '../state.ts';

export interface AccessRecord {
  /** Milliseconds since the epoch at which the request head was complete. */
  readonly time: number;
  readonly listener: string;
  readonly rule: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly vip: string;
  readonly vport: number;
  readonly scheme: 'http' | 'https';
  readonly method: string;
  readonly host: string;
  readonly target: string;
  readonly status: number;
  /** Code of `phase/fail.ts`, or empty. */
  readonly failure: string;
  readonly upstreamAddress: string;
  readonly upstreamStatus: number;
  readonly attempts: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly requestMs: number;
  /** From the request sent to the first byte of the answer; −1 when none came. */
  readonly upstreamMs: number;
}

export function log(exchange: Exchange): void {
  const { proxy, downstream, member } = exchange;
  const { counters } = proxy;
  const kind = (exchange.status / 100) | 0;
  if (kind >= 1 && kind <= 5) counters.responses[kind]!++;
  counters.bytesIn += exchange.requestBytes;
  counters.bytesOut += exchange.responseBytes;
  if (proxy.accessLog === null) return;
  const now = performance.now();
  proxy.accessLog({
    time: Date.now() - (now - exchange.startedAt),
    listener: exchange.listener?.name ?? '',
    rule: exchange.rule?.name ?? '',
    remoteAddress: downstream.clientAddress,
    remotePort: downstream.clientPort,
    vip: downstream.vip,
    vport: downstream.vport,
    scheme: downstream.scheme,
    method: exchange.method,
    host: exchange.host,
    target: exchange.target,
    status: exchange.status,
    failure: exchange.failure,
    upstreamAddress: member === null ? '' : `${member.target.identity.address}:${member.target.identity.port}`,
    upstreamStatus: exchange.upstreamStatus,
    attempts: exchange.attempts,
    requestBytes: exchange.requestBytes,
    responseBytes: exchange.responseBytes,
    requestMs: now - exchange.startedAt,
    upstreamMs: exchange.answeredAt > 0 ? exchange.answeredAt - exchange.sentAt : -1,
  });
}
