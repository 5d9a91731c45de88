// DNS messages (RFC 1035 4) as far as a client-side balancer needs them: one question, A, AAAA and SRV answers with their TTL (RFC 3596,
// RFC 2782). `node:dns` tells no TTL of SRV records, and a list that is refreshed needs one.
import net from 'node:net';

export const TYPE = { A: 1, CNAME: 5, SOA: 6, AAAA: 28, SRV: 33 } as const;
export type QuestionType = 'A' | 'AAAA' | 'SRV';

export interface DnsRecord {
  /** Lower case, without the last dot. */
  readonly name: string;
  readonly ttlSeconds: number;
  readonly data:
    | { readonly type: 'address'; readonly address: string }
    | {
        readonly type: 'srv';
        readonly priority: number;
        readonly weight: number;
        readonly port: number;
        readonly host: string;
      }
    | { readonly type: 'alias'; readonly host: string };
}

export interface DnsAnswer {
  /** 0 NOERROR, 3 NXDOMAIN, 2 SERVFAIL (RFC 1035 4.1.1). */
  readonly code: number;
  /** Cut off: to be asked again over TCP. */
  readonly isTruncated: boolean;
  readonly answers: readonly DnsRecord[];
  /** How long "there is none" holds (RFC 2308 5); null when the server does not say. */
  readonly negativeTtlSeconds: number | null;
}

const CLASS_IN = 1;
const RECURSION_DESIRED = 0x0100;
const IS_RESPONSE = 0x8000;
const TRUNCATED = 0x0200;
const HEADER_BYTES = 12;
const NAME_BYTES_MAX = 255;
const LABEL_BYTES_MAX = 63;
const RECORDS_MAX = 1024;

/** Throws a TypeError for a name that cannot be asked. */
export function encodeQuestion(id: number, name: string, type: QuestionType): Buffer {
  const labels = name.replace(/\.$/, '').split('.');
  const bytes = labels.map((label) => Buffer.from(label, 'latin1'));
  const length = bytes.reduce((sum, label) => sum + label.length + 1, 1);
  if (bytes.some((label) => label.length === 0 || label.length > LABEL_BYTES_MAX) || length > NAME_BYTES_MAX)
    throw new TypeError(`${name} is no DNS name`);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(RECURSION_DESIRED, 2);
  header.writeUInt16BE(1, 4);
  const tail = Buffer.from([0, 0, TYPE[type], 0, CLASS_IN]);
  return Buffer.concat([header, ...bytes.flatMap((label) => [Buffer.from([label.length]), label]), tail]);
}

/** Null when the bytes are no answer to this question. */
export function decodeAnswer(message: Buffer, id: number, name: string, type: QuestionType): DnsAnswer | null {
  try {
    return decode(message, id, name.replace(/\.$/, '').toLowerCase(), TYPE[type]);
  } catch (error) {
    // Every read past the end: what a hostile or broken server sends is no answer.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function decode(message: Buffer, id: number, name: string, type: number): DnsAnswer | null {
  const flags = message.readUInt16BE(2);
  if (message.readUInt16BE(0) !== id || (flags & IS_RESPONSE) === 0 || message.readUInt16BE(4) !== 1) return null;
  const question = readName(message, HEADER_BYTES);
  if (question.name !== name || message.readUInt16BE(question.end) !== type) return null;
  const counts = [message.readUInt16BE(6), message.readUInt16BE(8)] as const;
  if (counts[0] + counts[1] > RECORDS_MAX) return null;
  const answers: DnsRecord[] = [];
  let negativeTtlSeconds: number | null = null;
  let at = question.end + 4;
  const isTruncated = (flags & TRUNCATED) !== 0;
  const rows = isTruncated ? 0 : counts[0] + counts[1];
  for (let index = 0; index < rows; index++) {
    const owner = readName(message, at);
    const kind = message.readUInt16BE(owner.end);
    const ttlSeconds = message.readUInt32BE(owner.end + 4);
    const start = owner.end + 10;
    at = start + message.readUInt16BE(owner.end + 8);
    if (at > message.length) return null;
    if (kind === TYPE.SOA && index >= counts[0]) {
      const minimum = message.readUInt32BE(at - 4);
      negativeTtlSeconds = Math.min(ttlSeconds, minimum);
    }
    if (index >= counts[0]) continue;
    const data = readData(message, kind, start, at);
    // A TTL with the top bit set counts as zero (RFC 2181 8).
    if (data !== null) answers.push({ name: owner.name, ttlSeconds: ttlSeconds > 0x7fff_ffff ? 0 : ttlSeconds, data });
  }
  return { code: flags & 15, isTruncated, answers, negativeTtlSeconds };
}

function readData(message: Buffer, kind: number, start: number, end: number): DnsRecord['data'] | null {
  const length = end - start;
  if (kind === TYPE.A && length === 4) return { type: 'address', address: message.subarray(start, end).join('.') };
  if (kind === TYPE.AAAA && length === 16) {
    const groups = Array.from({ length: 8 }, (_, index) => message.readUInt16BE(start + index * 2).toString(16));
    return { type: 'address', address: new net.SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address };
  }
  if (kind === TYPE.CNAME) return { type: 'alias', host: readName(message, start).name };
  if (kind !== TYPE.SRV) return null;
  const [priority, weight, port] = [0, 2, 4].map((offset) => message.readUInt16BE(start + offset));
  const host = readName(message, start + 6).name;
  return { type: 'srv', priority: priority!, weight: weight!, port: port!, host };
}

/** A name with compression (RFC 1035 4.1.4): pointers lead backwards only, so that none can turn in a circle. */
function readName(message: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  let end = -1;
  let limit = start;
  let bytes = 0;
  for (;;) {
    const length = message.readUInt8(at);
    if (length >= 0xc0) {
      const pointer = message.readUInt16BE(at) & 0x3fff;
      if (pointer >= limit) throw new RangeError('a pointer that does not lead back');
      if (end < 0) end = at + 2;
      limit = pointer;
      at = pointer;
      continue;
    }
    if (length > LABEL_BYTES_MAX) throw new RangeError('a label of unknown kind');
    if (length === 0) break;
    bytes += length + 1;
    if (bytes > NAME_BYTES_MAX || at + 1 + length > message.length) throw new RangeError('a name that is too long');
    labels.push(message.toString('latin1', at + 1, at + 1 + length).toLowerCase());
    at += 1 + length;
  }
  return { name: labels.join('.'), end: end < 0 ? at + 1 : end };
}
