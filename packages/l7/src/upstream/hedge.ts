// Hedging: a second target is asked where the first is slow, and the first to answer is the one that the client hears (gRFC A6 has the
// idea; here for idempotent methods of HTTP). The other is cancelled, and nothing of it is held against its target.
import { performance } from 'node:perf_hooks';
import type { Member } from '../scheduler.ts';
import type { Exchange } from '../state.ts';
import type { UpstreamConnection, UpstreamEvents } from '../upstream.ts';
import { IDEMPOTENT } from './compile.ts';
import { pickFor } from '../phase/select.ts';

/** Starts the clock of a hedge, when the first try has been sent. */
export function armHedge(exchange: Exchange): void {
  const plan = exchange.plan!;
  const { hedge } = plan.spec;
  if (hedge === null || plan.isHedged || exchange.attempts > 1 || exchange.wantsUpgrade) return;
  if (!IDEMPOTENT.has(exchange.method)) return;
  const ms = hedge.delayMs > 0 ? hedge.delayMs : hedge.latencies.percentile(hedge.percentile);
  if (ms === null) return;
  const { serial } = exchange;
  plan.scheduleHedge(ms, () => {
    if (exchange.serial === serial && exchange.isActive) start(exchange);
  });
}

function start(exchange: Exchange): void {
  const plan = exchange.plan!;
  const { proxy, connection } = exchange;
  if (exchange.hasAnswer || connection === null || !exchange.isRequestDone || !plan.canReplay(exchange)) return;
  const member = pickFor(exchange, [...exchange.tried, connection.target]);
  if (member === null || !plan.spec.hedge!.budget.take(performance.now())) return;
  plan.isHedged = true;
  const second = proxy.pool.acquire(member.target, null, false, plan.spec.peer, plan.spec.times.connectMs);
  if (second === null) return;
  proxy.counters.hedges++;
  plan.hedge = new HedgedTry(exchange, second, member);
}

export class HedgedTry {
  readonly connection: UpstreamConnection;
  readonly #exchange: Exchange;
  readonly #member: Member;
  isOver = false;

  constructor(exchange: Exchange, connection: UpstreamConnection, member: Member) {
    this.#exchange = exchange;
    this.connection = connection;
    this.#member = member;
    member.target.active++;
    member.target.requests++;
    connection.owner = this;
    connection.events = EVENTS;
    if (connection.isConnected) this.send();
  }

  send(): void {
    const exchange = this.#exchange;
    const { proxy } = exchange;
    const { spec, replay } = exchange.plan!;
    proxy.wheel.set(this.connection, spec.times.firstByteMs ?? proxy.limits.readTimeoutMs);
    this.connection.socket.write(exchange.headText, 'latin1');
    for (const part of replay ?? []) this.connection.socket.write(part);
  }

  /** It becomes the exchange's own: it answered first, or the first try was lost. */
  adopt(): void {
    const exchange = this.#exchange;
    const { connection } = this;
    this.isOver = true;
    exchange.plan!.hedge = null;
    const first = exchange.connection;
    if (first !== null) {
      first.target.active--;
      first.discard();
    }
    exchange.connection = connection;
    exchange.member = this.#member;
    exchange.isSent = connection.isConnected;
    exchange.attempts++;
    connection.owner = exchange;
    connection.events = exchange.proxy.pool.events;
    if (!connection.isConnected) exchange.plan!.refill(exchange);
    exchange.proxy.counters.hedgesWon++;
  }

  cancel(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.connection.target.active--;
    this.connection.discard();
  }

  /** Lost while the first try still runs. */
  drop(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.connection.target.active--;
    this.#exchange.plan!.hedge = null;
    this.connection.discard();
  }
}

const ownerOf = (connection: UpstreamConnection): HedgedTry => connection.owner as HedgedTry;

const EVENTS: UpstreamEvents = {
  connected: (connection) => ownerOf(connection).send(),
  bytes(connection, bytes, end) {
    ownerOf(connection).adopt();
    return connection.events.bytes(connection, bytes, end);
  },
  ended: (connection) => ownerOf(connection).drop(),
  failed: (connection) => ownerOf(connection).drop(),
  timedOut: (connection) => ownerOf(connection).drop(),
  drained() {},
};
