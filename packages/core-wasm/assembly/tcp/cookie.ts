// SYN cookies (RFC 4987, 3.6; data-plane.md P26): the handshake is answered without a state. Every director that knows
// the cluster secret makes and checks the same cookies.
//
// The cookie is our initial sequence number: 27 bits of SipHash, 2 bits of the epoch, 3 bits of the MSS. Hashed are
// both ends, the net, the client's initial sequence number and the MSS; the key belongs to the epoch. Of 2^32
// acknowledgments 3 epochs x 8 MSS are valid. What a cookie has no room for lies in the low bits of our timestamp,
// which the client returns: window scale and SACK. The client could change them, to its own damage alone.
import {
  COOKIE_EPOCHS_ASIDE,
  CookieState,
  CookieVerdict,
  NO_SCALE,
  PROXY_SCALE,
  PROXY_WINDOW_BYTES,
  Segment,
  TcpOption,
  TcpView,
} from '../layout.gen';
import { Ipv4 } from '../wire/ipv4';
import { Ipv6 } from '../wire/ipv6';
import { TCP_ACK, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';
import { readOptions } from './options';
import { writeSegment } from './segment';
import { sipHash } from './siphash';

const HASH_SHIFT: u64 = 37;
const LOW_BITS: u32 = 5;
const MSS_MASK: u32 = 7;
const EPOCH_SHIFT: u32 = 3;
const EPOCH_MASK: u32 = 3;
const KEYS: usize = 16;
const KEY_BYTES: usize = 16;
/** Low bits of our timestamp: 4 of the window scale, 1 of SACK. */
const CARRIED_MASK: u32 = 31;
const SCALE_MASK: u32 = 15;
const SACK_BIT: u32 = 16;
const SCALE_MAX: u32 = 14;
/** RFC 9293, 3.7.1: what a SYN without the option means. */
const MSS_DEFAULT_V4: u32 = 536;
const MSS_DEFAULT_V6: u32 = 1220;
const MSS_COUNT: u32 = 8;
/** The client's MSS is rounded down to one of these; below the first nothing sensible is left. */
const MSS_VALUES: usize = memory.data<u16>([216, 536, 1220, 1340, 1380, 1420, 1440, 1460]);

/**
 * Writes a SYN/ACK over the SYN at `ip`, `room` bytes from there, which must hold a well-formed TCP header at `tcp`.
 * `mss` is what we take ourselves. A client without timestamps gets the MSS alone, because nothing else of its options
 * could be recovered. Returns the bytes of the packet; 0: no keys yet, no room, or no SYN. Leaves the answer in
 * `segment`.
 */
export function makeSynAck(
  ip: usize,
  tcp: Tcp,
  room: u32,
  state: CookieState,
  view: TcpView,
  segment: Segment,
  net: u32,
  mss: u32,
  nowMs: u32,
): u32 {
  if ((tcp.flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN || !isReady(state)) return 0;
  readOptions(view, tcp);
  const isV4 = readEnds(ip, tcp, segment);
  const offered: u32 = (view.flags & <u16>TcpOption.Mss) != 0 ? view.mss : isV4 ? MSS_DEFAULT_V4 : MSS_DEFAULT_V6;
  const index = mssIndex(offered);
  const epoch = state.epoch;
  segment.sequence = cookieOf(state, epoch, segment.destination, segment.source, ports(tcp), tcp.sequence, net, index);
  segment.acknowledgment = tcp.sequence + 1;
  segment.flags = <u8>(TCP_SYN | TCP_ACK);
  segment.window = <u16>PROXY_WINDOW_BYTES;
  segment.mss = <u16>mss;
  const hasTimestamp = (view.flags & <u16>TcpOption.Timestamp) != 0;
  const hasScale = hasTimestamp && view.scale != <u8>NO_SCALE;
  segment.hasTimestamp = hasTimestamp ? 1 : 0;
  segment.sackPermitted = hasTimestamp && (view.flags & <u16>TcpOption.SackPermitted) != 0 ? 1 : 0;
  segment.scale = <u8>(hasScale ? PROXY_SCALE : NO_SCALE);
  segment.tsval = carry(nowMs + state.clockMs, hasScale ? <u32>view.scale : SCALE_MASK, segment.sackPermitted != 0);
  segment.tsecr = view.tsval;
  return writeSegment(ip, room, segment);
}

/** A SYN/ACK goes back where the SYN came from. True for IPv4. */
function readEnds(at: usize, tcp: Tcp, segment: Segment): bool {
  segment.sourcePort = <u16>tcp.destinationPort;
  segment.destinationPort = <u16>tcp.sourcePort;
  if (load<u8>(at) >> 4 == 4) {
    Ipv4.at(at).copySourceTo(segment.destination);
    Ipv4.at(at).copyDestinationTo(segment.source);
    return true;
  }
  Ipv6.at(at).copySourceTo(segment.destination);
  Ipv6.at(at).copyDestinationTo(segment.source);
  return false;
}

/**
 * Any segment of the client proves the handshake (the bare ACK may be lost, or land elsewhere) whose sequence number is
 * the client's initial one plus 1: that number goes into the SYN to the target. When Valid, `segment` is that SYN: ends
 * of the client and the VIP, the client's sequence number and options; `acknowledgment` holds our cookie and `tsecr`
 * our timestamp. When not, it means nothing.
 */
export function checkCookie(
  ip: usize,
  tcp: Tcp,
  state: CookieState,
  view: TcpView,
  segment: Segment,
  net: u32,
): CookieVerdict {
  if ((tcp.flags & (TCP_ACK | TCP_SYN | TCP_RST)) != TCP_ACK) return CookieVerdict.NoAck;
  if (!isReady(state)) return CookieVerdict.NotReady;
  const cookie = tcp.acknowledgment - 1;
  const ahead = ((cookie >> EPOCH_SHIFT) - (state.epoch - COOKIE_EPOCHS_ASIDE)) & EPOCH_MASK;
  if (ahead > 2 * COOKIE_EPOCHS_ASIDE) return CookieVerdict.Aged;
  const epoch = state.epoch - COOKIE_EPOCHS_ASIDE + ahead;
  const index = cookie & MSS_MASK;
  const isn = tcp.sequence - 1;
  // What readEnds calls the source is the VIP; the SYN to the target goes the other way.
  readEnds(ip, tcp, segment);
  if (cookie != cookieOf(state, epoch, segment.destination, segment.source, ports(tcp), isn, net, index)) {
    return CookieVerdict.Forged;
  }
  turn(segment);
  readOptions(view, tcp);
  segment.sequence = isn;
  segment.acknowledgment = cookie;
  segment.flags = <u8>TCP_SYN;
  segment.window = <u16>0xffff;
  segment.mss = mssAt(index);
  recover(view, segment);
  return CookieVerdict.Valid;
}

/** The options that a client with timestamps has in our timestamp; a client without them has none. */
function recover(view: TcpView, segment: Segment): void {
  const hasTimestamp = (view.flags & <u16>TcpOption.Timestamp) != 0;
  const carried = view.tsecr & CARRIED_MASK;
  const scale = carried & SCALE_MASK;
  segment.hasTimestamp = hasTimestamp ? 1 : 0;
  segment.tsval = view.tsval;
  segment.tsecr = hasTimestamp ? view.tsecr : 0;
  segment.sackPermitted = hasTimestamp && (carried & SACK_BIT) != 0 ? 1 : 0;
  segment.scale = <u8>(hasTimestamp && scale <= SCALE_MAX ? scale : NO_SCALE);
}

function turn(segment: Segment): void {
  const high = load<u64>(segment.source);
  const low = load<u64>(segment.source, 8);
  const port = segment.sourcePort;
  memory.copy(segment.source, segment.destination, 16);
  store<u64>(segment.destination, high);
  store<u64>(segment.destination, low, 8);
  segment.sourcePort = segment.destinationPort;
  segment.destinationPort = port;
}

function isReady(state: CookieState): bool {
  return atomic.load<u32>(changetype<usize>(state), offsetof<CookieState>('isReady')) != 0;
}

/** Client port low, vport high. */
function ports(tcp: Tcp): u32 {
  return tcp.sourcePort | (tcp.destinationPort << 16);
}

function cookieOf(
  state: CookieState,
  epoch: u32,
  client: usize,
  vip: usize,
  ports: u32,
  isn: u32,
  net: u32,
  index: u32,
): u32 {
  const key = changetype<usize>(state) + KEYS + <usize>(epoch & EPOCH_MASK) * KEY_BYTES;
  const hash = sipHash(key, client, vip, ((<u64>isn) << 32) | ports, ((<u64>index) << 32) | net);
  return ((<u32>(hash >> HASH_SHIFT)) << LOW_BITS) | ((epoch & EPOCH_MASK) << EPOCH_SHIFT) | index;
}

function mssIndex(mss: u32): u32 {
  let index = MSS_COUNT - 1;
  while (index > 0 && <u32>mssAt(index) > mss) index--;
  return index;
}

function mssAt(index: u32): u16 {
  return load<u16>(MSS_VALUES + ((<usize>index) << 1));
}

/** The newest timestamp not after the clock whose low bits say this, so that timestamps never run ahead. */
function carry(clock: u32, scale: u32, hasSack: bool): u32 {
  const bits = scale | (hasSack ? SACK_BIT : 0);
  return clock - ((clock - bits) & CARRIED_MASK);
}
