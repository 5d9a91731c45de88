// Connections to targets: one pool per whole peer identity (target id, address, port and source address: layer7.md 3.1).
// Connections read into one shared buffer, so an idle one costs no buffer and a busy one no allocation per read; one that
// brings large bodies gets a buffer of its own, which is written to the client without a copy.
import net from 'node:net';
import type { Limits } from './limits.ts';
import type { Outbox, Sender } from './outbox.ts';
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

/** One target as this proxy sees it. It outlives images in which it does not change. */
export class Target {
  readonly identity: TargetIdentity;
  readonly key: string;
  readonly idle: UpstreamConnection[] = [];
  /** Every open connection, idle ones included. */
  readonly open = new Set<UpstreamConnection>();
  /** Exchanges and tunnels in flight. */
  active = 0;
  requests = 0;
  /** Weighted mean of the time to the first byte; kept where a rule picks by it. */
  latencyMs = 0;
  failures = 0;
  isRetired = false;
  /** It failed too often just now: others are picked while there are any (`passive.ts`). */
  isResting = false;

  constructor(identity: TargetIdentity) {
    this.identity = identity;
    this.key = identityKey(identity);
  }
}

export function identityKey(identity: TargetIdentity): string {
  return `${identity.id} ${identity.address} ${identity.port} ${identity.source ?? ''}`;
}

export class UpstreamConnection implements Sender, Timed {
  readonly target: Target;
  readonly socket: net.Socket;
  readonly #pool: UpstreamPool;
  /** The exchange that holds this connection; null while idle. */
  owner: unknown = null;
  isConnected = false;
  isReused = false;
  isClosed = false;
  /** The target's FIN has been seen. */
  isEnded = false;
  isPaused = false;
  /** Set from `Keep-Alive: timeout=` of the target, so that we close before it does. */
  idleMs: number;
  /** A response head that has not arrived whole. */
  partial: Buffer | null = null;
  /** Bytes of the current buffer wait for the client, so it must not be read into again. */
  isLent = false;
  /** A request head that is kept back to the end of the turn. */
  #outgoing = '';
  #own: Buffer | null = null;
  deadline = Infinity;
  wheelTick = -1;

  constructor(pool: UpstreamPool, target: Target, owner: unknown) {
    this.#pool = pool;
    this.target = target;
    this.owner = owner;
    this.idleMs = pool.limits.upstreamIdleMs;
    const { address, port, source } = target.identity;
    this.socket = net.connect({
      host: address,
      port,
      ...(source === null ? {} : { localAddress: source }),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      allowHalfOpen: true,
      autoSelectFamily: false,
      onread: {
        buffer: () => this.#nextBuffer(),
        callback: (length, bytes) => this.#read(length, bytes as Buffer),
      },
    });
    this.socket.on('connect', () => {
      if (this.isClosed) return;
      this.isConnected = true;
      pool.events.connected(this);
    });
    this.socket.on('end', () => this.#ended());
    this.socket.on('drain', () => pool.events.drained(this));
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

  /** Back to the shared buffer: an idle tunnel must not hold 64 KiB. */
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
      this.#pool.discard(this);
      return false;
    }
    const goesOn = this.#pool.events.bytes(this, bytes, length);
    if (!goesOn && !this.isClosed) this.isPaused = true;
    return goesOn;
  }

  #ended(): void {
    this.isEnded = true;
    if (this.isClosed) return;
    if (this.owner === null) this.#pool.discard(this);
    else this.#pool.events.ended(this);
  }

  #lost(error: NodeJS.ErrnoException | null): void {
    if (this.isClosed) return;
    const held = this.owner !== null;
    this.#pool.forget(this);
    if (held) this.#pool.events.failed(this, error);
    this.owner = null;
  }

  resume(): void {
    if (!this.isPaused || this.isClosed) return;
    this.isPaused = false;
    this.socket.resume();
  }

  onDeadline(): void {
    if (this.owner === null) this.#pool.discard(this);
    else this.#pool.events.timedOut(this);
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
  acquire(target: Target, owner: unknown, wantsFresh: boolean): UpstreamConnection | null {
    for (
      let connection = wantsFresh ? undefined : target.idle.pop();
      connection !== undefined;
      connection = target.idle.pop()
    ) {
      if (connection.isClosed || connection.isEnded || connection.socket.destroyed) continue;
      connection.owner = owner;
      connection.isReused = true;
      return connection;
    }
    if (target.open.size >= this.limits.connectionsPerTargetMax) return null;
    const connection = new UpstreamConnection(this, target, owner);
    target.open.add(connection);
    this.wheel.set(connection, this.limits.connectTimeoutMs);
    return connection;
  }

  /** Gives a connection back that may carry another request. */
  release(connection: UpstreamConnection): void {
    const { target } = connection;
    connection.owner = null;
    connection.partial = null;
    const isFull = target.isRetired || target.idle.length >= this.limits.idlePerTargetMax;
    if (isFull || connection.isEnded || connection.isPaused || connection.isClosed) {
      this.discard(connection);
      return;
    }
    target.idle.push(connection);
    this.wheel.set(connection, connection.idleMs);
  }

  /** Ends a connection at once. */
  discard(connection: UpstreamConnection): void {
    if (connection.isClosed) return;
    const isBusy = connection.owner !== null;
    this.forget(connection);
    connection.owner = null;
    // FIN alone would let a target that allows half-closed clients work on for nobody.
    if (isBusy && connection.isConnected && !connection.isEnded) connection.socket.resetAndDestroy();
    else connection.socket.destroy();
  }

  forget(connection: UpstreamConnection): void {
    if (connection.isClosed) return;
    connection.isClosed = true;
    connection.shareBuffer();
    const { target } = connection;
    target.open.delete(connection);
    const at = target.idle.lastIndexOf(connection);
    if (at >= 0) target.idle.splice(at, 1);
  }

  /** The target left the image: idle connections go now, busy ones when their exchange is over. */
  retire(target: Target): void {
    target.isRetired = true;
    for (const connection of target.idle.splice(0)) this.discard(connection);
  }
}
