// A terminating TCP (or TCP_SSL) listener: two connections joined byte by byte. What `clb up` uses without root (B15).
import net from 'node:net';
import type { CompiledListener } from '../image.ts';
import type { Accepted } from '../phase/accept.ts';
import type { Group } from '../scheduler.ts';
import type { Target } from '../upstream.ts';
import type { Timed } from '../wheel.ts';
import { type ProxyProtocol, proxyHeader } from './proxy-protocol.ts';
import { cut, isStopped } from '../sockets.ts';
import type { RelayContext } from './context.ts';

/** Joins an accepted connection to a target of the listener's group, or closes it when none takes it. */
export class TcpRelay implements Timed {
  readonly #context: RelayContext;
  readonly #client: net.Socket;
  readonly #accepted: Accepted;
  readonly #listener: CompiledListener;
  readonly #protocol: ProxyProtocol;
  readonly #tried: Target[] = [];
  #target: Target | null = null;
  #upstream: net.Socket | null = null;
  #isJoined = false;
  readonly #onClosed: (relay: TcpRelay) => void;
  isClosed = false;
  deadline = Infinity;
  wheelTick = -1;

  constructor(
    context: RelayContext,
    client: net.Socket,
    accepted: Accepted,
    listener: CompiledListener,
    onClosed: (relay: TcpRelay) => void,
  ) {
    this.#context = context;
    this.#client = client;
    this.#accepted = accepted;
    this.#listener = listener;
    this.#protocol = context.proxyProtocol;
    this.#onClosed = onClosed;
    client.pause();
    client.on('error', () => this.close());
    client.on('close', () => this.close());
    this.#connect(listener.group!);
  }

  #connect(group: Group): void {
    const { limits, wheel } = this.#context;
    const { clientAddress, clientPort, vip, vport } = this.#accepted;
    const listener = this.#listener;
    const tried = this.#tried;
    const member = group.pick({
      scheduler: listener.scheduler,
      listener: listener.name,
      clientAddress,
      clientPort,
      vip,
      vport,
      tried,
    });
    if (member === null || tried.length >= limits.attemptsMax) {
      this.#context.count(member === null ? 'no-target' : 'connect-refused');
      cut(this.#client);
      this.close();
      return;
    }
    const { target } = member;
    this.#target = target;
    target.active++;
    target.requests++;
    const { address, port, source } = target.identity;
    const upstream = net.connect({
      host: address,
      port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      autoSelectFamily: false,
      ...(source === null ? {} : { localAddress: source }),
    });
    this.#upstream = upstream;
    wheel.set(this, limits.connectTimeoutMs);
    upstream.once('connect', () => this.#join(upstream));
    upstream.on('error', () => this.#lost(upstream));
    upstream.on('close', () => this.#lost(upstream));
  }

  #join(upstream: net.Socket): void {
    const client = this.#client;
    this.#isJoined = true;
    const header = proxyHeader(this.#protocol, this.#accepted);
    if (header.length > 0) upstream.write(header);
    this.#forward(client, upstream);
    this.#forward(upstream, client);
    client.resume();
  }

  /** Copies one way. The writer stops the reader; FIN is handed on. */
  #forward(from: net.Socket, to: net.Socket): void {
    const { limits, wheel } = this.#context;
    wheel.set(this, limits.tunnelIdleMs);
    from.on('data', (chunk: Buffer) => {
      wheel.set(this, limits.tunnelIdleMs);
      to.write(chunk);
      if (isStopped(to)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => to.end());
  }

  /** Before the join nothing was sent, so another target may be tried; after it the client shares the target's fate. */
  #lost(upstream: net.Socket): void {
    if (this.isClosed || this.#upstream !== upstream) return;
    if (this.#isJoined) {
      if (upstream.errored === null) this.#client.destroySoon();
      else cut(this.#client);
      this.close();
      return;
    }
    const target = this.#target!;
    target.active--;
    target.failures++;
    this.#target = null;
    this.#tried.push(target);
    upstream.destroy();
    this.#connect(this.#listener.group!);
  }

  onDeadline(): void {
    const upstream = this.#upstream;
    if (!this.#isJoined && upstream !== null) this.#lost(upstream);
    else this.close();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.#target !== null) this.#target.active--;
    this.#target = null;
    const upstream = this.#upstream;
    if (upstream !== null && !upstream.destroyed) {
      if (this.#client.errored === null) upstream.destroySoon();
      else upstream.resetAndDestroy();
    }
    if (!this.#client.writableEnded) this.#client.destroy();
    this.#onClosed(this);
  }
}
