// log: counts one exchange, and makes its record when somebody wants one (variables of tencent-cloud.md E6: `log/record.ts`).
import { recordOf } from '../log/record.ts';
import type { Exchange } from '../state.ts';
import type { FailureCode } from './fail.ts';

export function log(exchange: Exchange): void {
  const { proxy } = exchange;
  const { counters } = proxy;
  const kind = (exchange.status / 100) | 0;
  if (kind >= 1 && kind <= 5) counters.responses[kind]!++;
  counters.bytesIn += exchange.requestBytes;
  counters.bytesOut += exchange.responseBytes;
  if (proxy.accessLog === null) return;
  const share = exchange.listener?.policy?.accessLogShare ?? 1;
  // What went wrong is always told; of the rest, a share.
  const isWell = exchange.status < 500 && exchange.failure === '';
  if (share < 1 && isWell && Math.random() >= share) return;
  proxy.accessLog(recordOf(exchange));
}

/** A request that never became an exchange: nothing of it is known but that it was refused. */
export function logRefused(exchange: Exchange, code: FailureCode, status: number): void {
  const { proxy, downstream } = exchange;
  if (proxy.accessLog === null) {
    const kind = (status / 100) | 0;
    proxy.counters.responses[kind]!++;
    return;
  }
  exchange.reset();
  exchange.isActive = false;
  exchange.listener = downstream.listener;
  exchange.method = '';
  exchange.host = '';
  exchange.status = status;
  exchange.failure = code;
  exchange.startedAt = performance.now();
  log(exchange);
}
