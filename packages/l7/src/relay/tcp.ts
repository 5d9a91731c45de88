// A terminating TCP (or TCP_SSL) listener: two connections joined byte by byte. What `clb up` uses without root (B15).
import net from 'node:net';
import type { CompiledListener } from '../image.ts';
import type { Accepted } from '../phase/accept.ts';
import type { Group } from '../scheduler.ts';
import { cut, isStopped } from '../sockets.ts';
import type { Target } from '../upstream.ts';
import type { Timed } from '../wheel.ts';
import type { RelayContext } from './context.ts';
import type { Routed } from './mysql/login.ts';
import { proxyHeader } from './proxy-protocol.ts';

/** Joins an accepted connection to a target of the listener's group, or closes it when none takes it. */
export class TcpRelay implements Timed {
  readonly #context: RelayContext;
  readonly #client: net.Socket;
  readonly #accepted: Accepted;
  readonly #listener: CompiledListener;
  /** What a MySQL login has led to; null: bytes are bytes from the start. */
  readonly #routed: Routed | null;
  readonly #group: Group;
  readonly #tried: Target[] = [];
  readonly #idleMs: number;
  readonly #startedAt = performance.now();
  #target: Target | null = null;
  #upstream: net.Socket | null = null;
  #isJoined = false;
  #attempts = 0;
  #failure = '';
  #upstreamAddress = '';
  readonly #onClosed: (relay: TcpRelay) => void;
  #bytesIn = 0;
  #bytesOut = 0;
  isClosed = false;
  deadline = Infinity;
  wheelTick = -1;

  constructor(
    context: RelayContext,
    client: net.Socket,
    accepted: Accepted,
    listener: CompiledListener,
    routed: Routed | null,
    onClosed: (relay: TcpRelay) => void,
  ) {
    this.#context = context;
    this.#client = client;
    this.#accepted = accepted;
    this.#listener = listener;
    this.#routed = routed;
    this.#group = routed?.group ?? listener.group!;
    this.#idleMs = listener.relay?.idleMs ?? context.limits.tunnelIdleMs;
    this.#onClosed = onClosed;
    client.pause();
    client.on('error', () => this.close());
    client.on('close', () => this.close());
    this.#connect();
  }

  /** The next target that is not full; null when there is none left. */
  #pick(): Target | null {
    const { clientAddress, clientPort, vip, vport } = this.#accepted;
    const { scheduler, name, relay } = this.#listener;
    const most = Math.min(relay?.connectionsPerTargetMax ?? Infinity, this.#context.limits.connectionsPerTargetMax);
    for (;;) {
      const member = this.#group.pick({
        scheduler,
        listener: name,
        clientAddress,
        clientPort,
        vip,
        vport,
        tried: this.#tried,
      });
      if (member === null) return null;
      if (member.target.active < most) return member.target;
      this.#failure = 'target-full';
      this.#tried.push(member.target);
    }
  }

  #connect(): void {
    const { limits, wheel } = this.#context;
    const target = this.#attempts < limits.attemptsMax ? this.#pick() : null;
    if (target === null) return this.#giveUp();
    this.#target = target;
    this.#attempts++;
    target.active++;
    target.requests++;
    const { address, port, source } = target.identity;
    this.#upstreamAddress = `${address}:${port}`;
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
    wheel.set(this, this.#listener.relay?.connectMs ?? limits.connectTimeoutMs);
    upstream.once('connect', () => this.#connected(upstream));
    upstream.on('error', () => this.#lost(upstream));
    upstream.on('close', () => this.#lost(upstream));
  }

  #giveUp(): void {
    this.#failure ||= this.#attempts === 0 ? 'no-target' : 'connect-refused';
    this.#context.count(this.#failure);
    cut(this.#client);
    this.close();
  }

  #connected(upstream: net.Socket): void {
    if (this.isClosed || this.#upstream !== upstream) return;
    const header = proxyHeader(this.#listener.relay?.proxyProtocol ?? this.#context.proxyProtocol, this.#accepted);
    if (header.length > 0) upstream.write(header);
    if (this.#routed === null) this.#join(upstream, null);
    else this.#routed.replay(upstream, (forClient) => this.#join(upstream, forClient));
  }

  #join(upstream: net.Socket, forClient: Buffer | null): void {
    if (this.isClosed) return;
    const client = this.#client;
    this.#isJoined = true;
    this.#failure = '';
    this.#forward(client, upstream);
    this.#forward(upstream, client);
    if (forClient !== null && forClient.length > 0) client.write(forClient);
    client.resume();
  }

  /** Copies one way. The writer stops the reader; FIN is handed on. */
  #forward(from: net.Socket, to: net.Socket): void {
    const { wheel } = this.#context;
    const isInward = from === this.#client;
    wheel.set(this, this.#idleMs);
    from.on('data', (chunk: Buffer) => {
      wheel.set(this, this.#idleMs);
      if (isInward) this.#bytesIn += chunk.length;
      else this.#bytesOut += chunk.length;
      to.write(chunk);
      if (isStopped(to)) from.pause();
    });
    to.on('drain', () => from.resume());
    if (from.readableEnded) to.end();
    else from.on('end', () => to.end());
  }

  /** Before the join nothing was sent, so another target may be tried; after it the client shares the target's fate. */
  #lost(upstream: net.Socket): void {
    if (this.isClosed || this.#upstream !== upstream) return;
    if (this.#isJoined) {
      if (upstream.errored === null) this.#client.destroySoon();
      else {
        this.#failure = 'upstream-reset';
        cut(this.#client);
      }
      this.close();
      return;
    }
    const target = this.#target!;
    target.active--;
    target.failures++;
    this.#context.onTargetFailure(target);
    this.#target = null;
    this.#tried.push(target);
    upstream.destroy();
    this.#connect();
  }

  onDeadline(): void {
    const upstream = this.#upstream;
    if (!this.#isJoined && upstream !== null) return this.#lost(upstream);
    this.#failure = 'idle';
    this.close();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.#target !== null) this.#target.active--;
    this.#target = null;
    const upstream = this.#upstream;
    if (upstream !== null && !upstream.destroyed) {
      if (this.#client.errored === null) upstream.destroySoon();
      else {
        this.#failure ||= 'client-reset';
        upstream.resetAndDestroy();
      }
    }
    if (!this.#client.writableEnded) this.#client.destroy();
    this.#log();
    this.#onClosed(this);
  }

  #log(): void {
    const { counters, connectionLog } = this.#context;
    counters.bytesIn += this.#bytesIn;
    counters.bytesOut += this.#bytesOut;
    if (connectionLog === null) return;
    const { clientAddress, clientPort, vip, vport } = this.#accepted;
    const durationMs = performance.now() - this.#startedAt;
    connectionLog({
      time: Date.now() - durationMs,
      listener: this.#listener.name,
      protocol: this.#listener.protocol === 'tcp-ssl' ? 'tcp-ssl' : 'tcp',
      remoteAddress: clientAddress,
      remotePort: clientPort,
      vip,
      vport,
      upstreamAddress: this.#isJoined ? this.#upstreamAddress : '',
      attempts: this.#attempts,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      durationMs,
      failure: this.#failure,
    });
  }
}
