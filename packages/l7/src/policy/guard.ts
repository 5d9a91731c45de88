// Who may ask and how often: networks that are allowed or denied, token buckets (A157). What is over a rate waits `retryAfter`.
import type { ListenerPolicy, RateLimit } from '@openclb/model';
import type { Head } from '../codec/h1.ts';
import type { FailureCode } from '../phase/fail.ts';
import type { SharedRates } from '../scale/shared.ts';
import type { Exchange } from '../state.ts';
import { type Networks, networksOf } from './networks.ts';
import { fieldOf } from './view.ts';

/** Buckets of one limit. Clients choose the keys, so the oldest one goes when the table is full. */
export const BUCKETS_MAX = 65_536;
/** A value that a client chose is a key no longer than this. */
const KEY_CHARS_MAX = 128;

interface Bucket {
  tokens: number;
  at: number;
}

/** One token bucket for each key. Tokens are counted up when somebody asks, so an idle bucket costs nothing. */
export class Rate {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();
  #shared: { readonly rates: SharedRates; readonly name: string } | null = null;
  readonly by: NonNullable<RateLimit['by']>;
  readonly header: string;

  constructor({ perSecond, burst, by = 'all', header = '' }: RateLimit) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst ?? Math.max(1, Math.ceil(perSecond));
    this.by = by;
    this.header = header.toLowerCase();
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** From now on the buckets are those of all workers; `name` tells this limit from others. */
  share(rates: SharedRates, name: string): void {
    this.#shared = { rates, name };
  }

  /** 0 when a token was taken, else milliseconds until there is one. */
  take(key: string, now: number): number {
    if (this.#shared !== null) {
      const { rates, name } = this.#shared;
      return rates.take(`${name} ${key}`, this.#perMs, this.#burst, process.hrtime.bigint() / 1000n);
    }
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_MAX) this.#buckets.delete(this.#buckets.keys().next().value!);
      bucket = { tokens: this.#burst, at: now };
      this.#buckets.set(key, bucket);
    } else {
      bucket.tokens = Math.min(this.#burst, bucket.tokens + (now - bucket.at) * this.#perMs);
      bucket.at = now;
    }
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return 0;
    }
    return (1 - bucket.tokens) / this.#perMs;
  }
}

export class Guard {
  readonly #allow: Networks | null;
  readonly #deny: Networks | null;
  readonly #rates: readonly Rate[];

  /** `before` is the guard of the same rule in the image before: buckets of limits that did not change go on. */
  constructor({ allow, deny, rates = [] }: Pick<ListenerPolicy, 'allow' | 'deny' | 'rates'>, before: Guard | null) {
    this.#allow = networksOf(allow);
    this.#deny = networksOf(deny);
    this.#rates = before === null ? rates.map((rate) => new Rate(rate)) : before.#rates;
  }

  share(rates: SharedRates, name: string): void {
    for (const [index, rate] of this.#rates.entries()) rate.share(rates, `${name} ${index}`);
  }

  admits(address: string): boolean {
    return !this.#deny?.has(address) && (this.#allow === null || this.#allow.has(address));
  }

  check(exchange: Exchange, head: Head | null): FailureCode | null {
    const { clientAddress } = exchange.downstream;
    if (!this.admits(clientAddress)) return 'source-denied';
    if (this.#rates.length === 0 || exchange.isDry) return null;
    const now = performance.now();
    for (const rate of this.#rates) {
      let key = '';
      if (rate.by === 'client') key = clientAddress;
      // Without the field a client is known by its address: leaving it out is no way round the limit.
      else if (rate.by === 'header') key = fieldOf(exchange, head, rate.header) ?? clientAddress;
      const wait = rate.take(key.slice(0, KEY_CHARS_MAX), now);
      if (wait === 0) continue;
      exchange.retryAfter = Math.max(1, Math.ceil(wait / 1000));
      return 'rate-limited';
    }
    return null;
  }
}

export function guardOf(
  policy: Pick<ListenerPolicy, 'allow' | 'deny' | 'rates'>,
  before: { readonly policy: typeof policy; readonly guard: Guard | null } | null,
): Guard | null {
  const { allow, deny, rates } = policy;
  if (allow === undefined && deny === undefined && rates === undefined) return null;
  const isSame = before !== null && JSON.stringify(before.policy.rates) === JSON.stringify(rates);
  return new Guard(policy, isSame ? before.guard : null);
}
