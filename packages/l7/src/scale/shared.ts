// What the workers of one proxy count together, in memory that all of them see (layer7.md 4): rates, open connections, counters.
// Nothing here waits: a worker that stands still holds nobody up.
import { hashText } from '@openclb/core-wasm/hash';
import type { Counters } from '../counters.ts';

/** Buckets of all rate limits, and counted things (listeners, clients) of all connection limits; both powers of two. */
const RATE_SLOTS = 65_536;
const COUNT_SLOTS = 16_384;
/** Slots that are looked at for one key. */
const PROBES_MAX = 8;
const PAGE_BYTES = 16 * 1024;

export const ratesBuffer = (): SharedArrayBuffer => new SharedArrayBuffer(RATE_SLOTS * 16);
export const countsBuffer = (workers: number): SharedArrayBuffer =>
  new SharedArrayBuffer(COUNT_SLOTS * (8 + 4 * workers));
export const pagesBuffer = (workers: number): SharedArrayBuffer => new SharedArrayBuffer(PAGE_BYTES * workers);

/** Never 0, which marks a free slot. Two names that hash alike share a bucket: one in 2^64. */
function keyOf(name: string): bigint {
  return BigInt.asIntN(64, (BigInt(hashText(name, 0x72617465) >>> 0) << 32n) | BigInt(hashText(name) >>> 0) | 1n);
}

