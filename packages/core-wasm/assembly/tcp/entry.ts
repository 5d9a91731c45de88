// Meters, cookies, TCP and SCTP for programs that use the core alone (src/tcp.ts, src/meters.ts, src/sctp.ts): every
// argument is a number, every address absolute. Whoever calls has laid the bytes there; the walks call the functions
// behind these directly.
import { CookieState, Meter, Segment, TcpView } from '../layout.gen';
import { meterConnection, meterPacket } from '../table/bucket';
import { crc32c } from '../wire/crc32c';
import { Ipv4, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { Ipv6, MALFORMED, findTransport, isFragment, transportOffset, transportProtocol } from '../wire/ipv6';
import { Sctp } from '../wire/sctp';
import { Tcp } from '../wire/tcp';
import { Udp } from '../wire/udp';
import { checkCookie, makeSynAck } from './cookie';
import { packetBytes } from './insert';
import { readOptions, stripToa } from './options';
import { insertProxyHeader, writeProxyHeader } from './proxy2';
import { writeSegment } from './segment';
import { translateQuoted, translateSegment } from './sequence';
import { insertToa } from './toa';

export { crc32c, insertProxyHeader, writeProxyHeader };

/** Offset of a whole TCP, UDP or SCTP header in the IP packet; 0: another protocol, a fragment, or malformed. */
export function transportAt(ip: usize, bytes: u32, protocol: u32): u32 {
  let offset: u32 = 0;
  let found: u32 = 0;
  if (bytes != 0 && load<u8>(ip) >> 4 == 4) {
    const v4 = Ipv4.at(ip);
    if (!v4.isWellFormed(bytes) || v4.isFragment) return 0;
    offset = v4.headerBytes;
    found = v4.protocol;
  } else {
    const v6 = Ipv6.at(ip);
    if (!v6.isWellFormed(bytes)) return 0;
    const answer = findTransport(v6);
    if (answer == MALFORMED || isFragment(answer)) return 0;
    offset = transportOffset(answer);
    found = transportProtocol(answer);
  }
  if (found != protocol) return 0;
  const rest = packetBytes(ip) - offset;
  const at = ip + offset;
  const isWhole =
    protocol == PROTOCOL_TCP
      ? Tcp.at(at).isWellFormed(rest)
      : protocol == PROTOCOL_UDP
        ? Udp.at(at).isWellFormed(rest)
        : protocol == PROTOCOL_SCTP && Sctp.at(at).isWellFormed(rest);
  return isWhole ? offset : 0;
}

export function meterPacketOne(meter: usize, bits: u32, now: u32): u32 {
  return meterPacket(Meter.at(meter), bits, now);
}
export function meterConnectionOne(meter: usize, now: u32): u32 {
  return meterConnection(Meter.at(meter), now);
}

export function readOptionsOne(view: usize, tcp: usize): void {
  readOptions(TcpView.at(view), Tcp.at(tcp));
}
export function stripToaOne(tcp: usize): u32 {
  return stripToa(Tcp.at(tcp));
}
export function insertToaOne(ip: usize, tcp: usize, kind: u32, client: usize, port: u32, limit: u32): u32 {
  return insertToa(ip, Tcp.at(tcp), kind, client, port, limit);
}
export function translateSegmentOne(
  tcp: usize,
  sequenceAdd: u32,
  acknowledgmentAdd: u32,
  tsvalAdd: u32,
  tsecrAdd: u32,
  windowShift: i32,
): void {
  translateSegment(Tcp.at(tcp), sequenceAdd, acknowledgmentAdd, tsvalAdd, tsecrAdd, windowShift);
}
export function translateQuotedOne(tcp: usize, bytes: u32, sequenceAdd: u32): u32 {
  return translateQuoted(Tcp.at(tcp), bytes, sequenceAdd);
}
export function writeSegmentOne(ip: usize, room: u32, segment: usize): u32 {
  return writeSegment(ip, room, Segment.at(segment));
}
export function makeSynAckOne(
  ip: usize,
  tcp: usize,
  room: u32,
  state: usize,
  view: usize,
  segment: usize,
  net: u32,
  mss: u32,
  nowMs: u32,
): u32 {
  const into = Segment.at(segment);
  return makeSynAck(ip, Tcp.at(tcp), room, CookieState.at(state), TcpView.at(view), into, net, mss, nowMs);
}
export function checkCookieOne(ip: usize, tcp: usize, state: usize, view: usize, segment: usize, net: u32): u32 {
  return checkCookie(ip, Tcp.at(tcp), CookieState.at(state), TcpView.at(view), Segment.at(segment), net);
}
export function sctpIsInit(at: usize, bytes: u32): bool {
  return Sctp.at(at).isInit(bytes);
}
export function sctpIsEnd(at: usize): bool {
  return Sctp.at(at).isEnd;
}
export function sctpIsChecksumValid(at: usize, bytes: u32): bool {
  return Sctp.at(at).isChecksumValid(bytes);
}
export function sctpSetChecksum(at: usize, bytes: u32): void {
  Sctp.at(at).setChecksum(bytes);
}
export function sctpRewritePorts(at: usize, bytes: u32, source: u32, destination: u32): void {
  Sctp.at(at).rewriteSourcePort(source, bytes);
  Sctp.at(at).rewriteDestinationPort(destination, bytes);
}
