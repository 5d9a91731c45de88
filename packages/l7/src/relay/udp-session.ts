// One UDP session: datagrams of one client address and port to one target, and the target's answers back.
import dgram from 'node:dgram';
import type { CompiledListener } from '../image.ts';
import type { Target } from '../upstream.ts';
import type { Timed } from '../wheel.ts';
import type { RelayContext } from './context.ts';
import { proxyHeader } from './proxy-protocol.ts';

const IDLE_MS = 300_000;
/** Datagrams kept while the socket is being connected, which takes one turn of the event loop. */
const WAITING_MAX = 16;

/** The listening side of sessions. */
export interface UdpSide {
  readonly socket: dgram.Socket;
  readonly vip: string;
  readonly listener: CompiledListener;
}

export class UdpSession implements Timed {
  readonly #context: RelayContext;
  readonly #side: UdpSide;
  readonly #peer: dgram.RemoteInfo;
  readonly #target: Target;
  readonly #socket: dgram.Socket;
  readonly #onClosed: () => void;
  readonly #header: Buffer;
  readonly #idleMs: number;
  readonly #startedAt = performance.now();
  #waiting: Buffer[] | null = [];
  #bytesIn = 0;
  #bytesOut = 0;
  isClosed = false;
  deadline = Infinity;
  wheelTick = -1;

  /** Picks a target; null when there is none, which is counted. */
  static open(context: RelayContext, side: UdpSide, peer: dgram.RemoteInfo, onClosed: () => void): UdpSession | null {
    const { listener, vip } = side;
    const most = Math.min(listener.relay?.connectionsPerTargetMax ?? Infinity, context.limits.connectionsPerTargetMax);
    const tried: Target[] = [];
    for (;;) {
      const member = listener.group!.pick({
        scheduler: listener.scheduler,
        listener: listener.name,
        tried,
        clientAddress: peer.address,
        clientPort: peer.port,
        vip,
        vport: listener.port,
      });
      if (member === null) {
        context.count(tried.length > 0 ? 'target-full' : 'no-target');
        return null;
      }
      if (member.target.active < most) return new UdpSession(context, side, peer, member.target, onClosed);
      tried.push(member.target);
    }
  }

  private constructor(
    context: RelayContext,
    side: UdpSide,
    peer: dgram.RemoteInfo,
    target: Target,
    onClosed: () => void,
  ) {
    this.#context = context;
    this.#side = side;
    this.#peer = peer;
    this.#target = target;
    this.#onClosed = onClosed;
    const { relay, port: vport } = side.listener;
    this.#idleMs = relay?.idleMs ?? IDLE_MS;
    const isV2 = (relay?.proxyProtocol ?? context.proxyProtocol) === 'v2';
    const endpoints = { clientAddress: peer.address, clientPort: peer.port, vip: side.vip, vport };
    this.#header = proxyHeader(isV2 ? 'v2' : 'off', endpoints, 'udp');
    target.active++;
    target.requests++;
    this.#socket = this.#dial();
  }

  /** A connected socket hears its target alone, and is told when nobody listens there. */
  #dial(): dgram.Socket {
    const { address, port, source } = this.#target.identity;
    const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', () => this.#failed());
    socket.on('message', (answer) => {
      this.#context.wheel.set(this, this.#idleMs);
      this.#bytesOut += answer.length;
      this.#side.socket.send(answer, this.#peer.port, this.#peer.address);
    });
    socket.on('connect', () => {
      const waiting = this.#waiting ?? [];
      this.#waiting = null;
      for (const datagram of waiting) socket.send(datagram);
    });
    const connect = (): void => (this.isClosed ? undefined : socket.connect(port, address));
    if (source === null) connect();
    else socket.bind({ address: source }, connect);
    return socket;
  }

  send(message: Buffer): void {
    this.#context.wheel.set(this, this.#idleMs);
    this.#bytesIn += message.length;
    const datagram = this.#header.length === 0 ? message : Buffer.concat([this.#header, message]);
    if (this.#waiting === null) this.#socket.send(datagram, () => {});
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push(datagram);
    else this.#context.count('udp-error');
  }

  /** Port unreachable: the next datagram of the client opens a session anew, at another target if this one rests. */
  #failed(): void {
    if (this.isClosed) return;
    this.#context.count('udp-error');
    this.#target.failures++;
    this.#context.onTargetFailure(this.#target);
    this.close('upstream-unreachable');
  }

  onDeadline(): void {
    this.close('idle');
  }

  close(failure: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#target.active--;
    this.#socket.close();
    const { counters, connectionLog } = this.#context;
    counters.bytesIn += this.#bytesIn;
    counters.bytesOut += this.#bytesOut;
    this.#onClosed();
    if (connectionLog === null) return;
    const { address, port } = this.#target.identity;
    const durationMs = performance.now() - this.#startedAt;
    connectionLog({
      time: Date.now() - durationMs,
      listener: this.#side.listener.name,
      protocol: 'udp',
      remoteAddress: this.#peer.address,
      remotePort: this.#peer.port,
      vip: this.#side.vip,
      vport: this.#side.listener.port,
      upstreamAddress: `${address}:${port}`,
      attempts: 1,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      durationMs,
      failure,
    });
  }
}
