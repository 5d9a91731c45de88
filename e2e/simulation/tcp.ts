// A small TCP (RFC 9293) on virtual time, for clients and servers of the simulation: handshake, sequence checks, cumulative
// acknowledgement, go-back-N retransmission, MSS and path MTU (RFC 1191), FIN, and RST inside the window only (RFC 5961).
// Data say who sent them: every 16 bytes name connection, direction, VPC and offset, so a byte of somebody else is seen.
import type { VirtualClock } from './clock.ts';
import { type Ends, Flag, type Packet, type Segment, tcpPacket } from './packet.ts';

const RECORD = 16;
const MAGIC = 0x51ab1e00;
const WINDOW_SEGMENTS = 8;
const RTO_MS = 200;
const RTO_MS_MAX = 1_600;
/** About twenty seconds without an answer. */
const TRIES_MAX = 15;
const REPLAY_WINDOW = 1 << 16;

export interface Tag {
  readonly connection: number;
  /** 0 from the client, 1 from the server. */
  readonly direction: number;
  readonly net: number;
}

/** `bytes` of the stream from `offset` on; both multiples of 16. */
export function stream(tag: Tag, offset: number, bytes: number): Buffer {
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += RECORD) {
    data.writeUInt32BE(MAGIC | tag.direction, at);
    data.writeUInt32BE(tag.connection, at + 4);
    data.writeUInt32BE(tag.net, at + 8);
    data.writeUInt32BE(offset + at, at + 12);
  }
  return data;
}

/** What is not as `stream` would have written it. */
export function streamFault(tag: Tag, offset: number, data: Buffer): string | undefined {
  return data.equals(stream(tag, offset, data.length))
    ? undefined
    : `expected connection ${tag.connection} direction ${tag.direction} net ${tag.net} offset ${offset}, came ${data.subarray(0, RECORD).toString('hex')} of ${data.length} bytes`;
}

export const connectionOf = (data: Buffer): number | undefined =>
  data.length >= RECORD && (data.readUInt32BE(0) & ~1) >>> 0 === MAGIC ? data.readUInt32BE(4) : undefined;

export type TcpState = 'syn-sent' | 'syn-received' | 'established' | 'closed' | 'reset' | 'timeout';

export interface TcpOptions {
  readonly clock: VirtualClock;
  readonly ends: Ends;
  readonly out: Tag;
  readonly in: Tag;
  readonly initialSequence: number;
  readonly mss: number;
  send(packet: Buffer): void;
  /** More of the peer's stream has come. */
  onData(total: number): void;
  onState(state: TcpState): void;
  /** Bytes that are not of this stream. */
  onFault(fault: string): void;
}

export class Tcp {
  state: TcpState = 'syn-sent';
  readonly options: TcpOptions;
  mss: number;
  retransmissions = 0;
  private una: number;
  private nxt: number;
  private rcv = 0;
  private readonly iss: number;
  private irs = 0;
  /** Bytes that the application has written so far. */
  private written = 0;
  private isFinWanted = false;
  private finSeen = false;
  private tries = 0;
  private timer = 0;

  constructor(options: TcpOptions) {
    this.options = options;
    this.iss = options.initialSequence;
    this.una = this.iss;
    this.nxt = this.iss;
    this.mss = options.mss;
  }

  get isOver(): boolean {
    return this.state === 'closed' || this.state === 'reset' || this.state === 'timeout';
  }
  /** Bytes of the peer that came in order. */
  get received(): number {
    return Math.max(0, ((this.rcv - this.irs) >>> 0) - 1 - (this.finSeen ? 1 : 0));
  }

  connect(): void {
    this.segment({ flags: Flag.Syn, sequence: this.iss, acknowledgement: 0, mss: this.options.mss });
    this.nxt = (this.iss + 1) >>> 0;
    this.arm();
  }

  accept(syn: Packet): void {
    this.state = 'syn-received';
    this.irs = syn.sequence;
    this.rcv = (syn.sequence + 1) >>> 0;
    this.mss = Math.min(this.mss, syn.mss ?? 536);
    this.synAck();
    this.nxt = (this.iss + 1) >>> 0;
    this.arm();
  }

  write(bytes: number): void {
    if (this.isFinWanted) return;
    this.written += bytes;
    this.pump();
  }

  close(): void {
    this.isFinWanted = true;
    this.pump();
  }

  /** The path carries packets of this size only. */
  narrow(mtu: number, headerBytes: number): void {
    const mss = mtu - headerBytes;
    if (mss >= this.mss || mss < 256) return;
    this.mss = mss;
    if (this.state !== 'established') return;
    this.nxt = this.una;
    this.pump();
  }

  input(packet: Packet): void {
    if (this.isOver) return this.inputClosed(packet);
    if ((packet.flags & Flag.Rst) !== 0) return this.inputReset(packet);
    if (this.state === 'syn-sent') return this.inputSynSent(packet);
    if ((packet.flags & Flag.Syn) !== 0) {
      // The peer has not heard our answer.
      if (packet.sequence !== this.irs) return this.acknowledge();
      return this.state === 'syn-received' ? this.synAck() : this.acknowledge();
    }
    if ((packet.flags & Flag.Ack) === 0) return;
    this.inputAcknowledgement(packet);
    this.inputData(packet);
    this.end();
    this.pump();
  }

