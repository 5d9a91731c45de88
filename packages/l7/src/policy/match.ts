// Conditions of rules that share a domain and a path: method, header, cookie, query, source, share of the traffic (A127, A157).
import { hashText } from '@openclb/core-wasm/hash';
import type { RuleMatch } from '@openclb/model';
import type { Head } from '../codec/h1.ts';
import { linearRegex } from '../regex.ts';
import type { Exchange } from '../state.ts';
import { type Networks, networksOf } from './networks.ts';
import { cookieOf, fieldOf, queryOf } from './view.ts';

type Reader = (exchange: Exchange, head: Head | null, name: string) => string | null;

interface Condition {
  readonly read: Reader;
  readonly name: string;
  readonly value: string | null;
  readonly pattern: RegExp | null;
}

const READERS = { headers: fieldOf, cookies: cookieOf, query: queryOf } as const satisfies Record<string, Reader>;

export class Matcher {
  readonly order: number;
  readonly #methods: ReadonlySet<string> | null;
  readonly #sources: Networks | null;
  readonly #conditions: readonly Condition[];
  readonly #percent: number;
  readonly #salt: string | null;

  constructor(match: RuleMatch, ruleId: string) {
    this.order = match.order ?? 100;
    this.#methods = match.methods === undefined ? null : new Set(match.methods);
    this.#sources = networksOf(match.sources);
    this.#percent = match.percent ?? 100;
    this.#salt = match.percentBy === 'source' ? ruleId : null;
    const conditions: Condition[] = [];
    for (const kind of ['headers', 'cookies', 'query'] as const) {
      for (const { name, value = null, regex } of match[kind] ?? []) {
        const pattern = regex === undefined ? null : linearRegex(regex, false);
        conditions.push({
          read: READERS[kind],
          name: kind === 'headers' ? name.toLowerCase() : name,
          value: value === null ? null : Buffer.from(value).toString('latin1'),
          pattern,
        });
      }
    }
    this.#conditions = conditions;
  }

  holds(exchange: Exchange, head: Head | null): boolean {
    if (this.#methods !== null && !this.#methods.has(exchange.method)) return false;
    if (this.#sources !== null && !this.#sources.has(exchange.downstream.clientAddress)) return false;
    for (const { read, name, value, pattern } of this.#conditions) {
      const found = read(exchange, head, name);
      if (found === null || (value !== null && found !== value) || (pattern !== null && !pattern.test(found))) {
        return false;
      }
    }
    if (this.#percent >= 100) return true;
    if (this.#salt === null) return Math.random() * 100 < this.#percent;
    return hashText(`${this.#salt} ${exchange.downstream.clientAddress}`) % 100 < this.#percent;
  }
}
