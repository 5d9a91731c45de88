// One stream of an HTTP/2 connection to a target, as the walk knows connections: it takes a checked HTTP/1.1 request and tells of an
// HTTP/1.1 answer with chunks and trailers (RFC 9113 8), so nothing above knows which version the target speaks.
import { constants, type ClientHttp2Stream } from 'node:http2';
import { Body, Framing } from '../codec/body.ts';
import { Field, Head, parseRequest, STRIDE } from '../codec/h1.ts';
import { isFieldValue } from '../codec/h2/request.ts';
import type { Target, UpstreamConnection, UpstreamEvents, UpstreamSocket } from '../upstream.ts';
import { GrpcWeb } from './grpc-web.ts';
import type { UpstreamSession } from './session.ts';

const TARGET_BYTES_MAX = 64 * 1024;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const CRLF = Buffer.from('\r\n');
/** Valid within one call; one is enough for all streams. */
const scratch = new Head();

export class StreamConnection implements UpstreamConnection, UpstreamSocket {
  readonly target: Target;
  readonly #session: UpstreamSession;
  #stream: ClientHttp2Stream | null = null;
  readonly #request = new Body();
  /** The answer's head has been told. */
  #isAnswered = false;
  #isChunked = false;
  #trailers = '';
  #web: GrpcWeb | null = null;
  #isGrpc = false;
  #method = '';
  events: UpstreamEvents;
  owner: unknown;
  isReused: boolean;
  isClosed = false;
  isEnded = false;
  isPaused = false;
  isUnprocessed = false;
  grpcStatus = -1;
  idleMs = 0;
  partial: Buffer | null = null;
  isLent = false;
  deadline = Infinity;
  wheelTick = -1;

  constructor(session: UpstreamSession, owner: unknown, isReused: boolean) {
    this.#session = session;
    this.target = session.target;
    this.events = session.pool.events;
    this.owner = owner;
    this.isReused = isReused;
  }

  get socket(): UpstreamSocket {
    return this;
  }
  get isConnected(): boolean {
    return this.#session.isConnected;
  }
  get isHandshaking(): boolean {
    return this.#session.isHandshaking;
  }
  get writableNeedDrain(): boolean {
    return this.#stream?.writableNeedDrain ?? false;
  }
  get writableLength(): number {
    return this.#stream?.writableLength ?? 0;
  }

  post(text: string): void {
    this.write(text);
  }
  flush(): void {}
  readonly isUnsent = false;

