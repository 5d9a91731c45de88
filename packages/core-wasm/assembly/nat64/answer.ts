// ICMP errors of the translator itself (RFC 7915, 4.4 and 5.4): written into the room, over the packet that they quote.
import { Nat64Reason, Nat64State, Nat64Verdict, Nat64View } from '../layout.gen';
import { sumOfPseudoHeader } from '../wire/checksum';
import { Icmpv4 } from '../wire/icmpv4';
import { Icmpv6 } from '../wire/icmpv6';
import { IPV4_BYTES, Ipv4, PROTOCOL_ICMP, PROTOCOL_ICMPV6, storeMapped } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';
import { isUnicast4, isUnicast6 } from './address';
import { isLater, quotedEndsOf } from './view';

const ICMP_BYTES: u32 = 8;
const TTL: u32 = 64;
/** RFC 1812, 4.3.2.3 and RFC 4443, 2.4 (c): the largest error. */
const ERROR_MAX_V4: u32 = 576;
const ERROR_MAX_V6: u32 = 1280;
/** Credit is counted in thousandths, as time is. */
const ONE_ERROR: u32 = 1000;
const ECHO_REPLY: u32 = 0;
const ECHO: u32 = 8;

export function drop(n: Nat64State, reason: Nat64Reason): Nat64Verdict {
  n.reason = reason;
  n.bytes = 0;
  return Nat64Verdict.Dropped;
}

/** Answers with a type and code of the packet's own family; `rest` is the word behind the checksum. Dropped where no answer is due. */
export function answer(n: Nat64State, view: Nat64View, reason: Nat64Reason, typeAndCode: u32, rest: u32): Nat64Verdict {
  if (!mayAnswer(view) || n.roomStart + IPV6_BYTES + ICMP_BYTES + IPV6_BYTES > n.roomEnd) return drop(n, reason);
  const isV4 = view.family == 4;
  if (isV4 ? n.own4 == 0 : load<u64>(n.own6) == 0) return drop(n, reason);
  if (n.errorsPerSecond != 0 && !isDue(n)) return drop(n, reason);
  const header = (isV4 ? IPV4_BYTES : IPV6_BYTES) + ICMP_BYTES;
  const most = min((isV4 ? ERROR_MAX_V4 : ERROR_MAX_V6) - header, n.roomEnd - n.roomStart - header);
  const quoted = min(view.l4 + view.l4Bytes - view.l3, most);
  const at = <usize>n.roomStart;
  memory.copy(at + header, view.l3, quoted);
  const icmp = at + header - ICMP_BYTES;
  store<u32>(icmp, (typeAndCode >> 8) | ((typeAndCode & 0xff) << 8));
  store<u32>(icmp, bswap<u32>(rest), 4);
  const bytes = ICMP_BYTES + quoted;
  if (isV4) {
    const own = quotedEndsOf(n).source;
    storeMapped(own, n.own4);
    Icmpv4.at(icmp).setChecksum(bytes);
    Ipv4.at(at).setOuter(0, IPV4_BYTES + bytes, TTL, PROTOCOL_ICMP, own, view.source);
  } else {
    const ip = Ipv6.at(at);
    ip.setVersionClassAndLabel(0, 0);
    ip.setPayloadLength(bytes);
    ip.setNextHeader(PROTOCOL_ICMPV6);
    ip.setHopLimit(TTL);
    ip.setSource(n.own6);
    ip.setDestination(view.source);
    Icmpv6.at(icmp).setChecksum(sumOfPseudoHeader(n.own6, view.source, PROTOCOL_ICMPV6, bytes), bytes);
  }
  n.reason = reason;
  n.address = <u32>at;
  n.bytes = header + quoted;
  return Nat64Verdict.Answered;
}

/** A token bucket, one second deep (RFC 4443, 2.4 (f); RFC 7915, 4.4 and 5.4). */
function isDue(n: Nat64State): bool {
  const elapsed = min<u32>(n.nowMs - n.errorMs, ONE_ERROR);
  n.errorMs = n.nowMs;
  n.errorCredit = min(n.errorsPerSecond * ONE_ERROR, n.errorCredit + elapsed * n.errorsPerSecond);
  if (n.errorCredit < ONE_ERROR) return false;
  n.errorCredit -= ONE_ERROR;
  return true;
}

/** RFC 1122, 3.2.2 and RFC 4443, 2.4 (e): never about an error, a later fragment, or from or to a group. */
function mayAnswer(view: Nat64View): bool {
  if (isLater(view)) return false;
  if (view.family == 4) {
    if (!isUnicast4(load<u32>(view.source, 12)) || !isUnicast4(load<u32>(view.destination, 12))) return false;
    if (view.protocol != <u8>PROTOCOL_ICMP) return true;
    const type = <u32>load<u8>(view.l4);
    return view.l4Bytes != 0 && (type == ECHO || type == ECHO_REPLY);
  }
  if (!isUnicast6(view.source) || load<u8>(view.destination) == 0xff) return false;
  return view.protocol != <u8>PROTOCOL_ICMPV6 || (view.l4Bytes != 0 && load<u8>(view.l4) >= 128);
}
