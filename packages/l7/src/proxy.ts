// createProxy: the composition root of a proxy. Pool, wheel, listeners, TLS, relays and health checks are made here and meet here.
import { createHash, randomBytes } from 'node:crypto';
import type net from 'node:net';
import type { L7Filter, MysqlRouter, ProxyImage, Scheduler } from '@openclb/model';
import { Http1Downstream } from './codec/downstream.ts';
import { Head } from './codec/h1.ts';
import { H2Session } from './codec/h2/session.ts';
import { countFailure, type Counters, createCounters } from './counters.ts';
import { upstreamEvents } from './exchange.ts';
import { explain, type Explanation, type ExplainRequest } from './explain.ts';
import { explainRequest, type RequestExplanation, type RequestToExplain } from './explain-request.ts';
import { HealthChecks, type HealthListener, type TargetHealth } from './health.ts';
import { type CompiledImage, compileInSlices, EMPTY_IMAGE, type Prepared } from './image.ts';
import { DEFAULT_LIMITS, type Limits } from './limits.ts';
import { type BindMode, ListeningSockets } from './listener.ts';
import { Outbox } from './outbox.ts';
import type { Accepted } from './phase/accept.ts';
import { failureResponse } from './phase/fail.ts';
import { HandshakeRefused, identify, type SecureIdentity, type TlsProvider } from './phase/identify.ts';
import type { AccessRecord, HealthRecord } from './log/record.ts';
import { healthRecords } from './log/health.ts';
import { PassiveChecks } from './passive.ts';
import { ReadyServer } from './ready.ts';
import type { ConnectionRecord, RelayContext } from './relay/context.ts';
import { Greetings } from './relay/mysql/login.ts';
import type { ProxyProtocol } from './relay/proxy-protocol.ts';
import { type Closable, serveRelay } from './relay/serve.ts';
import type { ImageState, WorkerModule } from './scale/messages.ts';
import type { WorkerShare } from './scale/share.ts';
import { UdpRelays } from './relay/udp.ts';
import { imageOf, type SimpleConfig } from './simple.ts';
import { Shadow, type ShadowReport } from './shadow.ts';
import type { ProxyContext } from './state.ts';
import { type CertificateLookup, NodeTls } from './tls.ts';
import { TicketKeys } from './tls/secrets.ts';
import { shortestMs } from './upstream/shortest.ts';
import { UpstreamPool } from './upstream.ts';
import { Wheel } from './wheel.ts';

export interface ProxyOptions {
  /** `wildcard` (the default): one socket per family and port, for VIPs that are routed here (P20). `vips`: bind each VIP. */
  readonly bind?: BindMode;
  /** Threads that serve connections, each on its own core; 1 when absent: this thread. Filters and schedulers need `workerModule`. */
  readonly workers?: number;
  /** What each worker loads; see `WorkerModule`. */
  readonly workerModule?: WorkerModule;
  /** Lets several processes listen on the same ports, so that a new one takes over from an old one. */
  readonly reusePort?: boolean;
  readonly limits?: Partial<Limits>;
  /** Seals stickiness cookies; proxies of one cluster share it. Absent: a random one, and a restart binds clients anew. */
  readonly stickinessKey?: string | Uint8Array;
  readonly certificates?: CertificateLookup;
  /** 32 bytes or more that every worker and node of a cluster shares, so that TLS sessions resume on any of them; else random. */
  readonly ticketSecret?: Uint8Array;
  /** How long one ticket key lasts; 12 hours when absent. */
  readonly ticketPeriodMs?: number;
  /** Further TLS providers, asked before node:tls. */
  readonly tlsProviders?: readonly TlsProvider[];
  readonly filters?: readonly L7Filter[];
  readonly schedulers?: readonly Scheduler[];
  /** Sent by relay listeners to their targets. */
  readonly proxyProtocol?: ProxyProtocol;
  readonly accessLog?: (record: AccessRecord) => void;
  /** One record for each relayed connection and UDP session, when it is over. */
  readonly connectionLog?: (record: ConnectionRecord) => void;
  /** Asked for each login of relays with `mysql`. */
  readonly mysqlRouters?: readonly MysqlRouter[];
  readonly onHealth?: HealthListener;
  /** Verdicts on targets, one record for each rule that they matter to. */
  readonly healthLog?: (record: HealthRecord) => void;
  /** Errors of filters; the requests that met them were answered 500. */
  readonly onError?: (source: string, error: unknown) => void;
  /** Address of the ready endpoint; every address when left out. */
  readonly readyHost?: string;
}

