// receive: the target's heads. Interim ones are relayed as they come; the final one says how its body ends (RFC 9112 6.3).
import { Framing } from '../codec/body.ts';
import { Bad, Field, type Head, INCOMPLETE, parseResponse } from '../codec/h1.ts';
import { INTERIM_MAX } from '../limits.ts';
import type { Exchange } from '../state.ts';
import type { UpstreamConnection } from '../upstream.ts';
import { rewriteResponse } from './rewrite.ts';

/** Takes interim heads and the final one. Returns the offset after the final head, `INCOMPLETE`, or one of `Bad`. */
export function receive(exchange: Exchange, bytes: Buffer, end: number): number {
  const { proxy, downstream } = exchange;
  const head = proxy.responseHead;
  let at = 0;
  for (;;) {
    const next = parseResponse(head, bytes, at, end);
    if (next <= 0) {
      const waiting = end - at;
      if (next < 0 || waiting > exchange.listener!.limits.responseHeadBytesMax) return next < 0 ? next : Bad.FieldCount;
      exchange.connection!.partial = waiting === 0 ? null : Buffer.from(bytes.subarray(at, end));
      return INCOMPLETE;
    }
    if (next - at > exchange.listener!.limits.responseHeadBytesMax) return Bad.FieldCount;
    if (head.status >= 200 || head.status === 101) return next;
    if (++exchange.interimCount > INTERIM_MAX || head.isChunked) return Bad.StatusLine;
    // HTTP/1.0 knows no interim responses (RFC 9110 15.2).
    if (exchange.minor === 1) {
      const closes = exchange.closesAfter;
      exchange.closesAfter = false;
      downstream.write(rewriteResponse(exchange, head));
      exchange.closesAfter = closes;
    }
    at = next;
    if (at === end) return INCOMPLETE;
  }
}

/** How the body of the final response ends. False: the response contradicts itself. */
export function frame(exchange: Exchange, head: Head): boolean {
  const body = exchange.responseBody;
  const hasNoBody = exchange.method === 'HEAD' || head.status === 204 || head.status === 304;
  if (head.isChunked && (head.contentLength >= 0 || head.minor === 0)) return false;
  if (hasNoBody) body.begin(Framing.None, 0);
  else if (head.isChunked) body.begin(Framing.Chunked, 0);
  else if (head.contentLength >= 0) body.begin(Framing.Length, head.contentLength);
  else body.begin(Framing.UntilClose, 0);
  body.keepsTrailers = exchange.readsTrailers;
  body.isDecoding = body.framing === Framing.Chunked && exchange.minor === 0;
  if (body.framing === Framing.UntilClose) body.isDone = false;
  exchange.encodesChunks = body.framing === Framing.UntilClose && exchange.minor === 1;
  exchange.isUpstreamPersistent =
    body.framing !== Framing.UntilClose && (head.minor === 1 ? !head.isClose : head.isKeepAlive);
  return true;
}

/** `Keep-Alive: timeout=5`: the target will close then, so we do it a second earlier and lose no request to the race. */
export function noteKeepAlive(connection: UpstreamConnection, head: Head): void {
  const match = /timeout=(\d{1,5})/i.exec(head.value(head.keepAliveAt));
  if (match === null || head.fields[head.keepAliveAt] !== Field.KeepAlive) return;
  connection.idleMs = Math.min(connection.idleMs, Math.max(0, Number(match[1]) * 1000 - 1000));
}
