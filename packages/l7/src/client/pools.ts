// undici pools of a client-side balancer: one for each target and kind of connection (plain, or TLS to a server name).
import { Pool } from 'undici';
import type { Target } from '../upstream.ts';

export type PoolOptions = Omit<Pool.Options, 'factory'>;

export class TargetPools {
  readonly #options: PoolOptions;
  readonly #onDrain: (origin: URL) => void;
  readonly #byTarget = new Map<string, Map<string, Pool>>();
  /** Of targets that are gone; they end when their requests have ended. */
  readonly #closing = new Set<Pool>();

  constructor(options: PoolOptions, onDrain: (origin: URL) => void) {
    this.#options = options;
    this.#onDrain = onDrain;
  }

  /** The pool for requests of `origin` to this target. */
  of(target: Target, origin: URL): Pool {
    let pools = this.#byTarget.get(target.key);
    if (pools === undefined) this.#byTarget.set(target.key, (pools = new Map()));
    // Over TLS the certificate is checked against the name that was asked for, so connections of different names are not mixed.
    const kind = origin.protocol === 'https:' ? origin.host : '';
    let pool = pools.get(kind);
    if (pool === undefined) {
      const { address, port } = target.identity;
      const host = address.includes(':') ? `[${address}]` : address;
      pool = new Pool(`${origin.protocol}//${host}:${port}`, this.#optionsFor(origin));
      pool.on('drain', () => this.#onDrain(origin));
      pools.set(kind, pool);
    }
    return pool;
  }

  #optionsFor(origin: URL): Pool.Options {
    const { connect } = this.#options;
    if (origin.protocol !== 'https:' || typeof connect === 'function') return this.#options;
    const servername = origin.hostname.replace(/^\[|\]$/g, '');
    return { ...this.#options, connect: { servername, ...connect } };
  }

  /** Requests in flight end in peace, kept connections end now. */
  retire(target: Target): void {
    for (const pool of this.#byTarget.get(target.key)?.values() ?? []) {
      this.#closing.add(pool);
      void pool.close().finally(() => this.#closing.delete(pool));
    }
    this.#byTarget.delete(target.key);
  }

  #all(): Pool[] {
    return [...this.#closing, ...[...this.#byTarget.values()].flatMap((pools) => [...pools.values()])];
  }

  async close(): Promise<void> {
    await Promise.all(this.#all().map((pool) => pool.close()));
  }

  async destroy(error: Error | null): Promise<void> {
    await Promise.all(this.#all().map((pool) => pool.destroy(error)));
  }
}
