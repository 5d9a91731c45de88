// Connections to targets: one pool per whole peer identity (target id, address, port and source address: layer7.md 3.1).
// Connections read into one shared buffer, so an idle one costs no buffer and a busy one no allocation per read; one that
// brings large bodies gets a buffer of its own, which is written to the client without a copy.
import net from 'node:net';
import tls from 'node:tls';
import type { Limits } from './limits.ts';
import type { Outbox, Sender } from './outbox.ts';
import type { Peer } from './upstream/peer.ts';
import { UpstreamSession } from './upstream/session.ts';
import { socketOptions } from './upstream/socket.ts';
import { cut } from './sockets.ts';
import type { Timed, Wheel } from './wheel.ts';

const READ_BYTES = 64 * 1024;
/** A read of this size asks for an own buffer. */
const LARGE_READ_BYTES = 16 * 1024;
/** Own buffers of one pool, 32 MiB together; the rest copies. */
const OWN_BUFFERS_MAX = 512;

export interface TargetIdentity {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Local address to connect from, which names the target's VPC (P21); null: the kernel chooses. */
  readonly source: string | null;
}

/** What a pool tells the exchange that holds a connection. */
export interface UpstreamEvents {
  connected(connection: UpstreamConnection): void;
  /** `bytes` is valid during the call only. False: read no more until `resume`. */
  bytes(connection: UpstreamConnection, bytes: Buffer, end: number): boolean;
  /** The target will send no more. */
  ended(connection: UpstreamConnection): void;
  /** The connection is gone or could not be made; `discard` has been done. */
  failed(connection: UpstreamConnection, error: NodeJS.ErrnoException | null): void;
  timedOut(connection: UpstreamConnection): void;
  drained(connection: UpstreamConnection): void;
}

/** The side of a connection that exchanges write to. */
export interface UpstreamSocket {
  write(data: string | Buffer, encoding?: 'latin1'): boolean;
  cork(): void;
  uncork(): void;
  end(): void;
  destroySoon(): void;
  readonly writableNeedDrain: boolean;
  readonly writableLength: number;
}

/** What carries one exchange at a time to a target: a socket of HTTP/1.1, or one stream of an HTTP/2 connection. */
export interface UpstreamConnection extends Timed {
  readonly target: Target;
  readonly socket: UpstreamSocket;
  /** Who is told; the pool's own events unless something else holds this connection (`hedge.ts`, `mirror.ts`). */
  events: UpstreamEvents;
  /** What holds this connection; null while idle. */
  owner: unknown;
  isConnected: boolean;
  /** TCP stands, TLS does not yet. */
  readonly isHandshaking: boolean;
  isReused: boolean;
  isClosed: boolean;
  /** The target's FIN has been seen. */
  readonly isEnded: boolean;
  readonly isPaused: boolean;
  /** The target has said that it did nothing with this request (RFC 9113 8.7). */
  readonly isUnprocessed: boolean;
  /** Of a gRPC answer; −1: none. */
  readonly grpcStatus: number;
  /** Set from `Keep-Alive: timeout=` of the target, so that we close before it does. */
  idleMs: number;
  /** A response head that has not arrived whole. */
  partial: Buffer | null;
  /** Bytes of the current buffer wait for the client, so it must not be read into again. */
  isLent: boolean;
  /** Sends a request head, at the end of the turn at the latest. */
  post(text: string): void;
  /** To be called before anything is written that must follow what `post` was given. */
  flush(): void;
  /** Nothing of the last request has been given to the kernel. */
  readonly isUnsent: boolean;
  resume(): void;
  /** Back to the shared buffer: an idle tunnel must not hold 64 KiB. */
  shareBuffer(): void;
  /** Gives it back where it may carry another request. */
  release(): void;
  /** Ends it at once. */
  discard(): void;
  forget(): void;
}

/** One target as this proxy sees it. It outlives images in which it does not change. */
export class Target {
  readonly identity: TargetIdentity;
  readonly key: string;
  /** Plain HTTP/1.1, as nearly every target speaks it; the others by `Peer.key`. */
  readonly idle: SocketConnection[] = [];
  readonly idleByPeer = new Map<string, SocketConnection[]>();
  readonly sessions = new Map<string, UpstreamSession[]>();
  /** Every open connection of HTTP/1.1, idle ones included. */
  readonly open = new Set<SocketConnection>();
  /** Exchanges and tunnels in flight. */
  active = 0;
  requests = 0;
  /** Weighted mean of the time to the first byte; kept where a rule picks by it. */
  latencyMs = 0;
  failures = 0;
  isRetired = false;

