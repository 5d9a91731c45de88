// fail: joins the walk from anywhere. One table says which status a failure has and whose fault it is (conventions.md 1.7).
import { Framing } from '../codec/body.ts';
import { countFailure } from '../counters.ts';
import { ownLines } from '../policy/custom.ts';
import type { Exchange } from '../state.ts';
import { type GrpcKind, grpcFields, grpcStatusOf } from '../upstream/grpc.ts';

interface FailureRow {
  readonly status: number;
  readonly source: 'downstream' | 'upstream' | 'config' | 'internal';
  /** Another try, later or elsewhere, may help. */
  readonly retryable: boolean;
}

export const FAILURES = {
  'bad-head': { status: 400, source: 'downstream', retryable: false },
  'bad-target': { status: 400, source: 'downstream', retryable: false },
  'bad-host': { status: 400, source: 'downstream', retryable: false },
  'bad-framing': { status: 400, source: 'downstream', retryable: false },
  'bad-body': { status: 400, source: 'downstream', retryable: false },
  'body-truncated': { status: 400, source: 'downstream', retryable: false },
  'plain-on-tls': { status: 400, source: 'downstream', retryable: false },
  misdirected: { status: 421, source: 'downstream', retryable: false },
  'method-refused': { status: 405, source: 'downstream', retryable: false },
  'head-timeout': { status: 408, source: 'downstream', retryable: true },
  'body-timeout': { status: 408, source: 'downstream', retryable: true },
  'body-too-large': { status: 413, source: 'downstream', retryable: false },
  'target-too-long': { status: 414, source: 'downstream', retryable: false },
  'expectation-unknown': { status: 417, source: 'downstream', retryable: false },
  'head-too-large': { status: 431, source: 'downstream', retryable: false },
  'client-stalled': { status: 408, source: 'downstream', retryable: true },
  'client-gone': { status: 499, source: 'downstream', retryable: false },
  'source-denied': { status: 403, source: 'config', retryable: false },
  'rate-limited': { status: 429, source: 'config', retryable: true },
  'no-rule': { status: 404, source: 'config', retryable: false },
  'listener-gone': { status: 404, source: 'config', retryable: false },
  'encoding-failed': { status: 500, source: 'internal', retryable: false },
  'filter-error': { status: 500, source: 'internal', retryable: false },
  'filter-busy': { status: 503, source: 'internal', retryable: true },
  'filter-timeout': { status: 504, source: 'internal', retryable: true },
  'coding-unsupported': { status: 501, source: 'downstream', retryable: false },
  'method-unknown': { status: 501, source: 'downstream', retryable: false },
  'version-unsupported': { status: 505, source: 'downstream', retryable: false },
  'no-target': { status: 503, source: 'config', retryable: true },
  'circuit-requests': { status: 503, source: 'upstream', retryable: true },
  'circuit-pending': { status: 503, source: 'upstream', retryable: true },
  'circuit-connections': { status: 503, source: 'upstream', retryable: true },
  'target-full': { status: 503, source: 'upstream', retryable: true },
  'connect-refused': { status: 502, source: 'upstream', retryable: true },
  'connect-timeout': { status: 504, source: 'upstream', retryable: true },
  'target-handshake': { status: 502, source: 'upstream', retryable: true },
  'send-timeout': { status: 504, source: 'upstream', retryable: false },
  'request-timeout': { status: 504, source: 'upstream', retryable: false },
  'response-refused': { status: 502, source: 'upstream', retryable: true },
  'response-timeout': { status: 504, source: 'upstream', retryable: false },
  'response-missing': { status: 502, source: 'upstream', retryable: false },
  'response-malformed': { status: 502, source: 'upstream', retryable: false },
  'response-truncated': { status: 502, source: 'upstream', retryable: false },
} as const satisfies Record<string, FailureRow>;

export type FailureCode = keyof typeof FAILURES;

const REASONS: Record<number, string> = {
  200: 'OK',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  429: 'Too Many Requests',
  421: 'Misdirected Request',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};

export function reasonOf(status: number): string {
  return REASONS[status] ?? 'Status';
}

