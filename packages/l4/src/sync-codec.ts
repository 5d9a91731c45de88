// Datagrams of flow sync (data-plane.md P9): a header, records or a word, and an HMAC-SHA-256 tag cut to 16 bytes. Numbers are big-endian.
// Records carry stable ids and ages, never slots or clocks. Whatever arrives is either refused with a reason or valid in every field.
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { NEVER, type SyncRecord } from '@openclb/core-wasm';

export const SYNC_VERSION = 1;
/** Receiver of a datagram that is for every director. */
export const EVERYONE = 0xffff;
/** What a director puts into one datagram: an Ethernet frame of 1,500 bytes with room for a tunnel around it. */
export const DATAGRAM_BYTES_MAX = 1400;

export const SyncKind = { Records: 1, AskCopy: 2, CopyDone: 3 } as const;
export type SyncKind = (typeof SyncKind)[keyof typeof SyncKind];

export interface SyncMessage {
  readonly kind: SyncKind;
  /** Ordinals. */
  readonly sender: number;
  readonly receiver: number;
  /** When the sender started, in milliseconds of Unix time: a later start has a higher one. */
  readonly epoch: number;
  /** Counts from 1 in each stream of a start; a stream is a (sender, receiver). */
  readonly sequence: number;
  /** Unix time in milliseconds. */
  readonly sentMs: number;
  readonly records: readonly SyncRecord[];
}

export type SyncRefusal = 'short' | 'magic' | 'version' | 'tag' | 'body';

const MAGIC = 0x434c4273;
const HEADER_BYTES = 36;
const TAG_BYTES = 16;
const AT = { magic: 0, version: 4, kind: 5, count: 6, sender: 8, receiver: 10, epoch: 12, sequence: 20, sent: 28 };
/** Bits of a record's first byte. */
const Shape = { End: 1, V4: 2, SeenIsClient: 4, ClientHost: 8, Deltas: 16 } as const;
const SHAPES = 31;
const FIXED_BYTES = 1 + 1 + 1 + 2 + 8 + 8 + 2 + 2 + 4 + 4 + 4 + 4 + 2;
const RECORD_BYTES_MAX = FIXED_BYTES + 48 + 8;
const V4_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');
const FLOW_STATES = 8;

/** The key of flow sync; other uses of the cluster secret have keys of their own (RFC 5869). */
export function syncKey(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', Buffer.from(secret, 'hex'), '', 'openclb flow sync 1', 32));
}

const tagOf = (key: Buffer, bytes: Uint8Array): Buffer =>
  createHmac('sha256', key).update(bytes).digest().subarray(0, TAG_BYTES);

export function encodeSync(key: Buffer, message: SyncMessage): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + message.records.length * RECORD_BYTES_MAX + TAG_BYTES);
  buffer.writeUInt32BE(MAGIC, AT.magic);
  buffer.writeUInt8(SYNC_VERSION, AT.version);
  buffer.writeUInt8(message.kind, AT.kind);
  buffer.writeUInt16BE(message.records.length, AT.count);
  buffer.writeUInt16BE(message.sender, AT.sender);
  buffer.writeUInt16BE(message.receiver, AT.receiver);
  buffer.writeBigUInt64BE(BigInt(message.epoch), AT.epoch);
  buffer.writeBigUInt64BE(BigInt(message.sequence), AT.sequence);
  buffer.writeBigUInt64BE(BigInt(message.sentMs), AT.sent);
  let at = HEADER_BYTES;
  for (const record of message.records) at = writeRecord(buffer, at, record);
  tagOf(key, buffer.subarray(0, at)).copy(buffer, at);
  return buffer.subarray(0, at + TAG_BYTES);
}

/** Bytes that a record takes in a datagram. */
export function recordBytes(record: SyncRecord): number {
  const shape = shapeOf(record);
  const address = (shape & Shape.V4) !== 0 ? 4 : 16;
  const seen = (shape & Shape.SeenIsClient) !== 0 ? 0 : address;
  const host = (shape & Shape.ClientHost) !== 0 ? 16 : 0;
  return FIXED_BYTES + address + seen + host + ((shape & Shape.Deltas) !== 0 ? 8 : 0);
}

/** Cuts a list into messages' worth of records; one call a batch. */
export function batches(records: readonly SyncRecord[]): SyncRecord[][] {
  const all: SyncRecord[][] = [];
  let bytes = DATAGRAM_BYTES_MAX;
  for (const record of records) {
    const more = recordBytes(record);
    if (bytes + more > DATAGRAM_BYTES_MAX) {
      all.push([]);
      bytes = HEADER_BYTES + TAG_BYTES;
    }
    all.at(-1)!.push(record);
    bytes += more;
  }
  return all;
}

export function decodeSync(key: Buffer, bytes: Uint8Array): SyncMessage | SyncRefusal {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < HEADER_BYTES + TAG_BYTES) return 'short';
  if (buffer.readUInt32BE(AT.magic) !== MAGIC) return 'magic';
  if (buffer.readUInt8(AT.version) !== SYNC_VERSION) return 'version';
  const end = buffer.length - TAG_BYTES;
  if (!timingSafeEqual(tagOf(key, buffer.subarray(0, end)), buffer.subarray(end))) return 'tag';
  const kind = buffer.readUInt8(AT.kind) as SyncKind;
  const numbers = [AT.epoch, AT.sequence, AT.sent].map((at) => Number(buffer.readBigUInt64BE(at)));
  const [epoch = 0, sequence = 0, sentMs = 0] = numbers;
  if (kind < SyncKind.Records || kind > SyncKind.CopyDone || !numbers.every(Number.isSafeInteger)) return 'body';
  const records = readRecords(buffer.subarray(HEADER_BYTES, end), buffer.readUInt16BE(AT.count));
  if (records === null || (kind !== SyncKind.Records && records.length > 0)) return 'body';
  const sender = buffer.readUInt16BE(AT.sender);
  return { kind, sender, receiver: buffer.readUInt16BE(AT.receiver), epoch, sequence, sentMs, records };
}

