// HTTP/2 connections (RFC 9113) by node:http2, entered through the same accept and identify phases as HTTP/1.1: an accepted
// socket is handed to `performServerHandshake`, and each of its streams walks as an exchange of its own.
import http2, { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type net from 'node:net';
import { countFailure } from '../../counters.ts';
import { type Accepted, identityFields } from '../../phase/accept.ts';
import type { SecureIdentity } from '../../phase/identify.ts';
import type { ProxyContext } from '../../state.ts';
import type { Limits } from '../../limits.ts';
import type { Timed } from '../../wheel.ts';
import { H2Stream } from './stream.ts';

/** Resets that a client gets back each second once its burst is used up. */
const RESETS_PER_SECOND = 33;

export class H2Session implements Timed {
  readonly accepted: Accepted;
  readonly scheme: 'http' | 'https';
  readonly secure: SecureIdentity | null;
  readonly identityFields: string;
  readonly identityTail: string;
  readonly connectionId: number;
  readonly #proxy: ProxyContext;
  readonly #session: ServerHttp2Session;
  readonly #onClosed: () => void;
  #streams = 0;
  #requests = 0;
  /** Streams that the client may still cut off before they are answered (CVE-2023-44487). */
  #resetsLeft: number;
  #resetsAt: number;
  isClosed = false;
  deadline = Infinity;
  wheelTick = -1;

  constructor(
    proxy: ProxyContext,
    socket: net.Socket,
    accepted: Accepted,
    secure: SecureIdentity | null,
    onClosed: () => void,
  ) {
    const { wheel } = proxy;
    this.#proxy = proxy;
    const limits = accepted.binding.listener?.limits ?? proxy.limits;
    this.#onClosed = onClosed;
    this.accepted = accepted;
    this.secure = secure;
    this.connectionId = ++proxy.connectionSerial;
    this.scheme = secure === null ? 'http' : 'https';
    this.identityFields = identityFields(accepted.clientAddress, this.scheme) + (secure?.clientFields ?? '');
    this.identityTail = `${this.identityFields}X-Forwarded-For: ${accepted.clientAddress}\r\n\r\n`;
    this.#resetsLeft = limits.h2ResetsMax;
    this.#resetsAt = wheel.now;
    this.#session = http2.performServerHandshake(socket, {
      settings: {
        maxConcurrentStreams: limits.h2StreamsMax,
        maxHeaderListSize: limits.headBytesMax,
        initialWindowSize: limits.h2WindowBytes,
        enableConnectProtocol: true,
      },
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      strictSingleValueFields: false,
    });
    const session = this.#session;
    session.on('stream', (stream, _headers, flags, raw) => this.#stream(stream, flags, raw));
    session.on('error', () => this.#broken());
    session.on('close', () => this.#closed());
    wheel.set(this, limits.headTimeoutMs);
  }

  /** As the newest image has them. */
  get limits(): Limits {
    return this.accepted.binding.listener?.limits ?? this.#proxy.limits;
  }

  get requestCount(): number {
    return this.#requests + 1;
  }

  #stream(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    const { wheel, isDraining } = this.#proxy;
    const { limits } = this;
    // nghttp2 forgets a stream at its reset, we when its work has stopped: what a burst of resets starts stays within the limit.
    if (this.isClosed || this.#streams >= limits.h2StreamsMax) {
      stream.on('error', () => {});
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      countFailure(this.#proxy.counters, 'h2-streams');
      return;
    }
    wheel.clear(this);
    this.#streams++;
    const own = new H2Stream(this.#proxy, this, stream);
    own.start(raw, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0);
    if (isDraining || ++this.#requests >= limits.requestsPerConnectionMax) this.drain();
  }

  /** `wasCut`: the client left before its answer. Work started and thrown away is what a rapid-reset attack lives on. */
  streamClosed(wasCut: boolean): void {
    const { counters, wheel } = this.#proxy;
    const { limits } = this;
    this.#streams--;
    if (this.#streams === 0 && !this.isClosed) wheel.set(this, limits.keepAliveTimeoutMs);
    if (!wasCut || this.isClosed) return;
    const back = ((wheel.now - this.#resetsAt) / 1000) * RESETS_PER_SECOND;
    this.#resetsAt = wheel.now;
    this.#resetsLeft = Math.min(limits.h2ResetsMax, this.#resetsLeft + back) - 1;
    if (this.#resetsLeft >= 0) return;
    countFailure(counters, 'h2-resets');
    this.#closed();
    this.#session.destroy(new Error('too many resets'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /** GOAWAY with the last stream that will be answered; those in flight end, then the connection does (RFC 9113 6.8). */
  drain(): void {
    if (!this.#session.closed) this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }

  #broken(): void {
    if (!this.isClosed) countFailure(this.#proxy.counters, 'h2-protocol');
  }

  #closed(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#onClosed();
  }

  onDeadline(): void {
    if (this.#streams > 0) return;
    if (this.#requests === 0) this.destroy();
    else if (this.#session.closed) this.destroy();
    else {
      this.drain();
      this.#proxy.wheel.set(this, this.limits.lingerMs);
    }
  }
}