/** Token buckets as the time at which they are full again (GCRA, ITU-T I.371), so that one exchange of a word takes a token. */
export class SharedRates {
  readonly #keys: BigInt64Array;
  readonly #fullAt: BigInt64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#keys = new BigInt64Array(buffer, 0, RATE_SLOTS);
    this.#fullAt = new BigInt64Array(buffer, RATE_SLOTS * 8, RATE_SLOTS);
  }

  /** 0 when a token was taken, else milliseconds until there is one. `nowUs` is of a clock that all threads share. */
  take(name: string, perMs: number, burst: number, nowUs: bigint): number {
    const tokenUs = BigInt(Math.max(1, Math.round(1000 / perMs)));
    const slot = this.#slot(keyOf(name), nowUs);
    for (;;) {
      const fullAt = Atomics.load(this.#fullAt, slot);
      const next = (fullAt > nowUs ? fullAt : nowUs) + tokenUs;
      const over = next - nowUs - tokenUs * BigInt(burst);
      if (over > 0n) return Number(over) / 1000;
      if (Atomics.compareExchange(this.#fullAt, slot, fullAt, next) === fullAt) return 0;
    }
  }

  #slot(key: bigint, nowUs: bigint): number {
    const first = Number(BigInt.asUintN(32, key >> 16n)) % RATE_SLOTS;
    let oldest = first;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const slot = (first + probe) % RATE_SLOTS;
      const held = Atomics.load(this.#keys, slot);
      if (held === key) return slot;
      // A bucket that is full says no more than none at all.
      const isFree = held === 0n || Atomics.load(this.#fullAt, slot) <= nowUs;
      if (isFree && Atomics.compareExchange(this.#keys, slot, held, key) === held) return slot;
      if (Atomics.load(this.#fullAt, slot) < Atomics.load(this.#fullAt, oldest)) oldest = slot;
    }
    // Clients choose keys: when the table is full, the bucket that is nearest to full goes.
    Atomics.store(this.#keys, oldest, key);
    Atomics.store(this.#fullAt, oldest, 0n);
    return oldest;
  }
}

/** How many of something are open in all workers together. Each worker writes a column of its own, which dies with it. */
export class SharedCounts {
  readonly #keys: BigInt64Array;
  readonly #counts: Int32Array;
  readonly #workers: number;
  readonly #worker: number;

  constructor(buffer: SharedArrayBuffer, worker: number) {
    this.#workers = (buffer.byteLength / COUNT_SLOTS - 8) / 4;
    this.#worker = worker;
    this.#keys = new BigInt64Array(buffer, 0, COUNT_SLOTS);
    this.#counts = new Int32Array(buffer, COUNT_SLOTS * 8);
  }

  /** Counts one more unless there are `max` already. False: there are. Two that come together for one place may both be refused. */
  enter(name: string, max: number): boolean {
    const key = keyOf(name);
    for (let attempt = 0; attempt < PROBES_MAX; attempt++) {
      const slot = this.#slot(key);
      // A table full of clients: the limit of each worker is then all there is.
      if (slot < 0) return true;
      Atomics.add(this.#counts, slot * this.#workers + this.#worker, 1);
      if (Atomics.load(this.#keys, slot) === key) {
        if (this.#sum(slot) <= max) return true;
        Atomics.sub(this.#counts, slot * this.#workers + this.#worker, 1);
        return false;
      }
      // Somebody took the slot for another name between the two.
      Atomics.sub(this.#counts, slot * this.#workers + this.#worker, 1);
    }
    return true;
  }

  leave(name: string): void {
    const slot = this.#find(keyOf(name));
    if (slot < 0) return;
    const at = slot * this.#workers + this.#worker;
    if (Atomics.load(this.#counts, at) > 0) Atomics.sub(this.#counts, at, 1);
  }

  /** A worker is gone with all that it had open. */
  forget(worker: number): void {
    for (let slot = 0; slot < COUNT_SLOTS; slot++) Atomics.store(this.#counts, slot * this.#workers + worker, 0);
  }

  #find(key: bigint): number {
    const first = Number(BigInt.asUintN(32, key >> 16n)) % COUNT_SLOTS;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const slot = (first + probe) % COUNT_SLOTS;
      if (Atomics.load(this.#keys, slot) === key) return slot;
    }
    return -1;
  }

  #slot(key: bigint): number {
    const known = this.#find(key);
    if (known >= 0) return known;
    const first = Number(BigInt.asUintN(32, key >> 16n)) % COUNT_SLOTS;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const slot = (first + probe) % COUNT_SLOTS;
      const held = Atomics.load(this.#keys, slot);
      if (held !== 0n && this.#sum(slot) > 0) continue;
      if (Atomics.compareExchange(this.#keys, slot, held, key) === held) return slot;
    }
    return -1;
  }

  #sum(slot: number): number {
    let sum = 0;
    for (let worker = 0; worker < this.#workers; worker++) {
      sum += Atomics.load(this.#counts, slot * this.#workers + worker);
    }
    return sum;
  }
}

/** The counters of each worker as text on a page of its own, so that reading them asks nobody and a new counter needs no place. */
export class CounterPages {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #workers: number;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#workers = buffer.byteLength / PAGE_BYTES;
  }

  /** Word 0 is odd while the page is being written; word 1 is the length of the text behind both. */
  write(worker: number, counters: Counters): void {
    const text = Buffer.from(JSON.stringify(counters));
    if (text.length > PAGE_BYTES - 8) return;
    const at = (worker * PAGE_BYTES) / 4;
    Atomics.add(this.#words, at, 1);
    Atomics.store(this.#words, at + 1, text.length);
    this.#bytes.set(text, worker * PAGE_BYTES + 8);
    Atomics.add(this.#words, at, 1);
  }

  /** Null: nothing was written yet, or it is being written just now. */
  read(worker: number): Counters | null {
    const at = (worker * PAGE_BYTES) / 4;
    const before = Atomics.load(this.#words, at);
    const length = Atomics.load(this.#words, at + 1);
    if (before % 2 !== 0 || length === 0) return null;
    const start = worker * PAGE_BYTES + 8;
    const text = Buffer.from(this.#bytes.slice(start, start + length)).toString();
    return Atomics.load(this.#words, at) === before ? (JSON.parse(text) as Counters) : null;
  }

  clear(worker: number): void {
    Atomics.store(this.#words, (worker * PAGE_BYTES) / 4, 0);
    Atomics.store(this.#words, (worker * PAGE_BYTES) / 4 + 1, 0);
  }

  get workers(): number {
    return this.#workers;
  }
}
