// Mirroring: a copy of a request goes to another group, and what that answers is thrown away. The copy is made from bytes that the
// request has already brought, is counted and bounded, and nothing of the request waits for it.
import type { Exchange, ProxyContext } from '../state.ts';
import type { UpstreamConnection, UpstreamEvents } from '../upstream.ts';
import type { CompiledMirror } from './compile.ts';

/** Called once the request's head and whole body are known. */
export function mirror(exchange: Exchange): void {
  const plan = exchange.plan!;
  const spec = plan.spec.mirror!;
  const { proxy } = exchange;
  plan.wantsMirror = false;
  const isTooLong = plan.replay === null || plan.replayBytes > spec.bodyBytesMax;
  if (isTooLong || spec.inFlight >= spec.inFlightMax) {
    proxy.counters.mirrorsLeftOut++;
    return;
  }
  const { downstream } = exchange;
  const member = spec.group.pick({
    scheduler: 'wrr',
    clientAddress: downstream.clientAddress,
    clientPort: downstream.clientPort,
    vip: downstream.vip,
    vport: downstream.vport,
    listener: exchange.listener!.name,
    tried: [],
  });
  // The target closes behind its answer, so the end of the answer needs no parsing.
  const head = `${exchange.headText.slice(0, -2)}Connection: close\r\n\r\n`;
  const connection =
    member === null ? null : proxy.pool.acquire(member.target, null, true, plan.spec.peer, plan.spec.times.connectMs);
  if (connection === null) {
    proxy.counters.mirrorsLeftOut++;
    return;
  }
  proxy.counters.mirrors++;
  const copy = new Copy(proxy, spec, connection, head, plan.replay!.slice());
  connection.owner = copy;
  connection.events = EVENTS;
  if (connection.isConnected) copy.send();
}

class Copy {
  readonly proxy: ProxyContext;
  readonly #spec: CompiledMirror;
  readonly #connection: UpstreamConnection;
  readonly #head: string;
  readonly #body: readonly Buffer[];
  #isOver = false;

  constructor(
    proxy: ProxyContext,
    spec: CompiledMirror,
    connection: UpstreamConnection,
    head: string,
    body: readonly Buffer[],
  ) {
    this.proxy = proxy;
    this.#spec = spec;
    this.#connection = connection;
    this.#head = head;
    this.#body = body;
    spec.inFlight++;
    connection.target.active++;
    connection.target.requests++;
  }

  send(): void {
    const { socket } = this.#connection;
    this.proxy.wheel.set(this.#connection, this.proxy.limits.readTimeoutMs);
    socket.write(this.#head, 'latin1');
    for (const part of this.#body) socket.write(part);
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#spec.inFlight--;
    this.#connection.target.active--;
    this.#connection.discard();
  }
}

const ownerOf = (connection: UpstreamConnection): Copy => connection.owner as Copy;

const EVENTS: UpstreamEvents = {
  connected: (connection) => ownerOf(connection).send(),
  bytes: () => true,
  ended: (connection) => ownerOf(connection).end(),
  failed: (connection) => ownerOf(connection).end(),
  timedOut: (connection) => ownerOf(connection).end(),
  drained() {},
};
