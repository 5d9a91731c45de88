// An undici Dispatcher that balances: `fetch(url, { dispatcher })` goes to a target of a service, by the schedulers, health checks,
// passive ejection and rules of repetition of the proxy (design.md: the client-side balancer).
import type { EventEmitter } from 'node:events';
import { Dispatcher, errors } from 'undici';
import { HealthChecks, type TargetHealth } from '../health.ts';
import { type CompiledImage, compileImage, EMPTY_IMAGE } from '../image.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import { PassiveChecks } from '../passive.ts';
import type { Group, Member } from '../scheduler.ts';
import type { Target } from '../upstream.ts';
import { withHost } from './host.ts';
import { type PoolOptions, TargetPools } from './pools.ts';
import { type Balancing, BalancedRequest } from './request.ts';
import { SERVICE_GROUP, serviceImage, type ServiceOptions } from './service.ts';
import type { ServiceSnapshot, TargetSource } from './source.ts';

export interface BalancerOptions extends ServiceOptions {
  /** `listed(…)`, `fromDns(…)`, `fromController(…)`, or one of your own. */
  readonly source: TargetSource;
  /** What `maglev` and `ip-hash` hash, for example a user's id of a header; requests without one share a target. */
  readonly hashKey?: (request: Dispatcher.DispatchOptions) => string;
  /** Targets tried for one request, the first included; 3 when left out. */
  readonly attemptsMax?: number;
  /** Failures of a target within `failWindowMs` after which it rests for as long; 3 in 10 s when left out, 0: never. */
  readonly failuresMax?: number;
  readonly failWindowMs?: number;
  /** Options of undici's pools, one pool a target: connections, time-outs, TLS. */
  readonly pool?: PoolOptions;
  /** The source could not be asked; the targets known last stay in use. */
  readonly onSourceError?: (error: Error) => void;
  readonly onHealth?: (health: TargetHealth) => void;
}

export interface BalancerCounters {
  requests: number;
  retries: number;
  failures: number;
}

/** Makes a balancer and waits for its first targets. Rejects when the source has none. */
export async function createBalancer(options: BalancerOptions): Promise<Balancer> {
  const balancer = new Balancer(options);
  try {
    await options.source.start({
      targets: (snapshot) => balancer.adopt(snapshot),
      failed: (error) => options.onSourceError?.(error),
    });
  } catch (error) {
    await balancer.destroy();
    throw error;
  }
  return balancer;
}

export class Balancer extends Dispatcher {
  readonly #options: BalancerOptions;
  readonly #pools: TargetPools;
  readonly #health: HealthChecks;
  readonly #passive: PassiveChecks;
  readonly #balancing: Balancing;
  #image: CompiledImage = EMPTY_IMAGE;
  #revision = 0;
  #active = 0;
  #onIdle: (() => void) | null = null;
  #closing: Promise<void> | null = null;
  #isDestroyed = false;
  readonly counters: BalancerCounters = { requests: 0, retries: 0, failures: 0 };

