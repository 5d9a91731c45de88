// One HTTP/2 connection to a target (RFC 9113) by node:http2. Its streams are lent to exchanges one by one (`stream.ts`).
// GOAWAY ends it for new streams; those that the target has not looked at come back as refused and may go elsewhere.
import http2, { type ClientHttp2Session } from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import type { Target, UpstreamPool } from '../upstream.ts';
import type { Timed } from '../wheel.ts';
import type { Peer } from './peer.ts';
import { socketOptions } from './socket.ts';
import { StreamConnection } from './stream.ts';

/** RFC 9113 6.5.2 asks for no less; what a target really allows comes with its SETTINGS. */
const FIRST_STREAMS = 100;

export class UpstreamSession implements Timed {
  readonly pool: UpstreamPool;
  readonly target: Target;
  readonly scheme: 'http' | 'https';
  readonly http2: ClientHttp2Session;
  readonly #key: string;
  readonly #streams = new Set<StreamConnection>();
  #streamsMax = FIRST_STREAMS;
  #wasUsed = false;
  isConnected = false;
  isHandshaking = false;
  /** No new streams: GOAWAY, a lost target, or one that no longer answers. */
  isDraining = false;
  isClosed = false;
  deadline = Infinity;
  wheelTick = -1;

  constructor(pool: UpstreamPool, target: Target, peer: Peer, connectMs: number) {
    this.pool = pool;
    this.target = target;
    this.#key = peer.key;
    this.scheme = peer.tls === null ? 'http' : 'https';
    const options = socketOptions(target.identity);
    const socket = peer.tls === null ? net.connect(options) : tls.connect({ ...options, ...peer.tls });
    if (peer.tls !== null) socket.once('connect', () => (this.isHandshaking = true));
    const { limits, wheel } = pool;
    this.http2 = http2.connect(`${this.scheme}://target`, {
      createConnection: () => socket,
      maxSessionMemory: 64,
      settings: {
        enablePush: false,
        initialWindowSize: limits.h2UpstreamWindowBytes,
        maxHeaderListSize: limits.responseHeadBytesMax,
      },
    });
    this.http2.on('connect', () => this.#connected(socket));
    this.http2.on('remoteSettings', ({ maxConcurrentStreams = FIRST_STREAMS }) => {
      this.#streamsMax = Math.min(limits.h2UpstreamStreamsMax, maxConcurrentStreams);
    });
    this.http2.on('goaway', () => this.drain());
    this.http2.on('error', (error: NodeJS.ErrnoException) => this.#closed(error));
    this.http2.on('close', () => this.#closed(null));
    wheel.set(this, connectMs);
  }

  #connected(socket: net.Socket): void {
    this.isHandshaking = false;
    if (this.isClosed) return;
    if (socket instanceof tls.TLSSocket && socket.alpnProtocol !== 'h2') {
      this.isHandshaking = true;
      this.destroy();
      return;
    }
    this.isConnected = true;
    this.pool.wheel.clear(this);
    for (const stream of this.#streams) stream.opened();
    this.#rest();
  }

  /** A stream may be opened on it now. */
  get hasRoom(): boolean {
    return !this.isDraining && !this.isClosed && this.#streams.size < this.#streamsMax;
  }

  open(owner: unknown): StreamConnection {
    const stream = new StreamConnection(this, owner, this.#wasUsed && this.isConnected);
    this.#wasUsed = true;
    this.#streams.add(stream);
    if (this.isConnected) this.pool.wheel.clear(this);
    return stream;
  }

  /** Called once for every stream that `open` gave. */
  closed(stream: StreamConnection): void {
    if (!this.#streams.delete(stream) || this.isClosed) return;
    this.#rest();
  }

  #rest(): void {
    if (this.#streams.size > 0 || !this.isConnected) return;
    if (this.isDraining || this.target.isRetired) this.http2.close();
    else this.pool.wheel.set(this, this.pool.limits.upstreamIdleMs);
  }

  /** Streams in flight end, new ones go to another connection. */
  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    this.#leave();
    if (this.#streams.size === 0 && !this.isClosed) this.http2.close();
  }

  destroy(): void {
    this.http2.destroy();
    this.#closed(null);
  }

  #leave(): void {
    const sessions = this.target.sessions.get(this.#key);
    const at = sessions?.indexOf(this) ?? -1;
    if (at >= 0) sessions!.splice(at, 1);
  }

  #closed(error: NodeJS.ErrnoException | null): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.isDraining = true;
    this.#leave();
    for (const stream of this.#streams) stream.lost(error);
    this.#streams.clear();
  }

  onDeadline(): void {
    if (!this.isConnected) {
      this.http2.destroy();
      this.#closed(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' }));
    } else if (this.#streams.size === 0) this.drain();
  }
}
