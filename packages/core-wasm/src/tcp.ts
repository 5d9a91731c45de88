// TCP handshakes and options as a library: SYN cookies (RFC 4987; data-plane.md P26), sequence translation, TOA, PROXY
// protocol v2. Packets begin with the IP header (IPv4 or IPv6, no fragments); what is returned is a copy. A packet that
// is no whole TCP segment is thrown back as a PacketError with the code Protocol, a longer one than 65,535 bytes as a
// RangeError.
import {
  CookieState,
  CookieVerdict,
  Segment,
  TcpOption,
  TcpView,
  cookieVerdictEnum,
  meterLimits,
  nameOf,
} from '../layout/index.ts';
import { formatAddress, parseAddress } from './address.ts';
import { type CookieKeys, writeCookieKeys } from './cookie.ts';
import { PacketError } from './standalone.ts';
import { WORKBENCH_START, type Workbench, type WorkbenchOptions, openWorkbench } from './workbench.ts';

/** Options of a segment (RFC 9293, 3.1); what is absent was not there. */
export interface TcpOptions {
  readonly mss?: number;
  /** Shift, at most 14 (RFC 7323, 2.3). */
  readonly scale?: number;
  readonly sackPermitted: boolean;
  readonly timestamps?: { readonly value: number; readonly echo: number };
  /** Left and right edges (RFC 2018). */
  readonly sack: readonly (readonly [left: number, right: number])[];
  /** The list runs past the header; what stood in front of that is here. */
  readonly isMalformed: boolean;
}

/** What the client had offered in its SYN, recovered from the cookie and our timestamp. */
export interface ProvenHandshake {
  readonly client: { readonly address: string; readonly port: number };
  readonly vip: { readonly address: string; readonly port: number };
  readonly clientSequence: number;
  /** Our initial sequence number: the cookie. */
  readonly ourSequence: number;
  /** Rounded down to 216, 536, 1220, 1340, 1380, 1420, 1440 or 1460. */
  readonly mss: number;
  readonly scale?: number;
  readonly sackPermitted: boolean;
  /** The client's TSval in this segment and ours that it returns. */
  readonly timestamps?: { readonly value: number; readonly echo: number };
  /**
   * The SYN for the target: from the client to the VIP, with these options; to be translated like any packet of the
   * client.
   */
  readonly syn: Uint8Array;
}

/** Why a SYN cookie was not accepted. */
export type CookieRefusal = 'NoAck' | 'Aged' | 'Forged' | 'NotReady';

/** What is added to the numbers of one direction, modulo 2^32. */
export interface Translation {
  /** Added to the sequence number, modulo 2^32 as all of these; may be negative. */
  readonly sequence?: number;
  /** Added to the acknowledgment number and every edge of SACK blocks, when the segment acknowledges. */
  readonly acknowledgment?: number;
  readonly tsval?: number;
  readonly tsecr?: number;
  /** Window scale that the reader of this segment believes in, minus the one it was written with. */
  readonly windowShift?: number;
}

