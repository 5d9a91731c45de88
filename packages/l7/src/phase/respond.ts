// respond: the target's response to the client, streamed. Head and a small body leave in one write.
import { Framing } from '../codec/body.ts';
import { Bad, type Head } from '../codec/h1.ts';
import type { Exchange } from '../state.ts';
import { ownResponse } from './fail.ts';
import { rewriteResponse } from './rewrite.ts';

/** Up to this many bytes, a string copy and one write cost less than a buffer. */
const JOINED_BYTES_MAX = 12 * 1024;

/** Whether the client connection ends with this response. */
export function decideClosing(exchange: Exchange, status: number): void {
  const { framing } = exchange.responseBody;
  const isUnframed = exchange.minor === 0 && (framing === Framing.Chunked || framing === Framing.UntilClose);
  // An early refusal while the body still comes: the client is told not to reuse this connection (RFC 9112 9.6).
  const isEarly = !exchange.isRequestDone && status >= 300;
  exchange.closesAfter = !exchange.keepsAlive || isUnframed || isEarly || !exchange.downstream.canKeepAlive;
}

/** Writes the final head with what of the body has come. Returns the offset after it, or one of `Bad` with nothing written. */
export function respond(exchange: Exchange, head: Head, bytes: Buffer, at: number, end: number): number {
  decideClosing(exchange, head.status);
  return respondWith(exchange, rewriteResponse(exchange, head), bytes, at, end);
}

export function respondWith(exchange: Exchange, headText: string, bytes: Buffer, at: number, end: number): number {
  const { downstream, responseBody } = exchange;
  let next = at;
  responseBody.pieces.length = 0;
  responseBody.tail = '';
  if (at < end && !responseBody.isDone) {
    next = responseBody.consume(bytes, at, end);
    if (next < 0) return Bad.Chunk;
  }
  exchange.isResponding = true;
  exchange.responseBytes += headText.length;
  const { pieces } = responseBody;
  if (pieces.length === 2 && !exchange.encodesChunks && pieces[1]! - pieces[0]! + headText.length <= JOINED_BYTES_MAX) {
    exchange.responseBytes += pieces[1]! - pieces[0]!;
    downstream.write(headText + bytes.toString('latin1', pieces[0], pieces[1]) + responseBody.tail);
  } else if (pieces.length === 0) downstream.write(headText + responseBody.tail);
  else {
    downstream.write(headText);
    writePieces(exchange, bytes);
  }
  return next;
}

/** More of the body. Returns the offset after it, or one of `Bad`. */
export function respondBody(exchange: Exchange, bytes: Buffer, at: number, end: number): number {
  const next = exchange.responseBody.consume(bytes, at, end);
  if (next >= 0) writePieces(exchange, bytes);
  return next;
}

function writePieces(exchange: Exchange, bytes: Buffer): void {
  const { downstream, responseBody } = exchange;
  const { pieces, tail } = responseBody;
  for (let index = 0; index < pieces.length; index += 2) {
    const start = pieces[index]!;
    const end = pieces[index + 1]!;
    exchange.responseBytes += end - start;
    if (exchange.encodesChunks) downstream.write(`${(end - start).toString(16)}\r\n`);
    if (end - start <= JOINED_BYTES_MAX) downstream.write(bytes.toString('latin1', start, end));
    else writeLarge(exchange, bytes.subarray(start, end), bytes);
    if (exchange.encodesChunks) downstream.write('\r\n');
  }
  if (tail !== '') downstream.write(tail);
}

/** The shared buffer is read into again at once, so it is copied; an own one is lent until the client has taken it. */
function writeLarge(exchange: Exchange, part: Buffer, whole: Buffer): void {
  const { connection, downstream, proxy } = exchange;
  if (whole === proxy.pool.buffer) {
    downstream.write(Buffer.from(part));
    return;
  }
  downstream.write(part);
  if (!downstream.isFlushed && connection !== null) connection.isLent = true;
}

/** The target ended a body that has no length of its own. */
export function respondEnd(exchange: Exchange): void {
  if (exchange.encodesChunks) exchange.downstream.write('0\r\n\r\n');
  exchange.responseBody.isDone = true;
}

/** An answer that no target gave: a redirect, or a filter's. */
export function respondOwn(exchange: Exchange, status: number, fields: string, body: string): void {
  exchange.closesAfter = !exchange.keepsAlive || !exchange.isRequestDone || !exchange.downstream.canKeepAlive;
  exchange.isResponding = true;
  exchange.status = status;
  const text = ownResponse(status, fields, body, exchange.closesAfter, exchange.method === 'HEAD');
  exchange.responseBytes = text.length;
  exchange.downstream.write(text);
}
