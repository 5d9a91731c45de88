// One client connection speaking HTTP/1.1: bytes ↔ exchanges, one at a time in the order of the requests (RFC 9112 9.3).
// Half-close or abort? Both reach us as FIN. One that comes with the request (`HALF_CLOSE_MS`) is a half-close and gets its
// answer; a later one, while an answer is due, is a client that gave up, and the target is let go at once.
import type net from 'node:net';
import { begin, clientClosed, clientDrained, clientEnded, giveUp, requestBytes } from '../exchange.ts';
import type { CompiledListener } from '../image.ts';
import { HALF_CLOSE_MS, type Limits } from '../limits.ts';
import { KEPT_BACK_CHARS_MAX, type Sender } from '../outbox.ts';
import { type Accepted, identityFields } from '../phase/accept.ts';
import type { SecureIdentity } from '../phase/identify.ts';
import { failureOf } from '../phase/admit.ts';
import { type FailureCode, failureResponse, FAILURES } from '../phase/fail.ts';
import { logRefused } from '../phase/log.ts';
import { countFailure } from '../counters.ts';
import { type Downstream, Exchange, type ProxyContext } from '../state.ts';
import { tunnelUp } from '../tunnel.ts';
import type { Timed } from '../wheel.ts';
import { cut, isStopped } from '../sockets.ts';
import { CR, LF } from './bytes.ts';
import { PREFACE } from './h2/preface.ts';
import { Bad, checkRequest, INCOMPLETE, parseRequest } from './h1.ts';

/** How long a connection without a request is waited for when the proxy closes. */
const FIRST_REQUEST_MS = 1_000;
const State = { Head: 0, Busy: 1, Tunnel: 2, Linger: 3, Closed: 4 } as const;

export class Http1Downstream implements Downstream, Sender, Timed {
  readonly scheme: 'http' | 'https';
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly vip: string;
  readonly vport: number;
  readonly identityFields: string;
  readonly identityTail: string;
  isInputEnded = false;
  deadline = Infinity;
  wheelTick = -1;
  readonly #proxy: ProxyContext;
  readonly #socket: net.Socket;
  readonly #accepted: Accepted;
  readonly #exchange: Exchange;
  #state: number = State.Head;
  /** Bytes not yet understood: part of a head, or requests that wait for their turn. */
  #input: Buffer | null = null;
  /** How far `#input` has been searched for the end of a head. */
  #searched = 0;
  #requests = 0;
  /** Written, and kept back to the end of the turn. */
  #outgoing = '';
  #lastByteAt = 0;
  #isReading = false;
  #isPaused = false;
  #isBacklogged = false;
  /** The end of a request head has been searched for since this wheel time. */
  #headSince = 0;
  readonly #onClosed: (downstream: Http1Downstream) => void;
  readonly #onHttp2: (first: Buffer) => void;
  readonly secure: SecureIdentity | null;
  readonly isHttp2 = false;
  readonly connectionId: number;

