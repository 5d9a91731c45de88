// Strict HTTP/1.1 heads (RFC 9112) on raw socket bytes: no header objects, only ranges into the buffer. Both sides use it.
import { FIELDS_MAX, NOMINATED_MAX } from '../limits.ts';
import { CharClass, CLASSES, COLON, COMMA, CR, equalsFolded, LF, SP, TAB } from './bytes.ts';

/** Fields that mean something to the proxy. The others are forwarded without being understood. */
export const Field = {
  Other: 0,
  Host: 1,
  Connection: 2,
  ContentLength: 3,
  TransferEncoding: 4,
  Upgrade: 5,
  Expect: 6,
  Te: 7,
  Trailer: 8,
  ForwardedFor: 9,
  /** Removed on both ways: hop-by-hop names, and names that a server may take for a known one (`content_length`). */
  Removed: 10,
  KeepAlive: 11,
  Authorization: 12,
  Cookie: 13,
  /** Written by the proxy itself, so what a client sends under these names is removed (E5). */
  Identity: 14,
} as const;

const NAMES: readonly (readonly [string, number])[] = [
  ['host', Field.Host],
  ['connection', Field.Connection],
  ['content-length', Field.ContentLength],
  ['transfer-encoding', Field.TransferEncoding],
  ['upgrade', Field.Upgrade],
  ['expect', Field.Expect],
  ['te', Field.Te],
  ['trailer', Field.Trailer],
  ['x-forwarded-for', Field.ForwardedFor],
  ['x-real-ip', Field.Identity],
  ['x-client-proto', Field.Identity],
  ['x-forwarded-proto', Field.Identity],
  ['x-client-verify', Field.Identity],
  ['x-client-cert-subject', Field.Identity],
  ['x-client-cert-issuer', Field.Identity],
  ['x-client-cert-serial', Field.Identity],
  ['x-client-cert-fingerprint', Field.Identity],
  ['proxy-connection', Field.Removed],
  ['proxy-authorization', Field.Removed],
  ['http2-settings', Field.Removed],
  ['keep-alive', Field.KeepAlive],
  ['authorization', Field.Authorization],
  ['cookie', Field.Cookie],
];

const BY_LENGTH: ({ readonly literal: Uint8Array; readonly field: number }[] | undefined)[] = [];
for (const [name, field] of NAMES) (BY_LENGTH[name.length] ??= []).push({ literal: Buffer.from(name), field });

/** Why a head or a body is refused. Negative, so that a parser can return it in place of an offset. */
export const Bad = {
  RequestLine: -1,
  Method: -2,
  Target: -3,
  TargetLength: -4,
  Version: -5,
  VersionUnsupported: -6,
  FieldName: -7,
  FieldValue: -8,
  LineEnd: -9,
  Fold: -10,
  FieldCount: -11,
  ContentLength: -12,
  TransferEncoding: -13,
  LengthConflict: -14,
  Host: -15,
  StatusLine: -16,
  Chunk: -17,
  Trailer: -18,
  MethodUnknown: -19,
  Expect: -20,
  CodingUnsupported: -21,
} as const;

export const INCOMPLETE = 0;
/** Numbers a field takes in `Head.fields`: kind, name start, name end, value start, value end. */
export const STRIDE = 5;

/** One parsed head. Reused from request to request: what outlives the turn is copied out. */
export class Head {
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  /** After the start line. */
  fieldsStart = 0;
  /** After the empty line. */
  end = 0;
  minor = 1;
  count = 0;
  readonly fields = new Int32Array(FIELDS_MAX * STRIDE);
  // Start line of a request.
  method = '';
  targetStart = 0;
  targetEnd = 0;
  // Start line of a response.
  status = 0;
  // What the fields say together.
  contentLength = -1;
  isChunked = false;
  isClose = false;
  isKeepAlive = false;
  isUpgradeNominated = false;
  /** Lower-case names that Connection lists beyond close, keep-alive, upgrade and te. */
  nominated: string[] | null = null;
  hostAt = -1;
  upgradeAt = -1;
  forwardedForAt = -1;
  expectAt = -1;
  teAt = -1;
  keepAliveAt = -1;
  hasTrailer = false;
  /** Some field is not forwarded as it stands, so the head cannot be copied in one piece. */
  isEdited = false;

