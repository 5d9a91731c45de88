// respond: the target's response to the client, streamed. Head and a small body leave in one write.
import { Framing } from '../codec/body.ts';
import { Bad, type Head } from '../codec/h1.ts';
import type { Encoder } from '../policy/compress.ts';
import { ownLines } from '../policy/custom.ts';
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
  const { responseBody } = exchange;
  responseBody.clear();
  if (
    at === end ||
    responseBody.isDone ||
    responseBody.framing !== Framing.Length ||
    exchange.encoder !== null ||
    end - head.start > JOINED_BYTES_MAX
  ) {
    return respondWith(exchange, rewriteResponse(exchange, head), bytes, at, end);
  }
  // The usual small response: head and body lie side by side and leave as one string.
  const next = responseBody.consume(bytes, at, end);
  const text = rewriteResponse(exchange, head, next);
  exchange.isResponding = true;
  exchange.responseBytes += text.length;
  exchange.downstream.write(text);
  return next;
}

export function respondWith(exchange: Exchange, headText: string, bytes: Buffer, at: number, end: number): number {
  const { responseBody } = exchange;
  let next = at;
  responseBody.clear();
  if (at < end && !responseBody.isDone) {
    next = responseBody.consume(bytes, at, end);
    if (next < 0) return Bad.Chunk;
  }
  exchange.isResponding = true;
  exchange.responseBytes += headText.length;
  writePieces(exchange, headText, bytes);
  return next;
}

/** More of the body. Returns the offset after it, or one of `Bad`. */
export function respondBody(exchange: Exchange, bytes: Buffer, at: number, end: number): number {
  const next = exchange.responseBody.consume(bytes, at, end);
  if (next >= 0) writePieces(exchange, '', bytes);
  return next;
}

/** `before`, the pieces of the body, and its tail: as one string where they are small, else in one system call. */
function writePieces(exchange: Exchange, before: string, bytes: Buffer): void {
  const { downstream, encodesChunks, responseBody } = exchange;
  const { pieces, tail, used } = responseBody;
  let length = 0;
  for (let index = 0; index < used; index += 2) length += pieces[index + 1]! - pieces[index]!;
  if (exchange.encoder !== null) return encodePieces(exchange, exchange.encoder, before, bytes);
  exchange.responseBytes += length;
  if (length + before.length <= JOINED_BYTES_MAX) {
    let text = before;
    for (let index = 0; index < used; index += 2) {
      const piece = bytes.toString('latin1', pieces[index], pieces[index + 1]);
      text += encodesChunks ? `${piece.length.toString(16)}\r\n${piece}\r\n` : piece;
    }
    text += tail;
    if (text !== '') downstream.write(text);
    return;
  }
  downstream.cork();
  if (before !== '') downstream.write(before);
  // The shared buffer is read into again at once, so it is copied; an own one is lent until the client has taken it.
  const isShared = bytes === exchange.proxy.pool.buffer;
  for (let index = 0; index < used; index += 2) {
    const part = bytes.subarray(pieces[index], pieces[index + 1]);
    if (encodesChunks) downstream.write(`${part.length.toString(16)}\r\n`);
    downstream.write(isShared ? Buffer.from(part) : part);
    if (encodesChunks) downstream.write('\r\n');
  }
  if (tail !== '') downstream.write(tail);
  downstream.uncork();
  if (!isShared && !downstream.isFlushed && exchange.connection !== null) exchange.connection.isLent = true;
}

/** The encoder works aside, so what it gets is copied; its output goes out in chunks (`exchange.ts`). */
function encodePieces({ downstream, responseBody }: Exchange, encoder: Encoder, before: string, bytes: Buffer): void {
  const { pieces, used } = responseBody;
  if (before !== '') downstream.write(before);
  for (let index = 0; index < used; index += 2) {
    encoder.write(Buffer.from(bytes.subarray(pieces[index], pieces[index + 1])));
  }
  if (used > 0) encoder.flush();
}

/** The target ended a body that has no length of its own. */
export function respondEnd(exchange: Exchange): void {
  if (exchange.encodesChunks && exchange.encoder === null) exchange.downstream.write('0\r\n\r\n');
  exchange.responseBody.isDone = true;
}

/** An answer that no target gave: a redirect, or a filter's. */
export function respondOwn(exchange: Exchange, status: number, fields: string, body: string): void {
  exchange.closesAfter = !exchange.keepsAlive || !exchange.isRequestDone || !exchange.downstream.canKeepAlive;
  exchange.isResponding = true;
  exchange.status = status;
  const lines = fields + ownLines(exchange, status);
  const text = ownResponse(status, lines, body, exchange.closesAfter, exchange.method === 'HEAD');
  exchange.responseBytes = text.length;
  exchange.downstream.write(text);
}