export interface Proxy {
  /** Swaps to another image as a whole. Rejects with `ImageRefused` or a listening error and keeps the one before. */
  apply(image: ProxyImage): Promise<void>;
  /** Where it listens. */
  addresses(): { address: string; port: number }[];
  readonly readyPort: number;
  health(): TargetHealth[];
  counters(): Counters;
  explain(request: ExplainRequest): Explanation;
  /** The walk of a whole request, step by step, without sending it. */
  explainRequest(request: RequestToExplain): RequestExplanation;
  /** From now on this image decides beside the active one, and differences are counted; null ends it. */
  shadow(image: ProxyImage | null): Promise<void>;
  /** Null without a candidate. */
  shadowReport(): ShadowReport | null;
  /** Another `ticketSecret` for handshakes to come. */
  setTicketSecret(secret: Uint8Array): void;
  /** Stops accepting, lets exchanges in flight end (`drainMs` at most), closes everything. */
  close(): Promise<void>;
}

export async function createProxy(options: ProxyOptions & Partial<SimpleConfig> = {}): Promise<Proxy> {
  const { workers = 1 } = options;
  if (workers !== 1) {
    const { startWorkers } = await import('./scale/workers.ts');
    const simple = options.listen === undefined ? null : await imageOf(options as SimpleConfig);
    return startWorkers({ bind: simple === null ? 'wildcard' : 'vips', ...options }, workers, simple);
  }
  const proxy = new ProxyProcess(options, null);
  if (options.listen === undefined) return proxy;
  try {
    await proxy.apply(await imageOf(options as SimpleConfig));
  } catch (error) {
    await proxy.close();
    throw error;
  }
  return proxy;
}

/** The proxy of one worker thread: what all workers share is given to it, and the main thread probes targets and answers /ready. */
export function createWorkerProxy(
  options: ProxyOptions,
  share: WorkerShare,
): Proxy & { apply(image: ProxyImage, state: ImageState): Promise<void> } {
  return new ProxyProcess(options, share);
}

class ProxyProcess implements Proxy {
  readonly #options: ProxyOptions;
  readonly #share: WorkerShare | null;
  readonly #limits: Limits;
  readonly #context: ProxyContext;
  readonly #relayContext: RelayContext;
  readonly #wheel: Wheel;
  /** As the limits want it; rules with shorter time-outs make it shorter. */
  readonly #tickMs: number;
  readonly #listening: ListeningSockets;
  readonly #udp: UdpRelays;
  readonly #tls: NodeTls;
  readonly #health: HealthChecks;
  readonly #passive: PassiveChecks;
  readonly #ready: ReadyServer;
  readonly #connections = new Set<Closable>();
  #image: CompiledImage = EMPTY_IMAGE;
  /** Images are applied one after the other. */
  #applying: Promise<void> = Promise.resolve();
  #onEmpty: (() => void) | null = null;