  reset(bytes: Buffer, start: number): void {
    this.bytes = bytes;
    this.start = start;
    this.count = 0;
    this.contentLength = -1;
    this.isChunked = false;
    this.isClose = false;
    this.isKeepAlive = false;
    this.isUpgradeNominated = false;
    this.nominated = null;
    this.hostAt = -1;
    this.upgradeAt = -1;
    this.forwardedForAt = -1;
    this.expectAt = -1;
    this.teAt = -1;
    this.keepAliveAt = -1;
    this.hasTrailer = false;
    this.isEdited = false;
  }

  text(start: number, end: number): string {
    return this.bytes.toString('latin1', start, end);
  }

  value(at: number): string {
    return this.bytes.toString('latin1', this.fields[at + 3], this.fields[at + 4]);
  }

  hasTabBehind(at: number): boolean {
    let end = this.fields[at + 4]!;
    while (this.bytes[end] === SP) end++;
    return this.bytes[end] === TAB;
  }

  name(at: number): string {
    return this.bytes.toString('latin1', this.fields[at + 1], this.fields[at + 2]);
  }
}

const METHOD_BYTES_MAX = 32;
const VERSION_BYTES = 8;
const HTTP_1 = Buffer.from('HTTP/1.');

/** Parses one request head. Returns the offset after it, `INCOMPLETE`, or one of `Bad`. */
export function parseRequest(head: Head, bytes: Buffer, start: number, end: number, targetBytesMax: number): number {
  let at = start;
  // RFC 9112 2.2: one empty line before the request line is ignored (a sloppy client's end of the body before).
  if (bytes[at] === CR) {
    if (at + 1 >= end) return INCOMPLETE;
    if (bytes[at + 1] !== LF) return Bad.RequestLine;
    at += 2;
  }
  head.reset(bytes, at);
  const methodStart = at;
  while (at < end && CLASSES[bytes[at]!]! & CharClass.Tchar) at++;
  if (at - methodStart > METHOD_BYTES_MAX) return Bad.Method;
  if (at === end) return INCOMPLETE;
  if (bytes[at] !== SP || at === methodStart) return Bad.Method;
  const methodEnd = at++;
  head.targetStart = at;
  while (at < end && CLASSES[bytes[at]!]! & CharClass.Target) at++;
  if (at - head.targetStart > targetBytesMax) return Bad.TargetLength;
  if (at === end) return INCOMPLETE;
  if (bytes[at] !== SP || at === head.targetStart) return Bad.Target;
  head.targetEnd = at++;
  const version = parseVersion(head, bytes, at, end);
  if (version <= 0) return version;
  at = version;
  if (at + 1 >= end) return at < end && bytes[at] !== CR ? Bad.Version : INCOMPLETE;
  if (bytes[at] !== CR || bytes[at + 1] !== LF) return bytes[at] === LF ? Bad.LineEnd : Bad.Version;
  head.fieldsStart = at + 2;
  const after = parseFields(head, bytes, at + 2, end);
  if (after <= 0) return after;
  head.method = methodOf(bytes, methodStart, methodEnd);
  return after;
}

/** Parses one response head. Returns the offset after it, `INCOMPLETE`, or one of `Bad`. */
export function parseResponse(head: Head, bytes: Buffer, start: number, end: number): number {
  head.reset(bytes, start);
  let at = parseVersion(head, bytes, start, end);
  if (at <= 0) return at;
  if (end - at < 5) return INCOMPLETE;
  if (bytes[at] !== SP) return Bad.StatusLine;
  head.status = 0;
  for (let digit = 1; digit <= 3; digit++) {
    const value = bytes[at + digit]! - 0x30;
    if (value < 0 || value > 9) return Bad.StatusLine;
    head.status = head.status * 10 + value;
  }
  if (head.status < 100 || head.status > 599) return Bad.StatusLine;
  at += 4;
  if (bytes[at] === SP) {
    at++;
    while (at < end && CLASSES[bytes[at]!]! & CharClass.Value) at++;
  }
  if (at + 1 >= end) return at < end && bytes[at] !== CR ? Bad.StatusLine : INCOMPLETE;
  if (bytes[at] !== CR || bytes[at + 1] !== LF) return Bad.StatusLine;
  head.fieldsStart = at + 2;
  return parseFields(head, bytes, at + 2, end);
}