  /** The connection stands. */
  opened(): void {
    if (!this.isClosed && this.#stream === null) this.events.connected(this);
  }

  write(data: string | Buffer): boolean {
    if (this.isClosed) return true;
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    let at = 0;
    if (this.#stream === null) {
      at = this.#begin(bytes);
      if (at < 0) return true;
    }
    this.#content(bytes, at);
    return this.#stream?.writableNeedDrain !== true;
  }

  /** The request head → HEADERS. Returns the offset after it, or −1 when the stream could not be opened. */
  #begin(bytes: Buffer): number {
    const next = parseRequest(scratch, bytes, 0, bytes.length, TARGET_BYTES_MAX);
    if (next <= 0) throw new Error('a rewritten head is one whole head');
    const fields = this.#fields();
    const request = this.#request;
    if (scratch.isChunked) request.begin(Framing.Chunked, 0);
    else request.begin(scratch.contentLength > 0 ? Framing.Length : Framing.None, Math.max(0, scratch.contentLength));
    request.isDecoding = true;
    request.keepsTrailers = true;
    this.#method = scratch.method;
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.http2.request(fields, {
        endStream: request.isDone,
        waitForTrailers: scratch.isChunked && !this.#isGrpc,
      });
    } catch {
      // GOAWAY came between choosing this connection and using it: nothing was sent.
      this.isUnprocessed = true;
      this.#session.drain();
      setImmediate(() => this.lost(null));
      return -1;
    }
    this.#listen(stream);
    return next;
  }

  #fields(): string[] {
    const list: string[] = [];
    let host = '';
    let contentType = '';
    for (let index = 0, at = 0; index < scratch.count; index++, at += STRIDE) {
      switch (scratch.fields[at]) {
        case Field.Host:
          host = scratch.value(at);
          continue;
        case Field.Connection:
        case Field.KeepAlive:
        case Field.TransferEncoding:
        case Field.Upgrade:
        case Field.Removed:
        case Field.Te:
          continue;
        default:
      }
      const name = scratch.name(at).toLowerCase();
      const value = scratch.value(at);
      if (name === 'content-type') contentType = value;
      list.push(name, value);
    }
    this.#web = GrpcWeb.of(contentType);
    this.#isGrpc = this.#web !== null || /^application\/grpc(?:[+;]|$)/i.test(contentType);
    if (this.#isGrpc || scratch.teAt >= 0) list.push('te', 'trailers');
    const fields = this.#web === null ? list : this.#web.requestFields(list);
    const path = scratch.text(scratch.targetStart, scratch.targetEnd);
    const { scheme } = this.#session;
    return [':method', scratch.method, ':scheme', scheme, ':authority', host, ':path', path, ...fields];
  }

  #content(bytes: Buffer, from: number): void {
    const request = this.#request;
    const stream = this.#stream;
    if (stream === null || request.isDone || from >= bytes.length) return;
    // The walk has checked these bytes already.
    if (request.consume(bytes, from, bytes.length) < 0) return this.discard();
    const { pieces, used } = request;
    for (let index = 0; index < used; index += 2) {
      const part = bytes.subarray(pieces[index], pieces[index + 1]);
      const content = this.#web === null ? part : this.#web.request(part);
      if (content === null) return this.#broken();
      if (content.length > 0 && !stream.destroyed) stream.write(content);
    }
    if (request.isDone && !stream.destroyed) stream.end();
  }

  #listen(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    stream.on('headers', (_headers, _flags, raw) => this.#head(raw, false));
    stream.on('response', (_headers, flags, raw) => {
      this.#head(raw, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0);
    });
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('trailers', (_headers, _flags, raw) => this.#noteTrailers(raw));
    stream.on('end', () => this.#end());
    stream.on('drain', () => {
      if (!this.isClosed) this.events.drained(this);
    });
    stream.on('wantTrailers', () => {
      if (!stream.destroyed) stream.sendTrailers(objectOf(this.#request.trailers));
    });
    stream.on('error', (error: NodeJS.ErrnoException) => this.#failed(error));
    stream.on('close', () => {
      this.#failed(null);
      this.#session.closed(this);
    });
    if (this.isPaused) stream.pause();
  }

  #head(raw: readonly string[], endsHere: boolean): void {
    if (this.isClosed) return;
    let text = '';
    let status = '';
    let hasLength = false;
    for (let at = 0; at < raw.length; at += 2) {
      const name = raw[at]!;
      const value = raw[at + 1]!;
      if (name === ':status') {
        status = value;
        continue;
      }
      if (!NAME.test(name) || !isFieldValue(value)) return this.#broken();
      if (name === 'connection' || name === 'transfer-encoding' || name === 'keep-alive' || name === 'upgrade')
        continue;
      if (name === 'content-length') hasLength = true;
      if (name === 'grpc-status') this.grpcStatus = Number(value);
      text += `${name}: ${value}\r\n`;
    }
    if (!/^[1-5]\d\d$/.test(status) || status === '101') return this.#broken();
    if (status.startsWith('1')) return this.#tell(Buffer.from(`HTTP/1.1 ${status} -\r\n${text}\r\n`, 'latin1'));
    if (this.#web !== null) text = this.#web.responseFields(text);
    this.#isAnswered = true;
    const hasNoBody = this.#method === 'HEAD' || status === '204' || status === '304';
    if (endsHere && !hasLength && !hasNoBody) text += 'Content-Length: 0\r\n';
    this.#isChunked = !endsHere && !hasNoBody && !(hasLength && this.#web === null);
    if (this.#isChunked) text += 'Transfer-Encoding: chunked\r\n';
    this.#tell(Buffer.from(`HTTP/1.1 ${status} -\r\n${text}\r\n`, 'latin1'));
  }

  #data(chunk: Buffer): void {
    if (this.isClosed || chunk.length === 0) return;
    const content = this.#web === null ? chunk : this.#web.response(chunk);
    if (content.length > 0) this.#tell(this.#isChunked ? chunkOf(content) : content);
  }

  #noteTrailers(raw: readonly string[]): void {
    let text = '';
    for (let at = 0; at < raw.length; at += 2) {
      const name = raw[at]!;
      if (name.startsWith(':') || !NAME.test(name) || !isFieldValue(raw[at + 1]!)) continue;
      if (name === 'grpc-status') this.grpcStatus = Number(raw[at + 1]);
      text += `${name}: ${raw[at + 1]}\r\n`;
    }
    this.#trailers = text;
  }

  #end(): void {
    if (this.isClosed) return;
    // A stream that is cut off without an error code ends the same way; gRPC says how it went in its trailers.
    const isCut = (this.#stream!.rstCode ?? 0) !== 0 || (this.#isGrpc && this.grpcStatus < 0);
    if (isCut || !this.#isAnswered || !this.#isChunked) return this.#failed(null);
    if (this.#web !== null) {
      const last = this.#web.end(this.#trailers);
      this.#tell(Buffer.concat([chunkOf(last), Buffer.from('0\r\n\r\n')]));
    } else this.#tell(Buffer.from(`0\r\n${this.#trailers}\r\n`, 'latin1'));
    if (this.isClosed) return;
    this.isEnded = true;
    this.events.ended(this);
  }

  #tell(bytes: Buffer): void {
    if (this.isClosed || this.owner === null) return;
    const goesOn = this.events.bytes(this, bytes, bytes.length);
    if (goesOn || this.isClosed) return;
    this.isPaused = true;
    this.#stream?.pause();
  }

  /** What the target sent, or the client for it, is not what HTTP/2 or gRPC-Web allows. */
  #broken(): void {
    this.#stream?.close(constants.NGHTTP2_PROTOCOL_ERROR);
    this.#failed(Object.assign(new Error('malformed'), { code: 'ERR_HTTP2_ERROR' }));
  }

  #failed(error: NodeJS.ErrnoException | null): void {
    if (this.isClosed) return;
    if (this.#stream?.rstCode === constants.NGHTTP2_REFUSED_STREAM) this.isUnprocessed = true;
    this.lost(error);
  }

  /** The stream or its whole connection is gone. */
  lost(error: NodeJS.ErrnoException | null): void {
    if (this.isClosed) return;
    const isHeld = this.owner !== null;
    this.forget();
    if (isHeld) this.events.failed(this, error);
    this.owner = null;
  }

  resume(): void {
    if (!this.isPaused || this.isClosed) return;
    this.isPaused = false;
    this.#stream?.resume();
  }

  shareBuffer(): void {}
  cork(): void {
    this.#stream?.cork();
  }
  uncork(): void {
    this.#stream?.uncork();
  }
  end(): void {
    this.#stream?.end();
  }
  destroySoon(): void {
    this.discard();
  }

  /** The answer is whole; the stream ends by itself. */
  release(): void {
    this.owner = null;
    this.forget();
    this.#stream?.resume();
  }

  discard(): void {
    if (this.isClosed) return;
    this.owner = null;
    this.forget();
    const stream = this.#stream;
    if (stream !== null && !stream.destroyed) {
      stream.resume();
      stream.close(constants.NGHTTP2_CANCEL);
    }
  }

  forget(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.#stream === null) this.#session.closed(this);
  }

  onDeadline(): void {
    if (this.owner === null || this.isClosed) return;
    // A target that lets one stream wait too long may have lost all of them.
    if (this.isConnected && !this.#isAnswered) this.#session.drain();
    this.events.timedOut(this);
  }
}

function chunkOf(content: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${content.length.toString(16)}\r\n`, 'latin1'), content, CRLF]);
}

function objectOf(lines: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return fields;
}
