// The walk's HTTP/1.1 responses → HTTP/2 frames: heads lose what only HTTP/1.1 knows, bodies lose their chunks, trailers become HEADERS.
import { constants, type ServerHttp2Stream } from 'node:http2';
import { Body, Framing } from '../body.ts';
import { Field, Head, INCOMPLETE, parseResponse, STRIDE } from '../h1.ts';

/** Valid from parsing to the end of that call; one is enough for all streams. */
const scratch = new Head();

export interface ResponseOf {
  /** The request's method, as the client sent it. */
  readonly method: string;
  readonly isTunnel: boolean;
  readonly readsTrailers: boolean;
}

export class H2Response {
  readonly #stream: ServerHttp2Stream;
  readonly #body = new Body();
  #partial: Buffer | null = null;
  #isHeadSent = false;
  #isBytes = false;
  #trailers: Record<string, string | string[]> | null = null;
  #isAborted = false;
  isEnded = false;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
  }

  /** What comes from now on is content as it is. */
  becomeTunnel(): void {
    this.#isBytes = true;
  }

  /** False: these bytes are no response that HTTP/2 can carry. */
  write(data: string | Buffer, request: ResponseOf): boolean {
    if (this.isEnded || this.#stream.destroyed) return true;
    let bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    if (this.#isBytes) {
      this.#stream.write(bytes);
      return true;
    }
    if (this.#partial !== null) bytes = Buffer.concat([this.#partial, bytes]);
    this.#partial = null;
    let at = 0;
    while (!this.#isHeadSent) {
      const next = parseResponse(scratch, bytes, at, bytes.length);
      if (next < 0) return false;
      if (next === INCOMPLETE) {
        this.#partial = at === bytes.length ? null : Buffer.from(bytes.subarray(at));
        return true;
      }
      if (!this.#head(request, bytes.length - next)) return false;
      at = next;
      if (this.#isBytes) {
        if (at < bytes.length) this.#stream.write(bytes.subarray(at));
        return true;
      }
      if (at === bytes.length) return true;
    }
    return this.#content(bytes, at);
  }

  /** `waiting`: bytes of the body that have come with the head. */
  #head({ method, isTunnel, readsTrailers }: ResponseOf, waiting: number): boolean {
    const stream = this.#stream;
    const { status } = scratch;
    if (status === 101) {
      if (!isTunnel) return false;
      this.#isBytes = true;
      this.#isHeadSent = true;
      stream.once('wantTrailers', () => this.#sendTrailers());
      stream.respond([':status', '200', ...fieldsOf(scratch, true)], { waitForTrailers: true });
      return true;
    }
    if (status < 200) {
      stream.additionalHeaders(Object.assign(informational(scratch), { ':status': status }));
      return true;
    }
    // 2xx would tell the client that its tunnel stands.
    if (isTunnel && status < 300) return false;
    this.#isHeadSent = true;
    const hasNoBody = method === 'HEAD' || status === 204 || status === 304;
    if (hasNoBody) this.#body.begin(Framing.None, 0);
    else if (scratch.isChunked) this.#body.begin(Framing.Chunked, 0);
    else this.#body.begin(Framing.Length, Math.max(0, scratch.contentLength));
    this.#body.isDecoding = true;
    this.#body.keepsTrailers = readsTrailers;
    const endStream = this.#body.isDone;
    // node:http2 ends a stream cleanly before it resets it, unless the end is ours to say: then `abort` says none.
    const waitForTrailers = !endStream && (this.#body.framing === Framing.Chunked || this.#body.remaining > waiting);
    if (waitForTrailers) stream.once('wantTrailers', () => this.#sendTrailers());
    stream.respond([':status', String(status), ...fieldsOf(scratch, false)], { endStream, waitForTrailers });
    if (endStream) this.isEnded = true;
    return true;
  }

  #content(bytes: Buffer, from: number): boolean {
    const body = this.#body;
    if (body.isDone) return true;
    if (body.consume(bytes, from, bytes.length) < 0) return false;
    const { pieces, used } = body;
    for (let index = 0; index < used; index += 2) {
      const part = bytes.subarray(pieces[index], pieces[index + 1]);
      if (body.isDone && index + 2 === used) return this.#end(part);
      this.#stream.write(part);
    }
    return body.isDone ? this.#end(null) : true;
  }

  #sendTrailers(): void {
    if (!this.#isAborted && !this.#stream.destroyed) this.#stream.sendTrailers(this.#trailers ?? {});
  }

  #end(last: Buffer | null): boolean {
    this.isEnded = true;
    if (this.#body.trailers !== '') this.#trailers = trailersOf(this.#body.trailers);
    if (last === null) this.#stream.end();
    else this.#stream.end(last);
    return true;
  }

  /** Ends with an error, so that half a response is not taken for a whole one. */
  abort(code: number = constants.NGHTTP2_INTERNAL_ERROR): void {
    this.isEnded = true;
    this.#isAborted = true;
    if (!this.#stream.destroyed) this.#stream.close(code);
  }
}

/** Names and values without what belongs to one HTTP/1.1 connection (RFC 9113 8.2.2). */
function fieldsOf(head: Head, isTunnel: boolean): string[] {
  const list: string[] = [];
  for (let index = 0, at = 0; index < head.count; index++, at += STRIDE) {
    switch (head.fields[at]) {
      case Field.Connection:
      case Field.KeepAlive:
      case Field.TransferEncoding:
      case Field.Upgrade:
      case Field.Removed:
        continue;
      default:
    }
    const name = head.name(at).toLowerCase();
    if (isTunnel && (name === 'sec-websocket-accept' || name === 'content-length')) continue;
    list.push(name, head.value(at));
  }
  return list;
}

function informational(head: Head): Record<string, string | string[]> {
  const list = fieldsOf(head, false);
  const fields: Record<string, string | string[]> = {};
  for (let at = 0; at < list.length; at += 2) add(fields, list[at]!, list[at + 1]!);
  return fields;
}

function trailersOf(lines: string): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = {};
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) add(fields, line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return fields;
}

function add(fields: Record<string, string | string[]>, name: string, value: string): void {
  const before = fields[name];
  fields[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value];
}