// Byte by byte: a view or a call for each of so few costs more than the bytes.
function isV4(address: Uint8Array): boolean {
  for (let at = 0; at < 12; at++) if (address[at] !== V4_PREFIX[at]) return false;
  return true;
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  for (let at = 0; at < 16; at++) if (one[at] !== other[at]) return false;
  return true;
}

const ZERO = Buffer.alloc(16);

function shapeOf({ isEnd, client, seen, clientHost, sequenceDelta, timestampDelta }: SyncRecord): number {
  return (
    (isEnd ? Shape.End : 0) |
    (isV4(client) && isV4(seen) ? Shape.V4 : 0) |
    (isEqual(client, seen) ? Shape.SeenIsClient : 0) |
    (isEqual(clientHost, ZERO) ? 0 : Shape.ClientHost) |
    (sequenceDelta === 0 && timestampDelta === 0 ? 0 : Shape.Deltas)
  );
}

function writeRecord(buffer: Buffer, from: number, record: SyncRecord): number {
  const shape = shapeOf(record);
  let at = buffer.writeUInt8(shape, from);
  at = buffer.writeUInt8(record.protocol, at);
  at = buffer.writeUInt8(record.state, at);
  at = buffer.writeUInt16BE(record.flags, at);
  at = buffer.writeBigUInt64BE(record.listener, at);
  at = buffer.writeBigUInt64BE(record.target, at);
  at = buffer.writeUInt16BE(record.clientPort, at);
  at = buffer.writeUInt16BE(record.seenPort, at);
  at = buffer.writeUInt32BE(record.inboundAgeMs, at);
  at = buffer.writeUInt32BE(record.outboundAgeMs, at);
  at = buffer.writeUInt32BE(record.createdAgeMs, at);
  at = buffer.writeUInt32BE(record.epoch, at);
  at = buffer.writeUInt16BE(record.ordinal, at);
  const first = (shape & Shape.V4) !== 0 ? 12 : 0;
  at = put(buffer, at, record.client, first);
  if ((shape & Shape.SeenIsClient) === 0) at = put(buffer, at, record.seen, first);
  if ((shape & Shape.ClientHost) !== 0) at = put(buffer, at, record.clientHost, 0);
  if ((shape & Shape.Deltas) === 0) return at;
  at = buffer.writeUInt32BE(record.sequenceDelta, at);
  return buffer.writeUInt32BE(record.timestampDelta, at);
}

function put(buffer: Buffer, at: number, bytes: Uint8Array, first: number): number {
  for (let index = first; index < 16; index++) buffer[at + index - first] = bytes[index]!;
  return at + 16 - first;
}

/** Null when the records do not fill the body to its last byte, or a field has a value that no flow has. */
function readRecords(body: Buffer, count: number): SyncRecord[] | null {
  const records: SyncRecord[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (body.length - at < FIXED_BYTES) return null;
    const shape = body.readUInt8(at);
    const width = (shape & Shape.V4) !== 0 ? 4 : 16;
    const wanted =
      FIXED_BYTES +
      width +
      ((shape & Shape.SeenIsClient) !== 0 ? 0 : width) +
      ((shape & Shape.ClientHost) !== 0 ? 16 : 0) +
      ((shape & Shape.Deltas) !== 0 ? 8 : 0);
    if (shape > SHAPES || body.length - at < wanted) return null;
    const record = readRecord(body, at, shape, width);
    if (record.state === 0 || record.state > FLOW_STATES) return null;
    records.push(record);
    at += wanted;
  }
  return at === body.length ? records : null;
}

function readRecord(body: Buffer, from: number, shape: number, width: number): SyncRecord {
  const address = (at: number): Uint8Array =>
    width === 4 ? Buffer.concat([V4_PREFIX, body.subarray(at, at + 4)]) : Buffer.from(body.subarray(at, at + 16));
  let at = from + FIXED_BYTES;
  const client = address(at);
  at += width;
  const hasSeen = (shape & Shape.SeenIsClient) === 0;
  const seen = hasSeen ? address(at) : client;
  if (hasSeen) at += width;
  const hasHost = (shape & Shape.ClientHost) !== 0;
  const clientHost = hasHost ? Buffer.from(body.subarray(at, at + 16)) : Buffer.alloc(16);
  if (hasHost) at += 16;
  const hasDeltas = (shape & Shape.Deltas) !== 0;
  return {
    isEnd: (shape & Shape.End) !== 0,
    protocol: body.readUInt8(from + 1),
    state: body.readUInt8(from + 2),
    flags: body.readUInt16BE(from + 3),
    listener: body.readBigUInt64BE(from + 5),
    target: body.readBigUInt64BE(from + 13),
    clientPort: body.readUInt16BE(from + 21),
    seenPort: body.readUInt16BE(from + 23),
    inboundAgeMs: body.readUInt32BE(from + 25),
    outboundAgeMs: Math.min(body.readUInt32BE(from + 29), NEVER),
    createdAgeMs: body.readUInt32BE(from + 33),
    epoch: body.readUInt32BE(from + 37),
    ordinal: body.readUInt16BE(from + 41),
    client,
    seen,
    clientHost,
    sequenceDelta: hasDeltas ? body.readUInt32BE(at) : 0,
    timestampDelta: hasDeltas ? body.readUInt32BE(at + 4) : 0,
  };
}