/** `HTTP/1.0` or `HTTP/1.1`, nothing else. */
function parseVersion(head: Head, bytes: Buffer, at: number, end: number): number {
  const seen = Math.min(end - at, VERSION_BYTES);
  for (let index = 0; index < seen && index < HTTP_1.length; index++) {
    if (bytes[at + index] === HTTP_1[index]) continue;
    // HTTP/2.0 and the like are well-formed but spoken elsewhere.
    return index === 5 && bytes[at + 5]! >= 0x30 && bytes[at + 5]! <= 0x39 ? Bad.VersionUnsupported : Bad.Version;
  }
  if (seen < VERSION_BYTES) return INCOMPLETE;
  const minor = bytes[at + 7]! - 0x30;
  if (minor !== 0 && minor !== 1) return minor > 1 && minor <= 9 ? Bad.VersionUnsupported : Bad.Version;
  head.minor = minor;
  return at + VERSION_BYTES;
}

function methodOf(bytes: Buffer, start: number, end: number): string {
  if (end - start === 3 && bytes[start] === 0x47 && bytes[start + 1] === 0x45 && bytes[start + 2] === 0x54)
    return 'GET';
  return bytes.toString('latin1', start, end);
}

/** The field lines up to and with the empty line. */
function parseFields(head: Head, bytes: Buffer, start: number, end: number): number {
  let at = start;
  for (;;) {
    if (at >= end) return INCOMPLETE;
    const first = bytes[at]!;
    if (first === CR) {
      if (at + 1 >= end) return INCOMPLETE;
      if (bytes[at + 1] !== LF) return Bad.LineEnd;
      head.end = at + 2;
      return at + 2;
    }
    if (first === SP || first === TAB) return Bad.Fold;
    if (first === LF) return Bad.LineEnd;
    const nameStart = at;
    while (at < end && CLASSES[bytes[at]!]! & CharClass.Tchar) at++;
    if (at === end) return INCOMPLETE;
    // Also a space before the colon (RFC 9112 5.1).
    if (bytes[at] !== COLON || at === nameStart) return Bad.FieldName;
    const nameEnd = at++;
    while (at < end && (bytes[at] === SP || bytes[at] === TAB)) at++;
    const valueStart = at;
    while (at < end && CLASSES[bytes[at]!]! & CharClass.Value) at++;
    if (at + 1 >= end) return at < end && bytes[at] !== CR ? badValueByte(bytes[at]!) : INCOMPLETE;
    if (bytes[at] !== CR || bytes[at + 1] !== LF) return badValueByte(bytes[at]!);
    let valueEnd = at;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === TAB)) valueEnd--;
    at += 2;
    const bad = addField(head, nameStart, nameEnd, valueStart, valueEnd);
    if (bad < 0) return bad;
  }
}

function badValueByte(byte: number): number {
  return byte === LF || byte === CR ? Bad.LineEnd : Bad.FieldValue;
}

function addField(head: Head, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): number {
  if (head.count === FIELDS_MAX) return Bad.FieldCount;
  const at = head.count++ * STRIDE;
  const kind = classify(head.bytes, nameStart, nameEnd - nameStart);
  const fields = head.fields;
  fields[at] = kind;
  fields[at + 1] = nameStart;
  fields[at + 2] = nameEnd;
  fields[at + 3] = valueStart;
  fields[at + 4] = valueEnd;
  return kind === Field.Other ? 0 : noteField(head, kind, at);
}

function classify(bytes: Buffer, start: number, length: number): number {
  const candidates = BY_LENGTH[length];
  if (candidates === undefined) return Field.Other;
  const first = bytes[start]! | 0x20;
  for (const { literal, field } of candidates) {
    if (literal[0] !== first || !equalsFolded(bytes, start, literal)) continue;
    // A server that folds `_` into `-` would take this for the real field.
    for (let at = start; at < start + length; at++) if (bytes[at] === 0x5f) return Field.Removed;
    return field;
  }
  return Field.Other;
}

