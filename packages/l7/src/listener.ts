// Listening sockets (P20): one per family and vport on the wildcard, demultiplexed by the address that the client called;
// or one per VIP where the VIPs are addresses of this machine. An image moves sockets only where its set of ports changes.
import net from 'node:net';
import { countFailure, type Counters } from './counters.ts';
import type { CompiledImage, CompiledListener, Prepared } from './image.ts';
import { accept, type Accepted, type Binding } from './phase/accept.ts';
import { ConnectionLimits } from './policy/connections.ts';
import type { WorkerShare } from './scale/share.ts';

export type BindMode = 'wildcard' | 'vips';

interface Wanted {
  readonly host: string;
  readonly port: number;
  readonly byVip: Map<string, CompiledListener>;
}

interface Open {
  readonly server: net.Server;
  readonly bindings: Map<string, Binding>;
}

export interface ListenerOptions {
  readonly bind: BindMode;
  readonly reusePort: boolean;
  readonly connectionsMax: number;
  readonly counters: Counters;
  readonly share: WorkerShare | null;
  readonly onConnection: (socket: net.Socket, accepted: Accepted) => void;
}

export class ListeningSockets {
  readonly #options: ListenerOptions;
  readonly #open = new Map<string, Open>();
  readonly #limits: ConnectionLimits;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#limits = new ConnectionLimits(
      (reason) => countFailure(options.counters, reason),
      options.share?.counts ?? null,
    );
  }

  /** Opens what the image adds. Its commit swaps listeners and closes what the image drops. */
  async prepare(image: CompiledImage): Promise<Prepared> {
    const wanted = this.#wanted(image);
    const added = new Map<string, Open>();
    const abort = (): void => {
      for (const { server } of added.values()) server.close();
    };
    try {
      for (const [key, row] of wanted) {
        if (this.#open.has(key)) continue;
        const open = await this.#listen(row);
        if (open !== null) added.set(key, open);
      }
    } catch (error) {
      abort();
      throw error;
    }
    return { commit: () => this.#commit(wanted, added), abort };
  }

  #commit(wanted: ReadonlyMap<string, Wanted>, added: ReadonlyMap<string, Open>): void {
    for (const [key, open] of added) this.#open.set(key, open);
    for (const [key, open] of this.#open) {
      const row = wanted.get(key);
      bindAll(open.bindings, row?.byVip ?? new Map(), row?.port ?? 0);
      if (row !== undefined) continue;
      open.server.close();
      this.#open.delete(key);
    }
  }

  #wanted(image: CompiledImage): Map<string, Wanted> {
    const wanted = new Map<string, Wanted>();
    for (const listener of image.listeners) {
      if (listener.protocol === 'udp') continue;
      for (const vip of listener.vips) {
        const host = this.#options.bind === 'vips' ? vip : vip.includes(':') ? '::' : '0.0.0.0';
        const key = `${host} ${listener.port}`;
        let row = wanted.get(key);
        if (row === undefined) {
          row = { host, port: listener.port, byVip: new Map() };
          wanted.set(key, row);
        }
        row.byVip.set(vip, listener);
      }
    }
    return wanted;
  }

  async #listen({ host, port }: Wanted): Promise<Open | null> {
    const { connectionsMax, counters, onConnection, reusePort } = this.#options;
    const bindings = new Map<string, Binding>();
    const server = net.createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    server.maxConnections = connectionsMax;
    server.on('drop', () => countFailure(counters, 'connections-full'));
    server.on('connection', (socket) => {
      const accepted = accept(socket, bindings);
      if (accepted === null) {
        countFailure(counters, 'vip-unknown');
        socket.destroy();
        return;
      }
      this.#limits.admit(socket, accepted, (known) => onConnection(socket, known));
    });
    const { promise, resolve, reject } = Promise.withResolvers<Open | null>();
    server.once('error', (error: NodeJS.ErrnoException) => {
      // A machine without IPv6 still serves IPv4.
      const isMissingFamily = host === '::' && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL');
      if (isMissingFamily) resolve(null);
      else reject(error);
    });
    server.listen({ host, port, ipv6Only: host.includes(':'), reusePort, backlog: 4096 }, () => {
      server.removeAllListeners('error');
      // EMFILE and the like: the socket stays open, the connection is lost and counted.
      server.on('error', () => countFailure(counters, 'accept-error'));
      resolve({ server, bindings });
    });
    return promise;
  }

  addresses(): { address: string; port: number }[] {
    return [...this.#open.values()].map(({ server }) => {
      const { address, port } = server.address() as net.AddressInfo;
      return { address, port };
    });
  }

  /** Accepts no more. Connections that are open are not touched. */
  close(): void {
    for (const { server } of this.#open.values()) server.close();
    this.#open.clear();
  }
}

/** Connections hold bindings, so what they hold changes in place. */
function bindAll(bindings: Map<string, Binding>, byVip: ReadonlyMap<string, CompiledListener>, port: number): void {
  for (const [vip, binding] of bindings) {
    binding.listener = byVip.get(vip) ?? null;
    if (binding.listener === null) bindings.delete(vip);
  }
  for (const [vip, listener] of byVip) if (!bindings.has(vip)) bindings.set(vip, { port, listener });
}