  constructor(options: ProxyOptions & Partial<SimpleConfig>, share: WorkerShare | null) {
    this.#options = options;
    this.#share = share;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#limits = limits;
    const times = [limits.connectTimeoutMs, limits.readTimeoutMs, limits.keepAliveTimeoutMs, limits.headTimeoutMs];
    this.#tickMs = Math.max(5, Math.min(500, ...times.map((ms) => ms / 8)));
    this.#wheel = new Wheel(this.#tickMs);
    const counters = createCounters();
    const outbox = new Outbox();
    this.#context = {
      limits,
      counters,
      wheel: this.#wheel,
      requestHead: new Head(),
      responseHead: new Head(),
      isDraining: false,
      connectionSerial: 0,
      shadow: null,
      outbox,
      pool: new UpstreamPool(limits, this.#wheel, outbox, upstreamEvents),
      filters: options.filters ?? [],
      accessLog: options.accessLog ?? null,
      stickyKey: createHash('sha256')
        .update(options.stickinessKey ?? randomBytes(32))
        .digest(),
      onTargetFailure: (target, group) => this.#passive.failed(target, group),
      onFilterError: (filter, error) => options.onError?.(filter, error),
    };
    this.#relayContext = {
      limits,
      wheel: this.#wheel,
      proxyProtocol: options.proxyProtocol ?? 'off',
      counters,
      count: (code) => countFailure(counters, code),
      onTargetFailure: (target) => this.#passive.failed(target),
      connectionLog: options.connectionLog ?? null,
      mysqlRouters: options.mysqlRouters ?? [],
      greetings: new Greetings(),
    };
    const tickets = new TicketKeys(options.ticketSecret, options.ticketPeriodMs);
    this.#tls = new NodeTls(options.certificates ?? (() => undefined), limits.handshakeTimeoutMs, tickets);
    this.#health = new HealthChecks((health) => {
      options.onHealth?.(health);
      if (options.healthLog === undefined) return;
      for (const record of healthRecords(this.#image, health, Date.now())) options.healthLog(record);
    });
    this.#passive = new PassiveChecks(limits, () => this.#image);
    const reusePort = options.reusePort ?? false;
    this.#ready = new ReadyServer(options.readyHost, () => !this.#context.isDraining, reusePort);
    this.#udp = new UdpRelays(this.#relayContext, reusePort);
    this.#listening = new ListeningSockets({
      reusePort,
      connectionsMax: limits.connectionsMax,
      counters,
      share,
      bind: options.bind ?? (options.listen === undefined ? 'wildcard' : 'vips'),
      onConnection: (socket, accepted) => this.#connection(socket, accepted),
    });
  }

  apply(image: ProxyImage, state?: ImageState): Promise<void> {
    const run = this.#applying.then(() => this.#apply(image, state));
    this.#applying = run.catch(() => {});
    return run;
  }

  async #apply(source: ProxyImage, state?: ImageState): Promise<void> {
    const image = await compileInSlices(source, this.#image, this.#options.schedulers ?? [], this.#limits);
    const prepared: Prepared[] = [];
    try {
      for (const part of [this.#tls, this.#listening, this.#udp, this.#ready]) prepared.push(await part.prepare(image));
    } catch (error) {
      for (const part of prepared) part.abort();
      throw error;
    }
    for (const part of prepared) part.commit();
    const before = this.#image;
    this.#image = image;
    for (const [key, target] of before.targets) if (!image.targets.has(key)) this.#context.pool.retire(target);
    this.#wheel.retune(Math.max(5, Math.min(this.#tickMs, shortestMs(image) / 8)));
    if (this.#share === null) this.#health.apply(image);
    else if (state !== undefined) this.#share.attach(image, state);
  }

  #connection(socket: net.Socket, accepted: Accepted): void {
    const { counters } = this.#context;
    counters.connections++;
    counters.connectionsOpen++;
    socket.once('close', () => counters.connectionsOpen--);
    const listener = accepted.binding.listener!;
    switch (listener.protocol) {
      case 'http':
        this.#serveHttp(socket, accepted, null);
        return;
      case 'tcp':
        this.#serveTcp(socket, accepted);
        return;
      default:
        void this.#serveSecure(socket, accepted);
    }
  }

  #serveHttp(socket: net.Socket, accepted: Accepted, secure: SecureIdentity | null): void {
    const entry: Closable = { drain: () => downstream.drain(), destroy: () => socket.destroy() };
    const onHttp2 = (first: Buffer): void => {
      socket.pause();
      socket.unshift(first);
      this.#serveHttp2(socket, accepted, secure);
    };
    const onClosed = (): void => this.#forget(entry);
    const downstream = new Http1Downstream(this.#context, socket, accepted, secure, onClosed, onHttp2);
    this.#connections.add(entry);
    // A TLS provider may have paused it to put bytes back.
    if (socket.isPaused()) socket.resume();
  }

  #serveHttp2(socket: net.Socket, accepted: Accepted, secure: SecureIdentity | null): void {
    const session = new H2Session(this.#context, socket, accepted, secure, () => this.#forget(session));
    this.#connections.add(session);
  }

  #serveTcp(socket: net.Socket, accepted: Accepted): void {
    const opened = (entry: Closable): void => void this.#connections.add(entry);
    serveRelay(this.#relayContext, socket, accepted, opened, (entry) => this.#forget(entry));
  }

  async #serveSecure(socket: net.Socket, accepted: Accepted): Promise<void> {
    const entry: Closable = { drain: () => socket.destroy(), destroy: () => socket.destroy() };
    this.#connections.add(entry);
    // From here to the end of the handshake nobody else listens for errors.
    const onError = (): void => {};
    socket.on('error', onError);
    const listener = accepted.binding.listener!;
    const providers = [...(this.#options.tlsProviders ?? []), this.#tls];
    try {
      const identity = await identify(socket, listener, providers, this.#limits.handshakeTimeoutMs);
      if (identity === 'plain') {
        countFailure(this.#context.counters, 'plain-on-tls');
        socket.end(failureResponse('plain-on-tls', true, false));
        socket.resume();
        setTimeout(() => socket.destroy(), 1000).unref();
      } else if (listener.protocol === 'tcp-ssl') this.#serveTcp(identity.socket, accepted);
      else if (identity.alpn === 'h2') this.#serveHttp2(identity.socket, accepted, identity);
      else this.#serveHttp(identity.socket, accepted, identity);
    } catch (error) {
      countFailure(this.#context.counters, error instanceof HandshakeRefused ? error.reason : 'handshake-failed');
      socket.destroy();
    } finally {
      this.#forget(entry);
    }
  }

  #forget(entry: Closable): void {
    this.#connections.delete(entry);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  addresses(): { address: string; port: number }[] {
    return [...this.#listening.addresses(), ...this.#udp.addresses()];
  }

  get readyPort(): number {
    return this.#ready.port;
  }

  health(): TargetHealth[] {
    return this.#health.list();
  }

  counters(): Counters {
    return structuredClone(this.#context.counters);
  }

  explain(request: ExplainRequest): Explanation {
    return explain(this.#image, request);
  }

  async shadow(image: ProxyImage | null): Promise<void> {
    const compiled = image === null ? null : await compileInSlices(image, EMPTY_IMAGE, [], this.#limits);
    this.#context.shadow = compiled === null ? null : new Shadow(compiled, this.#context);
  }

  shadowReport(): ShadowReport | null {
    return this.#context.shadow?.report() ?? null;
  }

  explainRequest(request: RequestToExplain): RequestExplanation {
    return explainRequest(this.#image, request, this.#context.stickyKey);
  }

  setTicketSecret(secret: Uint8Array): void {
    this.#tls.setTicketSecret(secret);
  }

  async close(): Promise<void> {
    this.#context.isDraining = true;
    await this.#applying;
    this.#listening.close();
    this.#udp.close();
    this.#health.close();
    this.#passive.close();
    for (const entry of this.#connections) entry.drain();
    if (this.#connections.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onEmpty = resolve;
      const timer = setTimeout(resolve, this.#limits.drainMs);
      await promise;
      clearTimeout(timer);
    }
    for (const entry of this.#connections) entry.destroy();
    for (const target of this.#image.targets.values()) this.#context.pool.close(target);
    this.#tls.close();
    this.#ready.close();
    this.#wheel.close();
  }
}
