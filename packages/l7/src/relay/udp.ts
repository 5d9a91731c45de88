// A terminating UDP listener: one socket towards the target for each client address and port, closed after 300 s of silence (E2).
import dgram from 'node:dgram';
import type { CompiledImage, CompiledListener, Prepared } from '../image.ts';
import type { Target } from '../upstream.ts';
import type { Timed } from '../wheel.ts';
import { proxyHeader } from './proxy-protocol.ts';
import type { RelayContext } from './context.ts';

const IDLE_MS = 300_000;
const FLOWS_MAX = 20_000;

interface Flow extends Timed {
  readonly socket: dgram.Socket;
  readonly target: Target;
  isClosed: boolean;
}

interface Open {
  readonly socket: dgram.Socket;
  readonly vip: string;
  listener: CompiledListener;
  readonly flows: Map<string, Flow>;
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

  /** Binds what the image adds. Its commit closes what the image drops. */
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
    const open: Open = { socket, vip, listener, flows: new Map() };
    socket.on('message', (message, peer) => this.#message(open, message, peer));
    return open;
  }

  #message(open: Open, message: Buffer, peer: dgram.RemoteInfo): void {
    const key = `${peer.address} ${peer.port}`;
    const flow = open.flows.get(key) ?? this.#flow(open, key, peer);
    if (flow === null) return;
    this.#context.wheel.set(flow, IDLE_MS);
    const { address, port } = flow.target.identity;
    const { clientAddress, clientPort, vip, vport } = endpointsOf(open, peer);
    const header = proxyHeader(
      this.#context.proxyProtocol === 'v2' ? 'v2' : 'off',
      { clientAddress, clientPort, vip, vport },
      'udp',
    );
    flow.socket.send(header.length === 0 ? message : Buffer.concat([header, message]), port, address);
  }

  #flow(open: Open, key: string, peer: dgram.RemoteInfo): Flow | null {
    const { listener } = open;
    if (open.flows.size >= FLOWS_MAX) {
      this.#context.count('udp-flows-full');
      return null;
    }
    const member = listener.group!.pick({
      scheduler: listener.scheduler,
      listener: listener.name,
      tried: [],
      ...endpointsOf(open, peer),
    });
    if (member === null) {
      this.#context.count('no-target');
      return null;
    }
    const { target } = member;
    const socket = dgram.createSocket(target.identity.address.includes(':') ? 'udp6' : 'udp4');
    const flow: Flow = {
      socket,
      target,
      isClosed: false,
      deadline: Infinity,
      wheelTick: -1,
      onDeadline() {
        closeFlow(flow);
        open.flows.delete(key);
      },
    };
    socket.on('error', () => this.#context.count('udp-error'));
    socket.on('message', (answer) => {
      this.#context.wheel.set(flow, IDLE_MS);
      open.socket.send(answer, peer.port, peer.address);
    });
    if (target.identity.source !== null) socket.bind({ address: target.identity.source });
    target.active++;
    target.requests++;
    open.flows.set(key, flow);
    return flow;
  }

  addresses(): { address: string; port: number }[] {
    return [...this.#open.values()].map(({ socket }) => socket.address());
  }

  close(): void {
    for (const open of this.#open.values()) closeOpen(open);
    this.#open.clear();
  }
}

function endpointsOf(open: Open, peer: dgram.RemoteInfo) {
  return { clientAddress: peer.address, clientPort: peer.port, vip: open.vip, vport: open.listener.port };
}

function closeFlow(flow: Flow): void {
  if (flow.isClosed) return;
  flow.isClosed = true;
  flow.target.active--;
  flow.socket.close();
}

function closeOpen(open: Open): void {
  open.socket.close();
  for (const flow of open.flows.values()) closeFlow(flow);
  open.flows.clear();
}
