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
  SizeLf: 2,
  Data: 3,
  DataCr: 4,
  DataLf: 5,
  // Chunk extensions (RFC 9112 7.1.1).
  NameFirst: 6,
  Name: 7,
  ValueFirst: 8,
  Value: 9,
  Quoted: 10,
  QuotedPair: 11,
  QuotedEnd: 12,
  // Behind the last chunk.
  TrailerFirst: 13,
  Trailer: 14,
  TrailerLf: 15,
  EndLf: 16,
} as const;

const QUOTE = 0x22;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;
const SIZE_DIGITS_MAX = 13;
/** In a trailer they can only be meant to confuse: refused. */
const FRAMING_NAMES = ['content-length', 'transfer-encoding'].map((name) => Buffer.from(name));
/** Names that must not stand in a trailer (RFC 9110 6.5.1) or that belong to the proxy. */
const FORBIDDEN_TRAILERS = (
  'host connection upgrade te trailer expect keep-alive authorization ' +
  'proxy-authorization proxy-connection cookie set-cookie content-encoding range content-type ' +
  'content-range cache-control max-forwards pragma date expires location age x-real-ip x-forwarded-for ' +
  'x-forwarded-proto x-client-proto proxy-authenticate www-authenticate x-client-verify x-client-cert-subject ' +
  'x-client-cert-issuer x-client-cert-serial x-client-cert-fingerprint'
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
  /** Numbers in `pieces` that count; setting an array's length costs more than the rest of `consume`. */
  used = 0;
  tail = '';
  /** Kept trailer lines of a chunked body that is done. */
  trailers = '';
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
    this.clear();
    this.#state = State.SizeFirst;
    this.#digits = 0;
    this.#overhead = 0;
    if (framing === Framing.Chunked) {
      this.#trailers = '';
      this.trailers = '';
    }
  }

  clear(): void {
    this.used = 0;
    this.tail = '';
  }

  /** Takes the part of `bytes` that belongs to this body. Returns the offset after it, or one of `Bad`. */
  consume(bytes: Uint8Array, start: number, end: number): number {
    this.clear();
    if (this.framing === Framing.Chunked) return this.#consumeChunked(bytes, start, end);
    let taken = end - start;
    if (this.framing === Framing.Length) {
      taken = Math.min(taken, this.remaining);
      this.remaining -= taken;
      this.isDone = this.remaining === 0;
    } else if (this.framing === Framing.None) taken = 0;
    this.bytes += taken;
    if (taken > 0) this.#add(start, start + taken);
    return start + taken;
  }

  #consumeChunked(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    let run = start;
    while (at < end && !this.isDone) {
      if (this.#state === State.Data) {
        const taken = Math.min(end - at, this.remaining);
        if (this.isDecoding) this.#add(at, at + taken);
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
        if (before === State.Size && this.#state === State.NameFirst) this.#cut(run, at);
        else if (before >= State.NameFirst && this.#state === State.SizeLf) run = at;
        else if (before === State.SizeLf && this.#state === State.TrailerFirst) {
          this.#cut(run, at + 1);
          run = end;
        }
      }
      at++;
    }
    if (this.#state < State.NameFirst) this.#cut(run, at);
    return at;
  }

  #cut(from: number, to: number): void {
    if (!this.isDecoding && to > from) this.#add(from, to);
  }

  #add(from: number, to: number): void {
    this.pieces[this.used++] = from;
    this.pieces[this.used++] = to;
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
        else if (byte === SEMICOLON) this.#state = State.NameFirst;
        else return false;
        return true;
      }
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
        if (++this.#overhead > CHUNK_OVERHEAD_BYTES_MAX) return false;
        return this.#state < State.TrailerFirst ? this.#stepExtension(byte) : this.#stepTrailer(byte);
    }
  }

  /** `;` token [`=` (token / quoted-string)], as often as it comes. Whatever it says is not forwarded. */
  #stepExtension(byte: number): boolean {
    const isToken = (CLASSES[byte]! & CharClass.Tchar) !== 0;
    switch (this.#state) {
      case State.NameFirst:
        this.#state = State.Name;
        return isToken;
      case State.Name:
        if (byte === EQUALS) this.#state = State.ValueFirst;
        else if (!isToken) return this.#endExtension(byte);
        return true;
      case State.ValueFirst:
        this.#state = byte === QUOTE ? State.Quoted : State.Value;
        return byte === QUOTE || isToken;
      case State.Value:
        return isToken || this.#endExtension(byte);
      case State.Quoted:
        if (byte === QUOTE) this.#state = State.QuotedEnd;
        else if (byte === BACKSLASH) this.#state = State.QuotedPair;
        return (CLASSES[byte]! & CharClass.Value) !== 0;
      case State.QuotedPair:
        this.#state = State.Quoted;
        return (CLASSES[byte]! & CharClass.Value) !== 0;
      default:
        return this.#endExtension(byte);
    }
  }

  #endExtension(byte: number): boolean {
    this.#state = byte === CR ? State.SizeLf : State.NameFirst;
    return byte === CR || byte === SEMICOLON;
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
        this.trailers = this.#trailers;
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
    for (const name of FRAMING_NAMES) if (name.length === colon && equalsFolded(line, 0, name)) return false;
    if (!this.keepsTrailers) return true;
    for (const name of FORBIDDEN_TRAILERS) if (name.length === colon && equalsFolded(line, 0, name)) return true;
    this.#trailers += `${line.toString('latin1')}\r\n`;
    return true;
  }
}