  constructor(options: BalancerOptions) {
    super();
    this.#options = options;
    const { attemptsMax = DEFAULT_LIMITS.attemptsMax, failuresMax = DEFAULT_LIMITS.failuresMax } = options;
    const limits = {
      ...DEFAULT_LIMITS,
      failuresMax,
      failWindowMs: options.failWindowMs ?? DEFAULT_LIMITS.failWindowMs,
    };
    this.#pools = new TargetPools(options.pool ?? {}, (origin) => (this as EventEmitter).emit('drain', origin, [this]));
    this.#health = new HealthChecks((health) => options.onHealth?.(health));
    this.#passive = new PassiveChecks(limits, () => this.#image);
    this.#balancing = {
      attemptsMax,
      pick: (request, tried) => this.#pick(request, tried),
      send: (member, request, handler) => this.#send(member, request, handler),
      failed: (target, isStale) => this.#failed(target, isStale),
      answered: (target, ms) => noteLatency(target, ms),
      retried: () => void this.counters.retries++,
      ended: () => this.#ended(),
    };
  }

  /** Takes the targets of the source over. Those that stay keep connections, health and counters. */
  adopt(snapshot: ServiceSnapshot): void {
    if (this.#closing !== null) return;
    const { source } = this.#options;
    const before = this.#image;
    this.#image = compileImage(serviceImage(source.name, snapshot, ++this.#revision, this.#options), before, []);
    for (const [key, target] of before.targets) {
      if (this.#image.targets.has(key)) continue;
      target.isRetired = true;
      this.#pools.retire(target);
    }
    this.#health.apply(this.#image);
  }

  #group(): Group | undefined {
    return this.#image.groups.get(SERVICE_GROUP);
  }

  #pick(request: Dispatcher.DispatchOptions, tried: readonly Target[]): Member | null {
    const key = this.#options.hashKey?.(request) ?? '';
    return (
      this.#group()?.pick({
        scheduler: this.#options.scheduler ?? 'wrr',
        hashKey: key,
        clientAddress: key,
        clientPort: 0,
        listener: this.#options.source.name,
        vip: '',
        vport: 0,
        tried,
      }) ?? null
    );
  }

  #send(member: Member, request: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const origin = new URL(String(request.origin));
    const pool = this.#pools.of(member.target, origin);
    const { origin: _, headers, ...rest } = request;
    return pool.dispatch({ ...rest, headers: withHost(headers, origin.host) as never }, handler);
  }

  #failed(target: Target, isStale: boolean): void {
    if (isStale) return;
    this.counters.failures++;
    target.failures++;
    this.#passive.failed(target);
  }

  #ended(): void {
    if (--this.#active === 0) this.#onIdle?.();
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const refusal = this.#refusal(options);
    if (refusal !== null) {
      handler.onResponseError?.(null as never, refusal);
      return false;
    }
    this.counters.requests++;
    this.#active++;
    return new BalancedRequest(this.#balancing, options, handler).start();
  }

  #refusal({ origin }: Dispatcher.DispatchOptions): Error | null {
    if (this.#isDestroyed) return new errors.ClientDestroyedError();
    if (this.#closing !== null) return new errors.ClientClosedError();
    const protocol = URL.parse(String(origin))?.protocol;
    if (protocol === 'http:' || protocol === 'https:') return null;
    return new errors.InvalidArgumentError(
      'origin must be an http: or https: URL; its host is what targets see as Host',
    );
  }

  /** Every target with its health. */
  health(): TargetHealth[] {
    return this.#health.list();
  }

  /** Takes no more requests, waits for those in flight, then closes every connection. */
  override close(callback?: () => void): Promise<void> & void {
    this.#closing ??= this.#close();
    return settle(this.#closing, callback);
  }

  async #close(): Promise<void> {
    this.#stop();
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.#pools.close();
  }

  /** Ends requests in flight with the error, and every connection. */
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> & void {
    const [reason, done] = typeof error === 'function' ? [null, error] : [error ?? null, callback];
    this.#isDestroyed = true;
    this.#closing ??= Promise.resolve();
    this.#stop();
    return settle(this.#pools.destroy(reason ?? new errors.ClientDestroyedError()), done);
  }

  #stop(): void {
    this.#options.source.close();
    this.#health.close();
    this.#passive.close();
  }
}

/** undici's habit: a callback, or a promise. */
function settle(work: Promise<void>, callback: (() => void) | undefined): Promise<void> & void {
  if (callback === undefined) return work as Promise<void> & void;
  void work.then(() => queueMicrotask(callback));
  return undefined as unknown as Promise<void> & void;
}

/** The mean that `p2c` compares: a tenth of every new answer. */
function noteLatency(target: Target, ms: number): void {
  target.latencyMs = target.latencyMs === 0 ? ms : target.latencyMs * 0.9 + ms * 0.1;
}