/** The two ends that a PROXY header names. */
export interface ProxiedEnds {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** The client that a TOA option names, and how it is written. */
export interface ToaClient {
  /** IPv4 or IPv6, as text. */
  readonly address: string;
  readonly port: number;
  /** Of the option; 254 (RFC 3692) by default, Tencent's 200 for IPv4 and 253 for IPv6. */
  readonly kind?: 200 | 253 | 254;
  /** Bytes that the packet may have with it; 1,500 by default. */
  readonly limit?: number;
}

/**
 * TCP by itself: options (RFC 9293), SYN cookies (RFC 4987), sequence translation with SACK (RFC 2018) and timestamps
 * (RFC 7323), TOA, PROXY protocol. Packets are IP packets without link header.
 */
export interface TcpTools {
  readOptions(packet: Uint8Array): TcpOptions;
  /**
   * The SYN/ACK that answers a SYN without keeping anything: window scale 7, window 16 KiB, MSS `mss`. `nowMs` is the
   * clock of our timestamps. undefined when the packet is no SYN.
   */
  synAck(
    syn: Uint8Array,
    options: { readonly keys: CookieKeys; readonly mss: number; readonly nowMs: number; readonly net?: number },
  ): Uint8Array | undefined;
  /** Any segment that may carry a cookie of ours in its acknowledgment; a name says why it does not. */
  checkCookie(
    packet: Uint8Array,
    options: { readonly keys: CookieKeys; readonly net?: number },
  ): ProvenHandshake | CookieRefusal;
  /** The segment with other numbers, checksum updated (RFC 1624). The same with the opposite numbers takes it back. */
  translate(packet: Uint8Array, by: Translation): Uint8Array;
  /**
   * The segment with the client's address as an option: kind 254 (default), or Tencent's 200 for IPv4 and 253 for IPv6.
   * undefined when there is no room in 40 bytes of options or in `limit` (1,500) bytes of packet.
   */
  insertToa(packet: Uint8Array, client: ToaClient): Uint8Array | undefined;
  /** The segment with no-operations in place of every client address, and how many there were. */
  stripToa(packet: Uint8Array): { readonly packet: Uint8Array; readonly stripped: number };
  /**
   * A PROXY protocol header, version 2: 28 bytes for IPv4, 52 for IPv6. Throws a RangeError when the families differ.
   */
  proxyHeader(protocol: 'tcp' | 'udp', ends: ProxiedEnds): Uint8Array;
  /**
   * The TCP segment or UDP datagram with that header in front of its data. In TCP every later number shifts by its
   * length. undefined when the packet would be longer than `limit` (1,500).
   */
  insertProxyHeader(packet: Uint8Array, ends: ProxiedEnds, limit?: number): Uint8Array | undefined;
}

const PACKET_MAX = 65_535;
const TCP = 6;
const UDP = 17;
const LIMIT = 1500;
const SYN_ACK_ROOM = 128;
/** Places in the workbench; what is put into packets lies in front of them. */
const STATE = WORKBENCH_START;
const VIEW = STATE + 128;
const SEGMENT = VIEW + 64;
const FIRST = SEGMENT + 64;
const SECOND = FIRST + 16;
const PACKET = WORKBENCH_START + 512;

/** The TCP tools in an instance of their own. Rejects when the wasm does not compile. */
export async function createTcp(options: WorkbenchOptions = {}): Promise<TcpTools> {
  return new Tools(await openWorkbench(512 + PACKET_MAX + SYN_ACK_ROOM, options));
}

class Tools implements TcpTools {
  private readonly bench: Workbench;
  constructor(bench: Workbench) {
    this.bench = bench;
  }

  readOptions(packet: Uint8Array): TcpOptions {
    const tcp = this.lay(packet, TCP);
    this.bench.call('readOptionsOne', VIEW, tcp);
    const flags = this.view('flags');
    const has = (option: number): boolean => (flags & option) !== 0;
    const sackAt = tcp + this.view('sackAt');
    return {
      ...(has(TcpOption.Mss) ? { mss: this.view('mss') } : {}),
      ...(has(TcpOption.Scale) ? { scale: this.view('scale') } : {}),
      sackPermitted: has(TcpOption.SackPermitted),
      ...(has(TcpOption.Timestamp) ? { timestamps: { value: this.view('tsval'), echo: this.view('tsecr') } } : {}),
      sack: Array.from({ length: this.view('sackBlocks') }, (_, block) => [
        this.bench.view.getUint32(sackAt + block * 8),
        this.bench.view.getUint32(sackAt + block * 8 + 4),
      ]),
      isMalformed: has(TcpOption.Malformed),
    };
  }

  synAck(
    syn: Uint8Array,
    options: { readonly keys: CookieKeys; readonly mss: number; readonly nowMs: number; readonly net?: number },
  ): Uint8Array | undefined {
    const tcp = this.lay(syn, TCP);
    this.writeKeys(options.keys);
    const room = syn.length + SYN_ACK_ROOM;
    const { mss, nowMs, net = 0 } = options;
    const clock = Math.floor(nowMs % 2 ** 32) | 0;
    const bytes = this.bench.call('makeSynAckOne', PACKET, tcp, room, STATE, VIEW, SEGMENT, net, mss, clock);
    return bytes === 0 ? undefined : this.take(bytes);
  }

  checkCookie(
    packet: Uint8Array,
    options: { readonly keys: CookieKeys; readonly net?: number },
  ): ProvenHandshake | CookieRefusal {
    const tcp = this.lay(packet, TCP);
    this.writeKeys(options.keys);
    const verdict = this.bench.call('checkCookieOne', PACKET, tcp, STATE, VIEW, SEGMENT, options.net ?? 0);
    if (verdict !== CookieVerdict.Valid) return nameOf(cookieVerdictEnum, verdict) as CookieRefusal;
    const scale = this.segment('scale');
    const timestamps = { value: this.segment('tsval'), echo: this.segment('tsecr') };
    return {
      client: { address: this.address('source'), port: this.segment('sourcePort') },
      vip: { address: this.address('destination'), port: this.segment('destinationPort') },
      clientSequence: this.segment('sequence'),
      ourSequence: this.segment('acknowledgment'),
      mss: this.segment('mss'),
      ...(scale === meterLimits.NO_SCALE ? {} : { scale }),
      sackPermitted: this.segment('sackPermitted') === 1,
      ...(this.segment('hasTimestamp') === 1 ? { timestamps } : {}),
      syn: this.writeSyn(),
    };
  }