  private inputClosed(packet: Packet): void {
    // TIME_WAIT: the last acknowledgement was lost.
    if (this.state === 'closed' && (packet.flags & Flag.Fin) !== 0) this.acknowledge();
  }

  private inputReset(packet: Packet): void {
    const isOurs =
      this.state === 'syn-sent'
        ? packet.acknowledgement === (this.iss + 1) >>> 0
        : (packet.sequence - this.rcv) >>> 0 < REPLAY_WINDOW;
    if (isOurs) this.become('reset');
  }

  private inputSynSent(packet: Packet): void {
    if ((packet.flags & (Flag.Syn | Flag.Ack)) !== (Flag.Syn | Flag.Ack)) return;
    if (packet.acknowledgement !== (this.iss + 1) >>> 0) return;
    this.irs = packet.sequence;
    this.rcv = (packet.sequence + 1) >>> 0;
    this.una = packet.acknowledgement;
    this.mss = Math.min(this.mss, packet.mss ?? 536);
    this.progress();
    this.become('established');
    this.acknowledge();
    this.pump();
  }

  private inputAcknowledgement({ acknowledgement }: Packet): void {
    const advance = (acknowledgement - this.una) >>> 0;
    const most = (this.iss + 1 + this.written + 1 - this.una) >>> 0;
    if (advance === 0 || advance > most) return;
    this.una = acknowledgement;
    if ((this.nxt - this.una) >>> 0 > REPLAY_WINDOW) this.nxt = this.una;
    this.progress();
    if (this.state === 'syn-received') this.become('established');
  }

  private inputData({ sequence, payload, flags }: Packet): void {
    const isFin = (flags & Flag.Fin) !== 0;
    if (payload.length === 0 && !isFin) return;
    const skip = (this.rcv - sequence) >>> 0;
    if (skip <= payload.length && !this.finSeen) {
      const fresh = payload.subarray(skip);
      if (fresh.length > 0) {
        const fault = streamFault(this.options.in, this.received, fresh);
        if (fault !== undefined) this.options.onFault(fault);
        this.rcv = (this.rcv + fresh.length) >>> 0;
        this.options.onData(this.received);
      }
      if (isFin) {
        this.rcv = (this.rcv + 1) >>> 0;
        this.finSeen = true;
        this.isFinWanted = true;
      }
    }
    this.acknowledge();
  }

  private end(): void {
    if (this.finSeen && this.isFinSent && this.una === this.nxt) this.become('closed');
  }

  private get isFinSent(): boolean {
    return this.isFinWanted && this.nxt === (this.iss + 2 + this.written) >>> 0;
  }

  private pump(): void {
    if (this.state !== 'established') return;
    const room = Math.floor(this.mss / RECORD) * RECORD;
    const before = this.nxt;
    for (;;) {
      const sent = (this.nxt - this.iss - 1) >>> 0;
      if ((this.nxt - this.una) >>> 0 >= WINDOW_SEGMENTS * room) break;
      if (sent < this.written) {
        const bytes = Math.min(room, this.written - sent);
        const payload = stream(this.options.out, sent, bytes);
        this.segment({ flags: Flag.Ack | Flag.Psh, sequence: this.nxt, acknowledgement: this.rcv, payload });
        this.nxt = (this.nxt + bytes) >>> 0;
      } else if (this.isFinWanted && sent === this.written) {
        this.segment({ flags: Flag.Fin | Flag.Ack, sequence: this.nxt, acknowledgement: this.rcv });
        this.nxt = (this.nxt + 1) >>> 0;
      } else break;
    }
    if (this.nxt !== before) this.arm();
  }

  private synAck(): void {
    const { mss } = this.options;
    this.segment({ flags: Flag.Syn | Flag.Ack, sequence: this.iss, acknowledgement: this.rcv, mss });
  }

  private acknowledge(): void {
    this.segment({ flags: Flag.Ack, sequence: this.nxt, acknowledgement: this.rcv });
  }

  private segment(segment: Segment): void {
    this.options.send(tcpPacket(this.options.ends, segment));
  }

  private progress(): void {
    this.tries = 0;
    this.timer++;
    if (this.una !== this.nxt) this.arm();
  }

  private arm(): void {
    const timer = ++this.timer;
    const ms = Math.min(RTO_MS * 2 ** this.tries, RTO_MS_MAX);
    this.options.clock.after(ms, () => {
      if (timer !== this.timer || this.isOver || this.una === this.nxt) return;
      this.retransmit();
    });
  }

  private retransmit(): void {
    if (++this.tries > TRIES_MAX) return this.become('timeout');
    this.retransmissions++;
    if (this.state === 'syn-sent') return this.connect();
    if (this.state === 'syn-received') {
      this.synAck();
      return this.arm();
    }
    this.nxt = this.una;
    this.pump();
  }

  private become(state: TcpState): void {
    this.state = state;
    this.options.onState(state);
  }
}