  constructor(identity: TargetIdentity) {
    this.identity = identity;
    this.key = identityKey(identity);
  }

  /** Connections of every kind. */
  get connections(): number {
    let count = this.open.size;
    for (const sessions of this.sessions.values()) count += sessions.length;
    return count;
  }
}

export function identityKey(identity: TargetIdentity): string {
  return `${identity.id} ${identity.address} ${identity.port} ${identity.source ?? ''}`;
}

export class SocketConnection implements UpstreamConnection, Sender {
  readonly target: Target;
  readonly socket: net.Socket;
  readonly #pool: UpstreamPool;
  readonly #idle: SocketConnection[];
  events: UpstreamEvents;
  owner: unknown = null;
  isConnected = false;
  isHandshaking = false;
  isReused = false;
  isClosed = false;
  isEnded = false;
  isPaused = false;
  readonly isUnprocessed = false;
  readonly grpcStatus = -1;
  idleMs: number;
  partial: Buffer | null = null;
  isLent = false;
  /** A request head that is kept back to the end of the turn. */
  #outgoing = '';
  #own: Buffer | null = null;
  deadline = Infinity;
  wheelTick = -1;

  constructor(pool: UpstreamPool, target: Target, owner: unknown, peer: Peer | null, idle: SocketConnection[]) {
    this.#pool = pool;
    this.#idle = idle;
    this.events = pool.events;
    this.target = target;
    this.owner = owner;
    this.idleMs = pool.limits.upstreamIdleMs;
    const options = {
      ...socketOptions(target.identity),
      allowHalfOpen: true,
      onread: {
        buffer: () => this.#nextBuffer(),
        callback: (length: number, bytes: Uint8Array) => this.#read(length, bytes as Buffer),
      },
    };
    this.socket =
      peer === null ? net.connect(options) : tls.connect({ ...options, ...peer.tls } as tls.ConnectionOptions);
    if (peer !== null) this.socket.once('connect', () => (this.isHandshaking = true));
    this.socket.on(peer === null ? 'connect' : 'secureConnect', () => {
      this.isHandshaking = false;
      if (this.isClosed) return;
      this.isConnected = true;
      this.events.connected(this);
    });
    this.socket.on('end', () => this.#ended());
    this.socket.on('drain', () => this.events.drained(this));
    this.socket.on('error', (error) => this.#lost(error));
    this.socket.on('close', () => this.#lost(null));
  }

  /** Sends a request head; `isUnsent` until the end of the turn. */
  post(text: string): void {
    if (this.#outgoing === '') this.#pool.outbox.add(this);
    this.#outgoing += text;
  }

  /** Nothing of the last request has been given to the kernel. */
  get isUnsent(): boolean {
    return this.#outgoing !== '';
  }

  /** To be called before anything is written that must follow what `post` was given. */
  flush(): void {
    const text = this.#outgoing;
    if (text === '') return;
    this.#outgoing = '';
    if (!this.isClosed) this.socket.write(text, 'latin1');
  }

  /** Asked for before the first read and after each. */
  #nextBuffer(): Buffer {
    if (this.#own === null) return this.#pool.buffer;
    if (this.isLent) {
      this.isLent = false;
      this.#own = Buffer.allocUnsafeSlow(READ_BYTES);
    }
    return this.#own;
  }

  shareBuffer(): void {
    if (this.#own === null) return;
    this.#own = null;
    this.#pool.ownBuffers--;
  }

  #read(length: number, bytes: Buffer): boolean {
    if (this.isClosed) return false;
    if (length >= LARGE_READ_BYTES && this.#own === null && this.#pool.ownBuffers < OWN_BUFFERS_MAX) {
      this.#pool.ownBuffers++;
      this.#own = Buffer.allocUnsafeSlow(READ_BYTES);
    }
    if (this.owner === null) {
      // Bytes that nobody asked for: whatever comes next could be taken for the answer to another client's request.
      this.discard();
      return false;
    }
    const goesOn = this.events.bytes(this, bytes, length);
    if (!goesOn && !this.isClosed) this.isPaused = true;
    return goesOn;
  }

  #ended(): void {
    this.isEnded = true;
    if (this.isClosed) return;
    if (this.owner === null) this.discard();
    else this.events.ended(this);
  }

  #lost(error: NodeJS.ErrnoException | null): void {
    if (this.isClosed) return;
    const held = this.owner !== null;
    this.forget();
    if (held) this.events.failed(this, error);
    this.owner = null;
  }

  resume(): void {
    if (!this.isPaused || this.isClosed) return;
    this.isPaused = false;
    this.socket.resume();
  }

  onDeadline(): void {
    if (this.owner === null) this.discard();
    else this.events.timedOut(this);
  }

  release(): void {
    this.owner = null;
    this.partial = null;
    const { target } = this;
    const { limits, wheel } = this.#pool;
    const isFull = target.isRetired || this.#idle.length >= limits.idlePerTargetMax;
    if (isFull || this.isEnded || this.isPaused || this.isClosed) {
      this.discard();
      return;
    }
    this.#idle.push(this);
    wheel.set(this, this.idleMs);
  }

  discard(): void {
    if (this.isClosed) return;
    const isBusy = this.owner !== null;
    this.forget();
    this.owner = null;
    // FIN alone would let a target that allows half-closed clients work on for nobody.
    if (isBusy && this.isConnected && !this.isEnded) cut(this.socket);
    else this.socket.destroy();
  }

  forget(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.shareBuffer();
    this.target.open.delete(this);
    const at = this.#idle.lastIndexOf(this);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

export class UpstreamPool {
  readonly limits: Limits;
  readonly wheel: Wheel;
  readonly outbox: Outbox;
  readonly events: UpstreamEvents;
  /** Shared: valid until the end of the call that hands it out. */
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  ownBuffers = 0;

  constructor(limits: Limits, wheel: Wheel, outbox: Outbox, events: UpstreamEvents) {
    this.limits = limits;
    this.wheel = wheel;
    this.outbox = outbox;
    this.events = events;
  }

  /** An idle connection, or a new one that is still connecting; null when the target has too many. */
  acquire(
    target: Target,
    owner: unknown,
    wantsFresh: boolean,
    peer: Peer | null = null,
    connectMs: number = this.limits.connectTimeoutMs,
  ): UpstreamConnection | null {
    if (peer?.isHttp2 === true) return this.#stream(target, owner, wantsFresh, peer, connectMs);
    const idle = peer === null ? target.idle : listOf(target.idleByPeer, peer.key);
    for (let connection = wantsFresh ? undefined : idle.pop(); connection !== undefined; connection = idle.pop()) {
      if (connection.isClosed || connection.isEnded || connection.socket.destroyed) continue;
      connection.owner = owner;
      connection.events = this.events;
      connection.isReused = true;
      return connection;
    }
    if (target.open.size >= this.limits.connectionsPerTargetMax) return null;
    const connection = new SocketConnection(this, target, owner, peer, idle);
    target.open.add(connection);
    this.wheel.set(connection, connectMs);
    return connection;
  }

  #stream(target: Target, owner: unknown, wantsFresh: boolean, peer: Peer, connectMs: number) {
    const sessions = listOf(target.sessions, peer.key);
    let session = wantsFresh ? undefined : sessions.find((candidate) => candidate.hasRoom);
    if (session === undefined) {
      if (sessions.length >= this.limits.h2SessionsPerTargetMax) return null;
      session = new UpstreamSession(this, target, peer, connectMs);
      sessions.push(session);
    }
    return session.open(owner);
  }

  /** Whether one more request would need no new connection. */
  hasFree(target: Target, peer: Peer | null): boolean {
    if (peer === null) return target.idle.length > 0;
    if (!peer.isHttp2) return (target.idleByPeer.get(peer.key)?.length ?? 0) > 0;
    return target.sessions.get(peer.key)?.some((session) => session.hasRoom && session.isConnected) === true;
  }

  release(connection: UpstreamConnection): void {
    connection.release();
  }

  discard(connection: UpstreamConnection): void {
    connection.discard();
  }

  forget(connection: UpstreamConnection): void {
    connection.forget();
  }

  /** The target left the image: idle connections go now, busy ones when their exchange is over. */
  retire(target: Target): void {
    target.isRetired = true;
    for (const connection of target.idle.splice(0)) connection.discard();
    for (const idle of target.idleByPeer.values()) for (const connection of idle.splice(0)) connection.discard();
    for (const sessions of target.sessions.values()) for (const session of sessions.slice()) session.drain();
  }

  /** Everything goes at once. */
  close(target: Target): void {
    this.retire(target);
    for (const connection of target.open) connection.discard();
    for (const sessions of target.sessions.values()) for (const session of sessions.slice()) session.destroy();
  }
}

function listOf<T>(lists: Map<string, T[]>, key: string): T[] {
  let list = lists.get(key);
  if (list === undefined) {
    list = [];
    lists.set(key, list);
  }
  return list;
}
