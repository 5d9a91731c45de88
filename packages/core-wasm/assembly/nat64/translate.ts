// NAT64 of one packet in place (RFC 7915): read → check → ends (by prefix, by binding, or by the caller) → write. Everything that may be
// refused or answered is asked before the first byte is written, so an answer quotes the packet as it came.
import { NONE, Nat64Ends, Nat64Flag, Nat64Reason, Nat64State, Nat64Verdict, Nat64View } from '../layout.gen';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, storeMapped } from '../wire/ipv4';
import { IPV6_BYTES } from '../wire/ipv6';
import { isByMapping, isMapped4, isUnicast6, toIpv4, toIpv6 } from './address';
import { answer, drop } from './answer';
import { headerBytes, writeHeader } from './header';
import { isError, isIcmp, moveError, moveQuery, queryOf, readQuote } from './icmp';
import { HEADER_GROWTH, LOWEST_MTU6, NO_ICMP, V4_FRAGMENTATION_NEEDED, V6_PACKET_TOO_BIG } from './icmp-map';
import { checkUdp, giveChecksum, moveEnds } from './transport';
import {
  FRAGMENT_BYTES,
  endsOf,
  isFragment,
  isSkippedHeader,
  outerOf,
  quotedEndsOf,
  quotedOf,
  readPacket,
} from './view';

const PROTOCOL_IGMP: u32 = 2;
const IP_MAX: u32 = 65535;
const FRAGMENTABLE_MAX: u32 = 1260;
const V4_TTL_EXCEEDED: u32 = 0x0b00;
const V6_HOPS_EXCEEDED: u32 = 0x0300;
const V4_SOURCE_ROUTE_FAILED: u32 = 0x0305;
const V6_HEADER_PROBLEM: u32 = 0x0400;
const V4_PROHIBITED: u32 = 0x030d;
const V6_PROHIBITED: u32 = 0x0101;

/** Reads the packet. Verdict None: go on with `check`, the ends, then `write`. */
export function open(n: Nat64State, at: usize, bytes: u32): Nat64Verdict {
  const view = outerOf(n);
  n.address = 0;
  n.bytes = 0;
  n.splitMtu = 0;
  n.reason = Nat64Reason.None;
  if (at < <usize>n.roomStart || <u64>at + bytes > <u64>n.roomEnd) return drop(n, Nat64Reason.NoRoom);
  const refused = readPacket(view, at, bytes, false);
  if (refused == Nat64Reason.ExtensionHeaders) return prohibit(n, view, refused);
  if (refused != Nat64Reason.None) return drop(n, refused);
  if (view.segmentsLeft == 0) return Nat64Verdict.None;
  const isV4 = view.family == 4;
  const kind = isV4 ? V4_SOURCE_ROUTE_FAILED : V6_HEADER_PROBLEM;
  return answer(n, view, Nat64Reason.SourceRoute, kind, isV4 ? 0 : view.segmentsLeft);
}

/** May it be translated? Nothing is written but an answer. */
export function check(n: Nat64State): Nat64Verdict {
  const view = outerOf(n);
  const reason = isIcmp(view) ? checkIcmp(n, view) : checkProtocol(n, view);
  if (reason == Nat64Reason.ZeroChecksum) return prohibit(n, view, reason);
  if (reason != Nat64Reason.None) return drop(n, reason);
  if (view.hops <= 1) {
    return answer(n, view, Nat64Reason.HopLimit, view.family == 4 ? V4_TTL_EXCEEDED : V6_HOPS_EXCEEDED, 0);
  }
  return checkLength(n, view);
}

/** What is discarded by policy is told to the sender as such (RFC 7915, 4.4 and 5.4). */
function prohibit(n: Nat64State, view: Nat64View, reason: Nat64Reason): Nat64Verdict {
  return answer(n, view, reason, view.family == 4 ? V4_PROHIBITED : V6_PROHIBITED, 0);
}

