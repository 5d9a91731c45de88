// One HTTP/2 stream as the client side of one exchange. Its request enters the walk as a checked HTTP/1.1 head, its response
// leaves through `H2Response`; in between nothing knows which version the client speaks.
import { constants, type ServerHttp2Stream } from 'node:http2';
import { begin, clientClosed, clientDrained, clientEnded, giveUp, requestBytes } from '../../exchange.ts';
import type { CompiledListener } from '../../image.ts';
import { failureOf } from '../../phase/admit.ts';
import { type FailureCode, failureResponse, FAILURES } from '../../phase/fail.ts';
import { logRefused } from '../../phase/log.ts';
import { countFailure } from '../../counters.ts';
import { type Downstream, Exchange, type ProxyContext } from '../../state.ts';
import { tunnelUp } from '../../tunnel.ts';
import type { Timed } from '../../wheel.ts';
import { checkRequest, parseRequest } from '../h1.ts';
import { type H2Head, requestOf, trailerLines } from './request.ts';
import { H2Response } from './response.ts';
import type { H2Session } from './session.ts';

const NO_BYTES = Buffer.alloc(0);
const LAST_CHUNK = '0\r\n';

export class H2Stream implements Downstream, Timed {
  readonly #proxy: ProxyContext;
  readonly #session: H2Session;
  readonly #stream: ServerHttp2Stream;
  readonly #exchange: Exchange;
  readonly #response: H2Response;
  #head: H2Head | null = null;
  #method = '';
  #trailers = '';
  #isPaused = false;
  #isBacklogged = false;
  #isTunnel = false;
  /** Set when the exchange is over; what still comes is thrown away. */
  #isFinished = false;
  readonly isHttp2 = true;
  isInputEnded = false;
  isClosed = false;
  deadline = Infinity;
  wheelTick = -1;

