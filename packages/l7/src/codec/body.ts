// Message bodies (RFC 9112 6 and 7): where one ends, and which bytes of a read may be passed on as they are.
// Chunked bodies are checked byte by byte and forwarded in their own framing; extensions are cut out, trailers are filtered.
import { CHUNK_OVERHEAD_BYTES_MAX } from '../limits.ts';
import { CharClass, CLASSES, COLON, CR, equalsFolded, hexValue, LF, SP, TAB } from './bytes.ts';
import { Bad } from './h1.ts';

export const Framing = { None: 0, Length: 1, Chunked: 2, UntilClose: 3 } as const;
export type Framing = (typeof Framing)[keyof typeof Framing];

const State = {
  SizeFirst: 0,
  Size: 1,
  Extension: 2,
  SizeLf: 3,
  Data: 4,
  DataCr: 5,
  DataLf: 6,
  TrailerFirst: 7,
  Trailer: 8,
  TrailerLf: 9,
  EndLf: 10,
} as const;

const SIZE_DIGITS_MAX = 13;
/** Names that must not stand in a trailer (RFC 9110 6.5.1) or that belong to the proxy. */
const FORBIDDEN_TRAILERS = (
  'host connection content-length transfer-encoding upgrade te trailer expect keep-alive authorization ' +
  'proxy-authorization proxy-connection cookie set-cookie content-encoding range content-type ' +
  'content-range cache-control max-forwards pragma date expires location age x-real-ip x-forwarded-for ' +
  'x-forwarded-proto x-client-proto proxy-authenticate www-authenticate'
)
  .split(' ')
  .map((name) => Buffer.from(name));

/** One body. `consume` leaves in `pieces` the ranges to forward and in `tail` what follows them. Reused between messages. */
export class Body {
  framing: Framing = Framing.None;
  isDone = true;
  /** Content bytes seen, framing not counted. */
  bytes = 0;
  remaining = 0;
  /** Forward only the content: the other side does not speak chunked. */
  isDecoding = false;
  /** The other side said that it reads trailers. */
  keepsTrailers = false;
  /** start, end, start, end … into the bytes given to `consume`. */
  readonly pieces: number[] = [];
  tail = '';
  #state: number = State.SizeFirst;
  #digits = 0;
  #overhead = 0;
  #trailers = '';
  #line: number[] = [];

  begin(framing: Framing, length: number): void {
    this.framing = framing;
    this.remaining = framing === Framing.Length ? length : 0;
    this.isDone = framing === Framing.None || (framing === Framing.Length && length === 0);
    this.bytes = 0;
    this.isDecoding = false;
    this.keepsTrailers = false;
    this.pieces.length = 0;
    this.tail = '';
    this.#state = State.SizeFirst;
    this.#digits = 0;
    this.#overhead = 0;
    if (framing === Framing.Chunked) this.#trailers = '';
  }

  /** Takes the part of `bytes` that belongs to this body. Returns the offset after it, or one of `Bad`. */
  consume(bytes: Uint8Array, start: number, end: number): number {
    this.pieces.length = 0;
    this.tail = '';
    if (this.framing === Framing.Chunked) return this.#consumeChunked(bytes, start, end);
    let taken = end - start;
    if (this.framing === Framing.Length) {
      taken = Math.min(taken, this.remaining);
      this.remaining -= taken;
      this.isDone = this.remaining === 0;
    } else if (this.framing === Framing.None) taken = 0;
    this.bytes += taken;
    if (taken > 0) this.pieces.push(start, start + taken);
    return start + taken;
  }

  #consumeChunked(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    let run = start;
    while (at < end && !this.isDone) {
      if (this.#state === State.Data) {
        const taken = Math.min(end - at, this.remaining);
        if (this.isDecoding) this.pieces.push(at, at + taken);
        at += taken;
        this.bytes += taken;
        this.remaining -= taken;
        if (this.remaining === 0) this.#state = State.DataCr;
        continue;
      }
      const before = this.#state;
      if (!this.#step(bytes[at]!)) return before >= State.TrailerFirst ? Bad.Trailer : Bad.Chunk;
      if (before < State.TrailerFirst) {
        // The extension itself is not forwarded; its line's CRLF is.
        if (before === State.Size && this.#state === State.Extension) this.#cut(run, at);
        else if (before === State.Extension && this.#state === State.SizeLf) run = at;
        else if (before === State.SizeLf && this.#state === State.TrailerFirst) {
          this.#cut(run, at + 1);
          run = end;
        }
      }
      at++;
    }
    if (this.#state < State.TrailerFirst && this.#state !== State.Extension) this.#cut(run, at);
    return at;
  }

  #cut(from: number, to: number): void {
    if (!this.isDecoding && to > from) this.pieces.push(from, to);
  }

  /** One byte of framing. */
  #step(byte: number): boolean {
    switch (this.#state) {
      case State.SizeFirst: {
        const value = hexValue(byte);
        this.remaining = value;
        this.#digits = 1;
        this.#state = State.Size;
        return value >= 0;
      }
      case State.Size: {
        const value = hexValue(byte);
        if (value >= 0) {
          this.remaining = this.remaining * 16 + value;
          return ++this.#digits <= SIZE_DIGITS_MAX;
        }
        if (byte === CR) this.#state = State.SizeLf;
        else if (byte === 0x3b) this.#state = State.Extension;
        else return false;
        return true;
      }
      case State.Extension:
        if (byte === CR) this.#state = State.SizeLf;
        else if (!(CLASSES[byte]! & CharClass.Value)) return false;
        return ++this.#overhead <= CHUNK_OVERHEAD_BYTES_MAX;
      case State.SizeLf:
        this.#state = this.remaining === 0 ? State.TrailerFirst : State.Data;
        return byte === LF;
      case State.DataCr:
        this.#state = State.DataLf;
        return byte === CR;
      case State.DataLf:
        this.#state = State.SizeFirst;
        return byte === LF;
      default:
        return ++this.#overhead <= CHUNK_OVERHEAD_BYTES_MAX && this.#stepTrailer(byte);
    }
  }

  #stepTrailer(byte: number): boolean {
    switch (this.#state) {
      case State.TrailerFirst:
        if (byte === CR) {
          this.#state = State.EndLf;
          return true;
        }
        this.#line.length = 0;
        this.#state = State.Trailer;
        return byte !== SP && byte !== TAB && this.#stepTrailer(byte);
      case State.Trailer:
        if (byte === CR) this.#state = State.TrailerLf;
        else if (CLASSES[byte]! & CharClass.Value) this.#line.push(byte);
        else return false;
        return true;
      case State.TrailerLf:
        this.#state = State.TrailerFirst;
        return byte === LF && this.#keepTrailer();
      default:
        if (byte !== LF) return false;
        this.isDone = true;
        if (!this.isDecoding) this.tail = `${this.#trailers}\r\n`;
        this.#trailers = '';
        return true;
    }
  }

  /** Checks one trailer line and keeps it unless its name is forbidden or nobody reads trailers. */
  #keepTrailer(): boolean {
    const line = Buffer.from(this.#line);
    let colon = 0;
    while (colon < line.length && CLASSES[line[colon]!]! & CharClass.Tchar) colon++;
    if (colon === 0 || line[colon] !== COLON) return false;
    if (!this.keepsTrailers) return true;
    for (const name of FORBIDDEN_TRAILERS) if (name.length === colon && equalsFolded(line, 0, name)) return true;
    this.#trailers += `${line.toString('latin1')}\r\n`;
    return true;
  }
}