function checkIcmp(n: Nat64State, view: Nat64View): Nat64Reason {
  if (isFragment(view)) return Nat64Reason.IcmpFragment;
  if (view.l4Bytes < 8) return Nat64Reason.TooShort;
  if (queryOf(view) != NO_ICMP) return Nat64Reason.None;
  return isError(view) ? readQuote(n) : Nat64Reason.IcmpType;
}

function checkProtocol(n: Nat64State, view: Nat64View): Nat64Reason {
  const protocol = <u32>view.protocol;
  if (view.family == 6) return protocol == PROTOCOL_ICMP ? Nat64Reason.IcmpType : Nat64Reason.None;
  if (protocol == PROTOCOL_ICMPV6 || protocol == PROTOCOL_IGMP) return Nat64Reason.IcmpType;
  if (isSkippedHeader(protocol)) return Nat64Reason.ExtensionHeaders;
  return checkUdp(n, view);
}

/** RFC 7915, 4 and 5: who is told that a packet is too long, and which packets are split instead. */
function checkLength(n: Nat64State, view: Nat64View): Nat64Verdict {
  const total = headerBytes(view) + view.l4Bytes;
  if (view.family == 4) {
    if (view.l4 - n.roomStart < IPV6_BYTES + FRAGMENT_BYTES) return drop(n, Nat64Reason.NoRoom);
    // The translation cuts the quote of an error.
    if (isIcmpError(view)) return Nat64Verdict.None;
    if (total > IP_MAX) return drop(n, Nat64Reason.TooBig);
    if (view.dontFragment) {
      if (total <= n.mtu6) return Nat64Verdict.None;
      const overhead = HEADER_GROWTH + (view.hasFragmentHeader ? FRAGMENT_BYTES : 0);
      return answer(n, view, Nat64Reason.TooBig, V4_FRAGMENTATION_NEEDED, min(IP_MAX, n.mtu6 - overhead));
    }
    const most = min(n.mtu6, max(LOWEST_MTU6, n.lowestMtu6));
    if (total > most) n.splitMtu = most;
    return Nat64Verdict.None;
  }
  if (isIcmpError(view)) return Nat64Verdict.None;
  if (total > IP_MAX) return drop(n, Nat64Reason.TooBig);
  if (total <= n.mtu4) return Nat64Verdict.None;
  if (!view.hasFragmentHeader && total > FRAGMENTABLE_MAX) {
    return answer(n, view, Nat64Reason.TooBig, V6_PACKET_TOO_BIG, max(LOWEST_MTU6, n.mtu4 + HEADER_GROWTH));
  }
  n.splitMtu = n.mtu4;
  return Nat64Verdict.None;
}

export function isIcmpError(view: Nat64View): bool {
  return isIcmp(view) && queryOf(view) == NO_ICMP;
}

/** Writes the translated packet: its ends, and those of a quoted one, must be there. */
export function write(n: Nat64State): Nat64Verdict {
  const view = outerOf(n);
  const ends = endsOf(n);
  const toV6 = view.family == 4;
  let protocol = <u32>view.protocol;
  if (isIcmp(view)) {
    const query = queryOf(view);
    const refused = query == NO_ICMP ? moveError(n) : Nat64Reason.None;
    if (refused != Nat64Reason.None) return drop(n, refused);
    if (query != NO_ICMP) moveQuery(view, ends, query);
    protocol = toV6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP;
  } else {
    moveEnds(view, ends);
    if (toV6) giveChecksum(view, ends);
  }
  const header = headerBytes(view);
  const at = <usize>view.l4 - header;
  let identification: u32 = 0;
  if (!toV6 && !view.hasFragmentHeader) {
    identification = n.identification;
    n.identification = identification + 1;
  }
  writeHeader(n, at, view, ends, protocol, view.l4Bytes, view.hops - 1, identification);
  n.address = <u32>at;
  n.bytes = header + view.l4Bytes;
  return Nat64Verdict.Translated;
}

/** The IPv6 packet in hand goes to another mapped host, or is an error about a packet of one (RFC 7757, 4.2.2). */
let isHairpin: bool = false;