  constructor(
    proxy: ProxyContext,
    socket: net.Socket,
    accepted: Accepted,
    secure: SecureIdentity | null,
    onClosed: (downstream: Http1Downstream) => void,
    onHttp2: (first: Buffer) => void,
  ) {
    this.#proxy = proxy;
    this.#socket = socket;
    this.#accepted = accepted;
    this.#onClosed = onClosed;
    this.#onHttp2 = onHttp2;
    this.secure = secure;
    this.connectionId = ++proxy.connectionSerial;
    this.scheme = secure === null ? 'http' : 'https';
    this.clientAddress = accepted.clientAddress;
    this.clientPort = accepted.clientPort;
    this.vip = accepted.vip;
    this.vport = accepted.vport;
    this.identityFields = identityFields(accepted.clientAddress, this.scheme) + (secure?.clientFields ?? '');
    this.identityTail = `${this.identityFields}X-Forwarded-For: ${accepted.clientAddress}\r\n\r\n`;
    this.#exchange = new Exchange(proxy, this);
    proxy.wheel.set(this, this.#limits.headTimeoutMs);
    socket.on('data', (chunk: Buffer) => {
      this.#data(chunk);
      // Readable asks for more in a tick of its own after each chunk, unless it has been asked already.
      socket.read(0);
    });
    socket.on('end', () => this.#end());
    socket.on('drain', () => this.#drained());
    socket.on('error', () => this.#closed());
    socket.on('close', () => this.#closed());
  }

  get listener(): CompiledListener | null {
    return this.#accepted.binding.listener;
  }

  get #limits(): Limits {
    return this.#accepted.binding.listener?.limits ?? this.#proxy.limits;
  }

  get requestCount(): number {
    return this.#requests;
  }

  get canKeepAlive(): boolean {
    const { keepAliveTimeoutMs, requestsPerConnectionMax } = this.#limits;
    const isAllowed = this.#requests < requestsPerConnectionMax && keepAliveTimeoutMs > 0;
    return isAllowed && !this.#proxy.isDraining && this.listener !== null;
  }

  get isClosed(): boolean {
    return this.#state === State.Closed;
  }

  get isFlushed(): boolean {
    return this.#outgoing === '' && this.#socket.writableLength === 0;
  }

  get isBacklogged(): boolean {
    return this.#isBacklogged;
  }

  #data(chunk: Buffer): void {
    switch (this.#state) {
      case State.Head:
        this.#readHeads(this.#input === null ? chunk : Buffer.concat([this.#input, chunk]));
        return;
      case State.Busy:
        this.#readBody(chunk);
        return;
      case State.Tunnel:
        tunnelUp(this.#exchange, chunk);
        return;
      default:
        return;
    }
  }

  /** Begins as many exchanges as end at once; keeps what comes behind an unfinished one. */
  #readHeads(bytes: Buffer): void {
    this.#isReading = true;
    let at = 0;
    while (this.#state === State.Head && at < bytes.length && !this.#isBacklogged) {
      const next = this.#readHead(bytes, at);
      if (next <= 0) break;
      at = next;
    }
    this.#isReading = false;
    if (this.#state === State.Closed || this.#state === State.Linger) this.#input = null;
    else {
      this.#input = at >= bytes.length ? null : at === 0 ? bytes : bytes.subarray(at);
      if (this.#state === State.Busy || this.#isBacklogged) this.#limitInput();
      else if (this.#input === null && this.isInputEnded) this.#close();
    }
  }

  /** One request head, and the exchange it begins. Returns the offset behind what was used; 0 or less to stop. */
  #readHead(bytes: Buffer, at: number): number {
    const { requestHead, wheel } = this.#proxy;
    const limits = this.#limits;
    const end = bytes.length;
    if (this.#searched > 0 && !this.#hasHeadEnd(bytes)) {
      if (end - at <= limits.headBytesMax) return INCOMPLETE;
      return this.#refuse('head-too-large');
    }
    const next = parseRequest(requestHead, bytes, at, end, limits.targetBytesMax);
    if (next === INCOMPLETE) {
      if (end - at > limits.headBytesMax) return this.#refuse('head-too-large');
      if (this.#headSince === 0) {
        this.#headSince = wheel.now;
        wheel.set(this, limits.headTimeoutMs);
      }
      this.#searched = end - at;
      return INCOMPLETE;
    }
    this.#searched = 0;
    this.#headSince = 0;
    if (next === Bad.VersionUnsupported && this.#requests === 0 && this.listener?.http2 === true && isPreface(bytes)) {
      return this.#becomeHttp2(bytes);
    }
    if (next < 0) return this.#refuse(failureOf(next));
    if (next - at > limits.headBytesMax) return this.#refuse('head-too-large');
    const bad = checkRequest(requestHead);
    if (bad < 0) return this.#refuse(failureOf(bad));
    this.#requests++;
    this.#state = State.Busy;
    wheel.clear(this);
    const used = begin(this.#exchange, requestHead, bytes, next, end);
    if (this.#exchange.isActive) {
      if (this.#exchange.isRequestDone) this.#lastByteAt = performance.now();
      else wheel.set(this, limits.bodyTimeoutMs);
    }
    return used;
  }

  /** Looks for an empty line in what came since the last look, so that a head sent byte by byte is not parsed each time. */
  #hasHeadEnd(bytes: Buffer): boolean {
    for (let at = Math.max(1, this.#searched - 2); at < bytes.length; at++) {
      if (bytes[at] !== LF) continue;
      // A bare LF is no line end: let the parser say so.
      if (bytes[at - 1] !== CR || bytes[at + 1] === LF || bytes[at + 1] === CR) return true;
    }
    this.#searched = bytes.length;
    return false;
  }

  #readBody(chunk: Buffer): void {
    const exchange = this.#exchange;
    let at = 0;
    if (!exchange.isRequestDone) {
      at = requestBytes(exchange, chunk, 0, chunk.length);
      if (at < 0 || !exchange.isActive) return;
      if (exchange.isRequestDone) {
        this.#lastByteAt = performance.now();
        this.#proxy.wheel.clear(this);
      } else this.#proxy.wheel.set(this, this.#limits.bodyTimeoutMs);
      if (at === chunk.length) return;
    }
    const rest = at === 0 ? chunk : chunk.subarray(at);
    this.#input = this.#input === null ? rest : Buffer.concat([this.#input, rest]);
    this.#limitInput();
  }

  #limitInput(): void {
    if (this.#input !== null && this.#input.length >= this.#limits.pipelinedBytesMax) this.pause();
  }

  /** The client knows that we speak HTTP/2: the connection goes on as one, with all that came of it. */
  #becomeHttp2(bytes: Buffer): number {
    this.#socket.removeAllListeners('data');
    this.#closed();
    this.#onHttp2(bytes);
    return INCOMPLETE;
  }

  /** A request that never became an exchange. */
  #refuse(code: FailureCode): number {
    countFailure(this.#proxy.counters, code);
    logRefused(this.#exchange, code, FAILURES[code].status);
    this.write(failureResponse(code, true, false));
    this.#close();
    return -1;
  }

  write(data: string | Buffer): void {
    if (this.#state === State.Closed) return;
    if (typeof data === 'string' && this.#outgoing.length + data.length <= KEPT_BACK_CHARS_MAX) {
      if (this.#outgoing === '') this.#proxy.outbox.add(this);
      this.#outgoing += data;
      return;
    }
    this.flush();
    this.#send(data);
  }

  /** What was kept back leaves now: at the end of the turn, or because something else must follow it. */
  flush(): void {
    const text = this.#outgoing;
    if (text === '') return;
    this.#outgoing = '';
    if (this.#state !== State.Closed) this.#send(text);
  }

  #send(data: string | Buffer): void {
    const isFlowing = typeof data === 'string' ? this.#socket.write(data, 'latin1') : this.#socket.write(data);
    if (!isFlowing && this.#socket.writableCorked === 0) this.#noteBacklog();
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.flush();
    this.#socket.uncork();
    this.#noteBacklog();
  }

  #noteBacklog(): void {
    if (this.#isBacklogged || !isStopped(this.#socket)) return;
    this.#isBacklogged = true;
    this.#proxy.wheel.set(this, this.#limits.sendTimeoutMs);
  }

  #drained(): void {
    if (!this.#isBacklogged) return;
    this.#isBacklogged = false;
    const { wheel } = this.#proxy;
    const limits = this.#limits;
    if (this.#state === State.Busy || this.#state === State.Tunnel) {
      if (this.#exchange.isRequestDone) wheel.clear(this);
      clientDrained(this.#exchange);
    } else if (this.#state === State.Head) {
      wheel.set(this, limits.keepAliveTimeoutMs);
      this.#next();
    }
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  finished(closes: boolean): void {
    if (this.#state !== State.Busy) return;
    if (closes) {
      this.#close();
      return;
    }
    this.#state = State.Head;
    if (!this.#isReading) this.#next();
  }

  /** The next request that waits, or the wait for one. */
  #next(): void {
    const input = this.#input;
    if (this.#isBacklogged) return;
    this.resume();
    if (input !== null) {
      this.#input = null;
      this.#readHeads(input);
    } else if (this.isInputEnded) this.#close();
    if (this.#state === State.Head) this.#proxy.wheel.set(this, this.#limits.keepAliveTimeoutMs);
  }

  /** Ends the connection behind what is written, and reads on for a while so that the client can read it (RFC 9112 9.6). */
  #close(): void {
    this.flush();
    this.#state = State.Linger;
    this.#input = null;
    this.#socket.end();
    if (this.isInputEnded) return;
    this.resume();
    this.#proxy.wheel.set(this, this.#limits.lingerMs);
  }

  abort(): void {
    if (this.#state === State.Closed) return;
    this.flush();
    // RST, because FIN would look like the end of a body that has no length.
    cut(this.#socket);
    this.#closed();
  }

  becomeTunnel(): Buffer | null {
    this.#state = State.Tunnel;
    this.#proxy.wheel.clear(this);
    const early = this.#input;
    this.#input = null;
    this.resume();
    return early;
  }

  endTunnel(): void {
    this.flush();
    this.#socket.end();
  }

  /** The proxy closes: an idle connection goes now, a busy one with its answer. A new one is waited for: its first request is on its way. */
  drain(): void {
    this.flush();
    const isIdle = this.#state === State.Head && this.#input === null;
    if (isIdle && this.#requests === 0) this.#proxy.wheel.set(this, FIRST_REQUEST_MS);
    else if (isIdle) this.#socket.destroySoon();
    else if (this.#state === State.Tunnel) this.abort();
  }

  #end(): void {
    this.isInputEnded = true;
    const exchange = this.#exchange;
    switch (this.#state) {
      case State.Head:
        if (!this.#isBacklogged) this.#close();
        return;
      case State.Busy:
        if (!exchange.isRequestDone) giveUp(exchange, 'body-truncated');
        else if (performance.now() - this.#lastByteAt > HALF_CLOSE_MS && this.#input === null) {
          this.#socket.destroy();
          this.#closed();
        }
        return;
      case State.Tunnel:
        clientEnded(exchange);
        return;
      case State.Linger:
        this.#socket.destroySoon();
        return;
      default:
        return;
    }
  }

  #closed(): void {
    if (this.#state === State.Closed) return;
    this.#state = State.Closed;
    this.#input = null;
    clientClosed(this.#exchange);
    this.#onClosed(this);
  }

  /** Slow read: nothing more could be written within `sendTimeoutMs`. */
  #endStalled(): void {
    giveUp(this.#exchange, 'client-stalled');
    this.#socket.destroy();
  }

  onDeadline(): void {
    switch (this.#state) {
      case State.Head:
        if (this.#headSince > 0) this.#refuse('head-timeout');
        else this.#close();
        return;
      case State.Busy:
        if (this.#isBacklogged) this.#endStalled();
        else if (this.#exchange.isRequestDone) this.#socket.destroy();
        else giveUp(this.#exchange, this.#isPaused ? 'response-timeout' : 'body-timeout');
        return;
      default:
        this.#socket.destroy();
    }
  }
}

/** `bytes` holds its start line at least, so a comparison of what is there decides. */
function isPreface(bytes: Buffer): boolean {
  return PREFACE.subarray(0, bytes.length).equals(bytes.subarray(0, PREFACE.length));
}