  constructor(proxy: ProxyContext, session: H2Session, stream: ServerHttp2Stream) {
    this.#proxy = proxy;
    this.#session = session;
    this.#stream = stream;
    this.#response = new H2Response(stream);
    this.#exchange = new Exchange(proxy, this);
    stream.on('error', () => this.#closed());
    stream.on('close', () => this.#closed());
    stream.on('drain', () => this.#drained());
  }

  get connectionId(): number {
    return this.#session.connectionId;
  }
  get requestCount(): number {
    return this.#session.requestCount;
  }
  get clientAddress(): string {
    return this.#session.accepted.clientAddress;
  }
  get clientPort(): number {
    return this.#session.accepted.clientPort;
  }
  get vip(): string {
    return this.#session.accepted.vip;
  }
  get vport(): number {
    return this.#session.accepted.vport;
  }
  get scheme(): 'http' | 'https' {
    return this.#session.scheme;
  }
  get identityFields(): string {
    return this.#session.identityFields;
  }
  get identityTail(): string {
    return this.#session.identityTail;
  }
  get secure(): Downstream['secure'] {
    return this.#session.secure;
  }
  get listener(): CompiledListener | null {
    return this.#session.accepted.binding.listener;
  }
  /** Streams end alone; the connection is told to end by GOAWAY. */
  get canKeepAlive(): boolean {
    return true;
  }
  get isFlushed(): boolean {
    return this.#stream.writableLength === 0;
  }
  get isBacklogged(): boolean {
    return this.#isBacklogged;
  }

  /** The walk begins. `raw` is the header list in the order of the wire. */
  start(raw: readonly string[], endsHere: boolean): void {
    const { requestHead, wheel } = this.#proxy;
    const { limits } = this.#session;
    const head = requestOf(raw, this.scheme, endsHere);
    if (typeof head === 'string') return this.#refuse(head);
    if (hasLargeField(raw, limits.h2FieldBytesMax)) return this.#refuse('head-too-large');
    this.#head = head;
    const bytes = Buffer.from(head.text, 'latin1');
    if (bytes.length > limits.headBytesMax) return this.#refuse('head-too-large');
    const next = parseRequest(requestHead, bytes, 0, bytes.length, limits.targetBytesMax);
    // A head that reads as anything but one whole head is none.
    if (next !== bytes.length) return this.#refuse(next < 0 ? failureOf(next) : 'bad-head');
    const bad = checkRequest(requestHead);
    if (bad < 0) return this.#refuse(failureOf(bad));
    this.#method = requestHead.method;
    if (endsHere && !head.isTunnel && requestHead.contentLength > 0) return this.#refuse('bad-framing');
    begin(this.#exchange, requestHead, NO_BYTES, 0, 0);
    if (this.#stream.destroyed || this.#isFinished) return;
    if (!this.#exchange.isRequestDone) wheel.set(this, limits.bodyTimeoutMs);
    this.#listen();
  }

  #listen(): void {
    const stream = this.#stream;
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('end', () => this.#end());
    stream.on('trailers', (_headers, _flags, raw) => {
      const lines = trailerLines(raw);
      if (lines === null) this.#break('bad-body');
      else this.#trailers = lines;
    });
    // What a client says on a tunnel before it stands waits in the stream's own window.
    if (this.#head!.isTunnel && !this.#isTunnel) this.pause();
    else if (this.#isPaused) stream.pause();
  }

  /** A request that never became an exchange. */
  #refuse(code: FailureCode): void {
    countFailure(this.#proxy.counters, code);
    logRefused(this.#exchange, code, FAILURES[code].status);
    this.#isFinished = true;
    this.#write(failureResponse(code, false, false));
    this.#endInput();
  }

  #data(chunk: Buffer): void {
    const exchange = this.#exchange;
    if (this.#isTunnel) {
      if (exchange.isActive) tunnelUp(exchange, chunk);
      return;
    }
    if (this.#isFinished || !exchange.isActive || chunk.length === 0) return;
    this.#proxy.wheel.set(this, this.#session.limits.bodyTimeoutMs);
    // More than Content-Length said: nghttp2 refuses it too, but nothing may depend on that.
    if (exchange.isRequestDone) return this.#break('bad-framing');
    if (!this.#head!.isChunked) {
      const next = requestBytes(exchange, chunk, 0, chunk.length);
      if (next >= 0 && next < chunk.length) this.#break('bad-framing');
      return;
    }
    const size = Buffer.from(`${chunk.length.toString(16)}\r\n`, 'latin1');
    const framed = Buffer.concat([size, chunk, CRLF], size.length + chunk.length + 2);
    requestBytes(exchange, framed, 0, framed.length);
  }

  #end(): void {
    this.isInputEnded = true;
    const exchange = this.#exchange;
    if (this.#isTunnel) return clientEnded(exchange);
    if (this.#isFinished || !exchange.isActive) return;
    this.#proxy.wheel.clear(this);
    if (exchange.isRequestDone) return;
    if (!this.#head!.isChunked) return giveUp(exchange, 'body-truncated');
    const last = Buffer.from(`${LAST_CHUNK}${this.#trailers}\r\n`, 'latin1');
    requestBytes(exchange, last, 0, last.length);
  }

  /** A body that contradicts its head: the exchange fails and the stream ends as malformed (RFC 9113 8.1.1). */
  #break(code: FailureCode): void {
    if (this.#exchange.isActive) giveUp(this.#exchange, code);
    this.#response.abort(constants.NGHTTP2_PROTOCOL_ERROR);
  }

  write(data: string | Buffer): void {
    this.#write(data);
    if (this.#stream.writableNeedDrain && !this.#isBacklogged && !this.isClosed) {
      this.#isBacklogged = true;
      this.#proxy.wheel.set(this, this.#session.limits.sendTimeoutMs);
    }
  }

  #write(data: string | Buffer): void {
    const request = {
      method: this.#method,
      isTunnel: this.#head?.isTunnel ?? false,
      readsTrailers: this.#exchange.readsTrailers,
    };
    try {
      if (this.#response.write(data, request)) return;
    } catch {
      // node:http2 refuses a field that HTTP/2 cannot carry.
    }
    countFailure(this.#proxy.counters, 'response-malformed');
    this.#response.abort();
  }

  cork(): void {
    this.#stream.cork();
  }

  uncork(): void {
    this.#stream.uncork();
  }

  #drained(): void {
    if (!this.#isBacklogged) return;
    this.#isBacklogged = false;
    this.#proxy.wheel.clear(this);
    if (this.#exchange.isActive || this.#isTunnel) clientDrained(this.#exchange);
  }

  pause(): void {
    this.#isPaused = true;
    this.#stream.pause();
  }

  resume(): void {
    if (!this.#isPaused || (this.#head!.isTunnel && !this.#isTunnel)) return;
    this.#isPaused = false;
    this.#stream.resume();
  }

  finished(): void {
    this.#isFinished = true;
    this.#proxy.wheel.set(this, this.#session.limits.sendTimeoutMs);
    this.#endInput();
  }

  /** The answer is complete before the request is: the client may stop (RFC 9113 8.1). */
  #endInput(): void {
    const stream = this.#stream;
    if (this.isInputEnded || stream.destroyed) return;
    stream.resume();
    if (!stream.readableEnded && !stream.endAfterHeaders) {
      stream.once('finish', () => {
        if (!this.isInputEnded && !stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
      });
    }
  }

  abort(): void {
    this.#response.abort();
  }

  becomeTunnel(): Buffer | null {
    this.#isTunnel = true;
    this.#proxy.wheel.clear(this);
    this.#isPaused = true;
    this.resume();
    return null;
  }

  endTunnel(): void {
    this.#stream.end();
  }

  #closed(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    // Before the session counts it: a client that resets what has an answer harms nobody.
    const wasCut = this.#exchange.isActive && !this.#isTunnel;
    clientClosed(this.#exchange);
    this.#session.streamClosed(wasCut);
  }

  onDeadline(): void {
    const exchange = this.#exchange;
    // Streams of messages rest as long as they like; the target's side has the clock of silence.
    if (exchange.isActive && !this.#isBacklogged && (exchange.plan?.grpc ?? '') !== '') {
      this.#proxy.wheel.set(this, this.#session.limits.bodyTimeoutMs);
    } else if (exchange.isActive && !this.#isBacklogged && !exchange.isRequestDone && !this.#isTunnel) {
      giveUp(exchange, this.#isPaused ? 'response-timeout' : 'body-timeout');
    } else {
      // Slow read, as in `downstream.ts`.
      if (exchange.isActive && this.#isBacklogged && !this.#isTunnel) giveUp(exchange, 'client-stalled');
      this.#response.abort(constants.NGHTTP2_CANCEL);
    }
  }
}

const CRLF = Buffer.from('\r\n');

function hasLargeField(raw: readonly string[], bytesMax: number): boolean {
  for (let at = 0; at < raw.length; at += 2) if (raw[at]!.length + raw[at + 1]!.length > bytesMax) return true;
  return false;
}