/** Ends by prefix and explicit mapping (RFC 7915, section 6). `isQuoted`: the quoted packet went the other way. */
function endsByPrefix(n: Nat64State, view: Nat64View, ends: Nat64Ends, isQuoted: bool): Nat64Reason {
  ends.sourcePort = NONE;
  ends.destinationPort = NONE;
  return view.family == 6 ? ends6(n, view, ends, isQuoted) : ends4(n, view, ends, isQuoted);
}

function ends6(n: Nat64State, view: Nat64View, ends: Nat64Ends, isQuoted: bool): Nat64Reason {
  const isRouter = !isQuoted && isIcmpError(view);
  // The side of the IPv6 hosts, then the far one: of a quoted packet the destination is ours.
  const near = isQuoted ? view.destination : view.source;
  const nearTo = isQuoted ? ends.destination : ends.source;
  const far = isQuoted ? view.source : view.destination;
  const farTo = isQuoted ? ends.source : ends.destination;
  const refused = toIpv4(n, near, n.localPrefix, n.localBits, nearTo);
  if (refused != Nat64Reason.None) {
    // A router between prefix and translator has no IPv4 address that is fit to be seen; its errors come from ours (RFC 6791).
    if (!isRouter || n.own4 == 0 || !isUnicast6(near)) return refused;
    storeMapped(nearTo, n.own4);
  }
  const refusedFar = toIpv4(n, far, n.remotePrefix, n.remoteBits, farTo);
  if (!isRouter && !isByMapping && refusedFar == Nat64Reason.None && n.flags & Nat64Flag.IntrinsicHairpin)
    isHairpin = isMapped4(n, load<u32>(farTo, 12));
  return refusedFar;
}

function ends4(n: Nat64State, view: Nat64View, ends: Nat64Ends, isQuoted: bool): Nat64Reason {
  const source = load<u32>(view.source, 12);
  const destination = load<u32>(view.destination, 12);
  const isRouter = !isQuoted && isIcmpError(view);
  let mapsFar = true;
  if (n.flags & (Nat64Flag.SimpleHairpin | Nat64Flag.IntrinsicHairpin)) {
    // Two mapped hosts know each other by the prefix; an error about their packets comes from where these went (RFC 7757, 4.2.1).
    const isFromEnd = !isRouter || source == load<u32>(quotedOf(n).destination, 12);
    mapsFar = !(isFromEnd && isMapped4(n, source) && isMapped4(n, destination));
  }
  const refused = isQuoted
    ? toIpv6(n, destination, n.remotePrefix, n.remoteBits, ends.destination, false, mapsFar)
    : toIpv6(n, source, n.remotePrefix, n.remoteBits, ends.source, isRouter, mapsFar);
  if (refused != Nat64Reason.None) return refused;
  return isQuoted
    ? toIpv6(n, source, n.localPrefix, n.localBits, ends.source)
    : toIpv6(n, destination, n.localPrefix, n.localBits, ends.destination);
}

/** The stateless translator: everything follows from the packet and the prefixes. */
export function translateStateless(n: Nat64State, at: usize, bytes: u32): Nat64Verdict {
  const first = stepStateless(n, at, bytes);
  if (first != Nat64Verdict.Translated || !isHairpin) return first;
  n.splitMtu = 0;
  const second = stepStateless(n, n.address, n.bytes);
  // An error about the second half would be for an address of ours: what cannot be delivered is dropped.
  return second == Nat64Verdict.Answered ? drop(n, <Nat64Reason>n.reason) : second;
}

function stepStateless(n: Nat64State, at: usize, bytes: u32): Nat64Verdict {
  isHairpin = false;
  let verdict = open(n, at, bytes);
  if (verdict == Nat64Verdict.None) verdict = check(n);
  if (verdict != Nat64Verdict.None) return verdict;
  const view = outerOf(n);
  let refused = endsByPrefix(n, view, endsOf(n), false);
  if (refused == Nat64Reason.None && isIcmpError(view)) {
    refused = endsByPrefix(n, quotedOf(n), quotedEndsOf(n), true);
  }
  return refused == Nat64Reason.None ? write(n) : drop(n, refused);
}
