// A terminating UDP listener: one session for each client address and port, with a socket of its own towards the target, closed after
// 300 s of silence (E2) or what the listener says.
import dgram from 'node:dgram';
import type { CompiledImage, CompiledListener, Prepared } from '../image.ts';
import type { RelayContext } from './context.ts';
import { mayEnter } from './policy.ts';
import { UdpSession } from './udp-session.ts';

const SESSIONS_MAX = 20_000;

interface Open {
  readonly socket: dgram.Socket;
  readonly vip: string;
  listener: CompiledListener;
  readonly sessions: Map<string, UdpSession>;
  readonly byClient: Map<string, number>;
}

/** All UDP listeners of a proxy. Each VIP has its own socket, so that answers leave from the VIP. */
export class UdpRelays {
  readonly #context: RelayContext;
  readonly #reusePort: boolean;
  readonly #open = new Map<string, Open>();

  constructor(context: RelayContext, reusePort: boolean) {
    this.#context = context;
    this.#reusePort = reusePort;
  }

  /** Binds what the image adds. Its commit closes what the image drops; sessions of what stays go on. */
  async prepare(image: CompiledImage): Promise<Prepared> {
    const wanted = new Map<string, { vip: string; listener: CompiledListener }>();
    for (const listener of image.listeners) {
      if (listener.protocol !== 'udp') continue;
      for (const vip of listener.vips) wanted.set(`${vip} ${listener.port}`, { vip, listener });
    }
    const added = new Map<string, Open>();
    const abort = (): void => {
      for (const open of added.values()) closeOpen(open);
    };
    try {
      for (const [key, { vip, listener }] of wanted) {
        if (!this.#open.has(key)) added.set(key, await this.#bind(vip, listener));
      }
    } catch (error) {
      abort();
      throw error;
    }
    const commit = (): void => {
      for (const [key, open] of added) this.#open.set(key, open);
      for (const [key, open] of this.#open) {
        const row = wanted.get(key);
        if (row === undefined) {
          closeOpen(open);
          this.#open.delete(key);
        } else open.listener = row.listener;
      }
    };
    return { commit, abort };
  }

  async #bind(vip: string, listener: CompiledListener): Promise<Open> {
    const socket = dgram.createSocket({
      // An IPv4 socket does not know the option and refuses to be bound with it.
      ...(vip.includes(':') ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' }),
      reusePort: this.#reusePort,
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('error', reject);
    socket.bind({ address: vip, port: listener.port }, resolve);
    await promise;
    socket.off('error', reject);
    socket.on('error', () => this.#context.count('udp-error'));
    const open: Open = { socket, vip, listener, sessions: new Map(), byClient: new Map() };
    socket.on('message', (message, peer) => this.#message(open, message, peer));
    return open;
  }

  #message(open: Open, message: Buffer, peer: dgram.RemoteInfo): void {
    const key = `${peer.address} ${peer.port}`;
    const session = open.sessions.get(key) ?? this.#begin(open, key, peer);
    session?.send(message);
  }

  /** Null, and counted, where a limit or a network forbids it or no target is left. */
  #begin(open: Open, key: string, peer: dgram.RemoteInfo): UdpSession | null {
    const { listener, sessions, byClient } = open;
    const { relay } = listener;
    const refuse = (reason: string): null => {
      this.#context.count(reason);
      return null;
    };
    if (relay !== null && !mayEnter(relay, peer.address)) return refuse('source-denied');
    if (sessions.size >= Math.min(SESSIONS_MAX, relay?.connectionsMax ?? Infinity)) return refuse('udp-flows-full');
    const own = byClient.get(peer.address) ?? 0;
    if (own >= (relay?.connectionsPerClientMax ?? Infinity)) return refuse('client-full');
    const session = UdpSession.open(this.#context, open, peer, () => {
      if (sessions.get(key) !== session) return;
      sessions.delete(key);
      const left = byClient.get(peer.address)! - 1;
      if (left === 0) byClient.delete(peer.address);
      else byClient.set(peer.address, left);
    });
    if (session === null) return null;
    sessions.set(key, session);
    byClient.set(peer.address, own + 1);
    return session;
  }

  addresses(): { address: string; port: number }[] {
    return [...this.#open.values()].map(({ socket }) => socket.address());
  }

  close(): void {
    for (const open of this.#open.values()) closeOpen(open);
    this.#open.clear();
  }
}

function closeOpen(open: Open): void {
  // Each leaves the map while it is walked, which a Map allows.
  for (const session of open.sessions.values()) session.close('');
  open.socket.close();
}