/** Remembers what a known field means; refuses what must not stand there twice. */
function noteField(head: Head, kind: number, at: number): number {
  switch (kind) {
    case Field.Host:
      if (head.hostAt >= 0) return Bad.Host;
      head.hostAt = at;
      return 0;
    case Field.ContentLength:
      if (head.contentLength >= 0) return Bad.ContentLength;
      head.contentLength = digits(head.bytes, head.fields[at + 3]!, head.fields[at + 4]!);
      return head.contentLength < 0 ? Bad.ContentLength : 0;
    case Field.TransferEncoding:
      if (head.isChunked) return Bad.TransferEncoding;
      // A tab behind it is white space to us and part of the value to others.
      head.isChunked = isToken(head, at, CHUNKED) && !head.hasTabBehind(at);
      return head.isChunked ? 0 : Bad.CodingUnsupported;
    case Field.Connection:
      head.isEdited = true;
      return noteConnection(head, at);
    case Field.Upgrade:
      head.isEdited = true;
      head.upgradeAt = head.upgradeAt < 0 ? at : -2;
      return 0;
    case Field.Expect:
      head.isEdited = true;
      if (head.expectAt >= 0) return Bad.Expect;
      head.expectAt = at;
      return 0;
    case Field.Te:
      head.isEdited = true;
      head.teAt = at;
      return 0;
    case Field.ForwardedFor:
      head.isEdited = true;
      head.forwardedForAt = at;
      return 0;
    case Field.KeepAlive:
      head.isEdited = true;
      head.keepAliveAt = at;
      return 0;
    case Field.Trailer:
      head.hasTrailer = true;
      return 0;
    case Field.Removed:
    case Field.Identity:
      head.isEdited = true;
      return 0;
    default:
      return 0;
  }
}

const CHUNKED = Buffer.from('chunked');
const CLOSE = Buffer.from('close');
const KEEP_ALIVE = Buffer.from('keep-alive');
const UPGRADE = Buffer.from('upgrade');
const TE = Buffer.from('te');

function isToken(head: Head, at: number, literal: Uint8Array): boolean {
  const start = head.fields[at + 3]!;
  return head.fields[at + 4]! - start === literal.length && equalsFolded(head.bytes, start, literal);
}

/** Reads the comma-separated list of a Connection field. */
function noteConnection(head: Head, at: number): number {
  const bytes = head.bytes;
  const end = head.fields[at + 4]!;
  let from = head.fields[at + 3]!;
  while (from < end) {
    let to = from;
    while (to < end && CLASSES[bytes[to]!]! & CharClass.Tchar) to++;
    const length = to - from;
    if (length === CLOSE.length && equalsFolded(bytes, from, CLOSE)) head.isClose = true;
    else if (length === KEEP_ALIVE.length && equalsFolded(bytes, from, KEEP_ALIVE)) head.isKeepAlive = true;
    else if (length === UPGRADE.length && equalsFolded(bytes, from, UPGRADE)) head.isUpgradeNominated = true;
    else if (length > 0 && !(length === TE.length && equalsFolded(bytes, from, TE))) {
      head.nominated ??= [];
      if (head.nominated.push(bytes.toString('latin1', from, to).toLowerCase()) > NOMINATED_MAX) return Bad.FieldCount;
    }
    while (to < end && (bytes[to] === SP || bytes[to] === TAB)) to++;
    if (to < end && bytes[to] !== COMMA) return Bad.FieldValue;
    from = to + 1;
    while (from < end && (bytes[from] === SP || bytes[from] === TAB)) from++;
  }
  return 0;
}

/** 1*DIGIT below 2^53, or −1. */
function digits(bytes: Buffer, start: number, end: number): number {
  if (start === end || end - start > 15) return -1;
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/**
 * What must hold of a request as a whole (RFC 9112 3.2, 6.1, 6.3). Returns 0 or one of `Bad`.
 * Length and coding together, or a coding from an HTTP/1.0 client, are how requests are smuggled: refused, never repaired.
 */
export function checkRequest(head: Head): number {
  if (head.isChunked && (head.contentLength >= 0 || head.minor === 0)) return Bad.LengthConflict;
  if (head.hostAt < 0) return head.minor === 1 ? Bad.Host : 0;
  return isHost(head.bytes, head.fields[head.hostAt + 3]!, head.fields[head.hostAt + 4]!) ? 0 : Bad.Host;
}

/** uri-host [":" port] (RFC 3986 3.2.2), not empty. */
export function isHost(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  if (bytes[at] === 0x5b) {
    at++;
    while (at < end && (CLASSES[bytes[at]!]! & CharClass.Host || bytes[at] === COLON)) at++;
    if (at >= end || bytes[at] !== 0x5d || at === start + 1) return false;
    at++;
  } else {
    while (at < end && CLASSES[bytes[at]!]! & CharClass.Host) at++;
    if (at === start) return false;
  }
  if (at === end) return true;
  if (bytes[at] !== COLON || end - at > 6) return false;
  for (at++; at < end; at++) if (bytes[at]! < 0x30 || bytes[at]! > 0x39) return false;
  return true;
}