/** A whole response of our own. `fields` are complete lines. */
export function ownResponse(status: number, fields: string, body: string, closes: boolean, isHead: boolean): string {
  const hasBody = status >= 200 && status !== 204 && status !== 304;
  const length = hasBody ? `Content-Length: ${Buffer.byteLength(body)}\r\n` : '';
  const connection = closes ? 'Connection: close\r\n' : '';
  const head = `HTTP/1.1 ${status} ${reasonOf(status)}\r\nDate: ${new Date().toUTCString()}\r\n${fields}${length}${connection}\r\n`;
  return isHead || !hasBody ? head : head + Buffer.from(body).toString('latin1');
}

export function failureResponse(code: FailureCode, closes: boolean, isHead: boolean, retryAfter = 0, own = ''): string {
  const { status, retryable } = FAILURES[code];
  const allow = status === 405 ? 'Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n' : '';
  const isLater = retryAfter > 0 || (status === 503 && retryable);
  const retry = isLater ? `Retry-After: ${Math.max(1, retryAfter)}\r\n` : '';
  const fields = `Content-Type: text/plain; charset=utf-8\r\nX-Clb-Error: ${code}\r\n${allow}${retry}${own}`;
  return ownResponse(status, fields, `${status} ${reasonOf(status)}: ${code}\n`, closes, isHead);
}

/** In the middle of a stream of messages a status can still be told, and is better than a cut: the client knows why. */
function endsByTrailers(exchange: Exchange, code: FailureCode): boolean {
  const { downstream, plan, responseBody } = exchange;
  const isWhole = responseBody.framing === Framing.Chunked && !responseBody.isDone && exchange.readsTrailers;
  if (!isWhole || !plan!.spec.isGrpc || exchange.encoder !== null) return false;
  plan!.grpcStatus = grpcStatusOf(code, FAILURES[code].status);
  downstream.write(`0\r\ngrpc-status: ${plan!.grpcStatus}\r\ngrpc-message: ${code}\r\n\r\n`);
  exchange.closesAfter = true;
  return true;
}

/** A gRPC client reads its status in fields: an answer of trailers alone (PROTOCOL-HTTP2). */
function failGrpc(exchange: Exchange, kind: GrpcKind, code: FailureCode): void {
  const { downstream, plan } = exchange;
  const fields = `${grpcFields(kind, code, FAILURES[code].status)}X-Clb-Error: ${code}\r\n`;
  exchange.status = 200;
  const text = ownResponse(200, fields, '', exchange.closesAfter, false);
  const status = grpcStatusOf(code, FAILURES[code].status);
  if (plan === null) exchange.earlyGrpcStatus = status;
  else plan.grpcStatus = status;
  exchange.responseBytes = text.length;
  downstream.write(text);
}

/** Answers a failed exchange, or cuts the client off when the answer had begun. The caller has let go of the target. */
export function fail(exchange: Exchange, code: FailureCode): void {
  const { downstream, proxy } = exchange;
  exchange.failure = code;
  countFailure(proxy.counters, code);
  if (exchange.isResponding) {
    if (exchange.plan?.grpc === 'grpc' && endsByTrailers(exchange, code)) return;
    // The client goes because we cut it off: that is not counted as its own doing.
    exchange.isActive = false;
    downstream.abort();
    return;
  }
  exchange.status = FAILURES[code].status;
  exchange.closesAfter =
    !exchange.keepsAlive ||
    !exchange.isRequestDone ||
    !downstream.canKeepAlive ||
    FAILURES[code].source === 'downstream';
  exchange.isResponding = true;
  const kind = exchange.plan?.grpc ?? exchange.earlyGrpc;
  if (kind !== '') return failGrpc(exchange, kind, code);
  const page =
    exchange.rule?.policy?.errorPages?.get(exchange.status) ??
    exchange.listener?.custom?.errorPages.get(exchange.status);
  if (page !== undefined) {
    exchange.status = page.status;
    const fields = `${page.fields}X-Clb-Error: ${code}\r\n${ownLines(exchange, page.status)}`;
    const text = ownResponse(page.status, fields, page.body, exchange.closesAfter, exchange.method === 'HEAD');
    exchange.responseBytes = text.length;
    downstream.write(text);
    return;
  }
  const own = ownLines(exchange, exchange.status);
  const text = failureResponse(code, exchange.closesAfter, exchange.method === 'HEAD', exchange.retryAfter, own);
  exchange.responseBytes = text.length;
  downstream.write(text);
}