  translate(packet: Uint8Array, by: Translation): Uint8Array {
    const tcp = this.lay(packet, TCP);
    const { sequence = 0, acknowledgment = 0, tsval = 0, tsecr = 0, windowShift = 0 } = by;
    if (Math.abs(windowShift) > 14) throw new RangeError(`A window shift lies between -14 and 14, not ${windowShift}`);
    this.bench.call('translateSegmentOne', tcp, sequence | 0, acknowledgment | 0, tsval | 0, tsecr | 0, windowShift);
    return this.take(packet.length);
  }

  insertToa(packet: Uint8Array, client: ToaClient): Uint8Array | undefined {
    const tcp = this.lay(packet, TCP);
    this.bench.bytes.set(parseAddress(client.address), FIRST);
    const { port, kind = meterLimits.TOA_KIND, limit = LIMIT } = client;
    return this.widened(packet, this.bench.call('insertToaOne', PACKET, tcp, kind, FIRST, port, limit));
  }

  stripToa(packet: Uint8Array): { readonly packet: Uint8Array; readonly stripped: number } {
    const stripped = this.bench.call('stripToaOne', this.lay(packet, TCP));
    return { packet: this.take(packet.length), stripped };
  }

  proxyHeader(protocol: 'tcp' | 'udp', ends: ProxiedEnds): Uint8Array {
    const values = this.ends(ends);
    return this.take(this.bench.call('writeProxyHeader', PACKET, protocol === 'tcp' ? TCP : UDP, ...values));
  }

  insertProxyHeader(packet: Uint8Array, ends: ProxiedEnds, limit: number = LIMIT): Uint8Array | undefined {
    const values = this.ends(ends);
    const isUdp = this.find(packet, UDP) !== 0;
    const l4 = this.lay(packet, isUdp ? UDP : TCP);
    const protocol = isUdp ? UDP : TCP;
    return this.widened(packet, this.bench.call('insertProxyHeader', PACKET, l4, protocol, ...values, limit));
  }

  /** Lays the packet down; address of its transport header. */
  private lay(packet: Uint8Array, protocol: number): number {
    const offset = this.find(packet, protocol);
    if (offset === 0) throw new PacketError('Protocol', 'not one whole TCP segment in IPv4 or IPv6');
    return PACKET + offset;
  }

  private find(packet: Uint8Array, protocol: number): number {
    if (packet.length > PACKET_MAX) throw new RangeError(`A packet has at most ${PACKET_MAX} bytes`);
    this.bench.bytes.set(packet, PACKET);
    return this.bench.call('transportAt', PACKET, packet.length, protocol);
  }

  private take(bytes: number): Uint8Array {
    return this.bench.bytes.slice(PACKET, PACKET + bytes);
  }

  private widened(packet: Uint8Array, by: number): Uint8Array | undefined {
    return by === 0 ? undefined : this.bench.bytes.slice(PACKET - by, PACKET + packet.length);
  }

  private ends(ends: ProxiedEnds): [source: number, destination: number, sourcePort: number, destinationPort: number] {
    if (ends.source.includes(':') !== ends.destination.includes(':'))
      throw new RangeError('Source and destination must be of one family');
    this.bench.bytes.set(parseAddress(ends.source), FIRST);
    this.bench.bytes.set(parseAddress(ends.destination), SECOND);
    return [FIRST, SECOND, ends.sourcePort, ends.destinationPort];
  }

  private writeKeys(keys: CookieKeys): void {
    this.bench.bytes.fill(0, STATE, STATE + CookieState.bytes);
    writeCookieKeys({ buffer: this.bench.bytes.buffer }, STATE, keys, 0);
  }

  private writeSyn(): Uint8Array {
    return this.take(this.bench.call('writeSegmentOne', PACKET, SYN_ACK_ROOM, SEGMENT));
  }

  private address(field: 'source' | 'destination'): string {
    return formatAddress(this.bench.bytes.slice(SEGMENT + Segment.at[field], SEGMENT + Segment.at[field] + 16));
  }

  private segment(field: keyof typeof Segment.at): number {
    return numberAt(this.bench.view, SEGMENT + Segment.at[field], Segment.fields[field][0]);
  }

  private view(field: keyof typeof TcpView.at): number {
    return numberAt(this.bench.view, VIEW + TcpView.at[field], TcpView.fields[field][0]);
  }
}

function numberAt(view: DataView, at: number, type: string): number {
  if (type === 'u8') return view.getUint8(at);
  return type === 'u16' ? view.getUint16(at, true) : view.getUint32(at, true);
}
