// Datagrams of flow sync: what goes in comes out, and whatever else comes in is refused (data-plane.md P9).
import { createHmac } from 'node:crypto';
import { type SyncRecord } from '@openclb/core-wasm';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  DATAGRAM_BYTES_MAX,
  SYNC_VERSION,
  SyncKind,
  type SyncMessage,
  batches,
  decodeSync,
  encodeSync,
  recordBytes,
  syncKey,
} from './sync-codec.ts';

const KEY = syncKey('5a'.repeat(32));
const v4 = (text: string): Buffer => Buffer.from(`00000000000000000000ffff${text}`, 'hex');
const RECORD: SyncRecord = {
  isEnd: false,
  listener: 0xa1n,
  target: 0xc1n,
  client: v4('c6336401'),
  seen: v4('c6336401'),
  clientHost: Buffer.alloc(16),
  clientPort: 40_000,
  seenPort: 40_000,
  protocol: 6,
  state: 3,
  flags: 0,
  inboundAgeMs: 12,
  outboundAgeMs: 15,
  createdAgeMs: 6_000,
  epoch: 1,
  ordinal: 2,
  sequenceDelta: 0,
  timestampDelta: 0,
};
const many = (count: number): SyncRecord[] => Array.from({ length: count }, () => RECORD);
const message = (records: readonly SyncRecord[], more: Partial<SyncMessage> = {}): SyncMessage => ({
  kind: SyncKind.Records,
  sender: 1,
  receiver: 2,
  epoch: 1_790_000_000_000,
  sequence: 7,
  sentMs: 1_790_000_000_100,
  records,
  ...more,
});

const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });
const u = (bits: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** bits - 1 });
const record: fc.Arbitrary<SyncRecord> = fc.record({
  isEnd: fc.boolean(),
  listener: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  target: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  client: fc.oneof(bytes16, fc.constant(v4('c6336401'))),
  seen: fc.oneof(bytes16, fc.constant(v4('c6336401')), fc.constant(v4('64501001'))),
  clientHost: fc.oneof(bytes16, fc.constant(Buffer.alloc(16))),
  clientPort: u(16),
  seenPort: u(16),
  protocol: u(8),
  state: fc.integer({ min: 1, max: 8 }),
  flags: u(16),
  inboundAgeMs: u(32),
  outboundAgeMs: u(32),
  createdAgeMs: u(32),
  epoch: u(32),
  ordinal: u(16),
  sequenceDelta: u(32),
  timestampDelta: u(32),
});

const plain = (one: SyncRecord) => ({
  ...one,
  client: Buffer.from(one.client).toString('hex'),
  seen: Buffer.from(one.seen).toString('hex'),
  clientHost: Buffer.from(one.clientHost).toString('hex'),
});

test('every record comes out as it went in, and batches keep to the size of a datagram', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 60 }), (records) => {
      const all = batches(records);
      expect(all.flat()).toEqual(records);
      for (const batch of all) {
        const datagram = encodeSync(KEY, message(batch));
        expect(datagram.length).toBeLessThanOrEqual(DATAGRAM_BYTES_MAX);
        const read = decodeSync(KEY, datagram);
        if (typeof read === 'string') throw new Error(read);
        expect(read.records.map(plain)).toEqual(batch.map(plain));
        expect({ ...read, records: [] }).toEqual(message([]));
      }
    }),
    { numRuns: 60 },
  );
});

test('a flow over IPv4 takes 47 bytes, 28 of them fit a datagram', () => {
  expect(recordBytes(RECORD)).toBe(47);
  expect(batches(many(28))).toHaveLength(1);
  expect(batches(many(29))).toHaveLength(2);
});

test('a datagram is refused by the first thing that is wrong with it', () => {
  const good = encodeSync(KEY, message([RECORD]));
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(good);
    copy[at] = value;
    return copy;
  };
  expect(decodeSync(KEY, good.subarray(0, 51))).toBe('short');
  expect(decodeSync(KEY, changed(0, 0))).toBe('magic');
  expect(decodeSync(KEY, changed(4, SYNC_VERSION + 1))).toBe('version');
  expect(decodeSync(syncKey('5b'.repeat(32)), good)).toBe('tag');
  for (let at = 5; at < good.length; at++)
    expect(decodeSync(KEY, changed(at, good[at]! ^ 1)), `byte ${at}`).toBe('tag');
});

test('any bytes with a true tag are refused or valid in every field, and never throw', () => {
  const signed = (body: Uint8Array): Buffer => {
    const tag = createHmac('sha256', KEY).update(body).digest().subarray(0, 16);
    return Buffer.concat([body, tag]);
  };
  const head = encodeSync(KEY, message([])).subarray(0, 36);
  let valid = 0;
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      u(8),
      fc.integer({ min: 0, max: 8 }),
      fc.boolean(),
      (bytes, kind, count, isWhole) => {
        const header = Buffer.from(head);
        header[5] = kind % 5;
        header.writeUInt16BE(count, 6);
        // Half of the bodies have the length that their count wants, or hardly any would be read.
        const body = isWhole
          ? Buffer.concat(Array.from({ length: count }, () => oneRecord(bytes)))
          : Buffer.from(bytes);
        const read = decodeSync(KEY, signed(Buffer.concat([header, body])));
        expect(['body', 'object']).toContain(typeof read === 'string' ? read : typeof read);
        if (typeof read === 'string') return;
        valid++;
        expect(read.records).toHaveLength(count);
        for (const one of read.records) {
          expect([one.client.length, one.seen.length, one.clientHost.length]).toEqual([16, 16, 16]);
          expect(one.state >= 1 && one.state <= 8).toBe(true);
        }
        // What is valid can be written, and says the same.
        expect(decodeSync(KEY, encodeSync(KEY, read))).toEqual(read);
      },
    ),
    { numRuns: 3_000 },
  );
  expect(valid).toBeGreaterThan(100);
});

/** A record over IPv4 whose fields are random. */
function oneRecord(random: Uint8Array): Buffer {
  const bytes = Buffer.alloc(47);
  bytes.set(random.subarray(0, 47));
  bytes[0] = 6;
  return bytes;
}
