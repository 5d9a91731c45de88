// The stateful translator (RFC 6146): which binding and session a packet belongs to, made or refused, and with them its new ends.
import {
  NONE,
  Nat64Ends,
  Nat64Flag,
  Nat64Fragment,
  Nat64Reason,
  Nat64State,
  Nat64Tables,
  Nat64Tcp,
  Nat64Verdict,
  Nat64View,
} from '../layout.gen';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, storeMapped } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { TCP_BYTES, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';
import { UDP_BYTES, Udp } from '../wire/udp';
import { isInside, toIpv4, toIpv6 } from './address';
import { answer, drop } from './answer';
import { find, note, remember } from './fragment';
import { isError, isIcmp } from './icmp';
import { addressOf, bind, bindReason, isPool } from './pool';
import { checkFragment, collect } from './reassembly';
import { advance, enter, hold, release, wantedPort } from './session';
import {
  addSession,
  bindingAt,
  dropUnused,
  findBinding4,
  findBinding6,
  findSession,
  fullReason,
  peerSessions,
  sessionAt,
  tablesOf,
} from './table';
import { check, isIcmpError, open, write } from './translate';
import { endsOf, isFragment, isLater, outerOf, quotedEndsOf, quotedOf } from './view';

const V4_HOST_UNREACHABLE: u32 = 0x0301;
const V4_PROHIBITED: u32 = 0x030d;
const V4_PROTOCOL_UNREACHABLE: u32 = 0x0302;
const V6_ADDRESS_UNREACHABLE: u32 = 0x0103;
const V6_PORT_UNREACHABLE: u32 = 0x0104;
const IDENTIFIER: usize = 4;
const ICMP_BYTES: u32 = 8;

/** Translates by binding and session; a packet to another IPv6 host behind us takes both ways at once (3.8). */
export function translateStateful(n: Nat64State, at: usize, bytes: u32): Nat64Verdict {
  const start = n.roomStart;
  const end = n.roomEnd;
  const verdict = translateBothWays(n, at, bytes);
  // A datagram that was put together has been translated where it lies.
  n.roomStart = start;
  n.roomEnd = end;
  return verdict;
}

function translateBothWays(n: Nat64State, at: usize, bytes: u32): Nat64Verdict {
  const t = tablesOf(n);
  const first = step(n, t, at, bytes);
  if (first != Nat64Verdict.Translated || outerOf(n).family == 4) return first;
  if (!isPool(t, load<u32>(endsOf(n).destination, 12))) return first;
  t.hairpins += 1;
  n.splitMtu = 0;
  // An error about the second half would be for an address of ours: what cannot be delivered is dropped.
  const second = step(n, t, n.address, n.bytes);
  return second == Nat64Verdict.Answered ? drop(n, <Nat64Reason>n.reason) : second;
}

function step(n: Nat64State, t: Nat64Tables, at: usize, bytes: u32): Nat64Verdict {
  let verdict = open(n, at, bytes);
  if (verdict != Nat64Verdict.None) return verdict;
  const view = outerOf(n);
  const ends = endsOf(n);
  ends.sourcePort = NONE;
  ends.destinationPort = NONE;
  const isFrom6 = view.family == 6;
  if (isFrom6 && isInside(view.source, n.remotePrefix, n.remoteBits)) return drop(n, Nat64Reason.HairpinLoop);
  const isRouter = isIcmp(view) && view.l4Bytes >= ICMP_BYTES && !isFragment(view) && isError(view);
  // The end on the IPv4 side follows from the prefix; the other one from the binding.
  const refused = isFrom6
    ? toIpv4(n, view.destination, n.remotePrefix, n.remoteBits, ends.destination)
    : toIpv6(n, load<u32>(view.source, 12), n.remotePrefix, n.remoteBits, ends.source, isRouter);
  if (refused != Nat64Reason.None) return drop(n, refused);
  if (!isFrom6 && !isPool(t, load<u32>(view.destination, 12))) return drop(n, Nat64Reason.NotTranslatable);
  if (isFragment(view)) {
    verdict = collectFragment(n, t, view);
    if (verdict != Nat64Verdict.None) return verdict;
  }
  verdict = check(n);
  if (verdict != Nat64Verdict.None) return verdict;
  const other = isFrom6 ? ends.source : ends.destination;
  if (isIcmpError(view)) return errorEnds(n, t, other);
  if (isLater(view)) return laterFragment(n, t, view, other);
  const decided = isFrom6 ? fromV6(n, t, view, ends) : fromV4(n, t, view, ends);
  if (decided != Nat64Verdict.None) return decided;
  if (isFragment(view)) {
    const isSecond = remember(t, view, other);
    if (isSecond != Nat64Reason.None) return drop(n, isSecond);
  }
  return write(n);
}

/** None: go on with the fragment, or with the datagram that it completed. */
function collectFragment(n: Nat64State, t: Nat64Tables, view: Nat64View): Nat64Verdict {
  const protocol = <u32>view.protocol;
  if (!isIcmp(view) && protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP) return refuseProtocol(n, view);
  const refused = checkFragment(view, protocol == PROTOCOL_TCP ? TCP_BYTES : UDP_BYTES);
  return refused == Nat64Reason.None ? collect(n, t) : drop(n, refused);
}

/** The first fragment has told where the others go. */
function laterFragment(n: Nat64State, t: Nat64Tables, view: Nat64View, other: usize): Nat64Verdict {
  const found = find(t, view);
  if (found == 0) return drop(n, Nat64Reason.FragmentLimit);
  const row = Nat64Fragment.at(found);
  const refused = note(row, view);
  if (refused != Nat64Reason.None) return drop(n, refused);
  copyAddress(other, row.other);
  return write(n);
}

/** The IPv4 number of TCP, UDP or ICMP with a whole header; 0: not ours. */
function protocolOf(view: Nat64View): u32 {
  const protocol = <u32>view.protocol;
  if (protocol == PROTOCOL_TCP) return Tcp.at(view.l4).isWellFormed(view.l4Bytes) ? protocol : 0;
  if (protocol == PROTOCOL_UDP) return view.l4Bytes >= 8 ? protocol : 0;
  return protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6 ? PROTOCOL_ICMP : 0;
}

/** Ports, or the identifier of an ICMP query on the side of the IPv6 host and 0 on the other (3.5.3). */
function sourcePortOf(view: Nat64View, protocol: u32, isHost: bool): u32 {
  if (protocol != PROTOCOL_ICMP) return Udp.at(view.l4).sourcePort;
  return isHost ? <u32>bswap<u16>(load<u16>(view.l4, IDENTIFIER)) : 0;
}
function destinationPortOf(view: Nat64View, protocol: u32, isHost: bool): u32 {
  if (protocol != PROTOCOL_ICMP) return Udp.at(view.l4).destinationPort;
  return isHost ? <u32>bswap<u16>(load<u16>(view.l4, IDENTIFIER)) : 0;
}

/** 3.4: other transport protocols are not translated. */
function refuseProtocol(n: Nat64State, view: Nat64View): Nat64Verdict {
  const kind = view.family == 6 ? V6_PORT_UNREACHABLE : V4_PROTOCOL_UNREACHABLE;
  return answer(n, view, Nat64Reason.Protocol, kind, 0);
}

function fromV6(n: Nat64State, t: Nat64Tables, view: Nat64View, ends: Nat64Ends): Nat64Verdict {
  const protocol = protocolOf(view);
  if (protocol == 0) return refuseProtocol(n, view);
  const port = sourcePortOf(view, protocol, true);
  const peer = load<u32>(ends.destination, 12);
  const peerPort = destinationPortOf(view, protocol, false);
  const flags: u32 = protocol == PROTOCOL_TCP ? Tcp.at(view.l4).flags : TCP_SYN;
  let row = findBinding6(t, view.source, port, protocol);
  if (row == 0) {
    // Only a SYN opens; anything else without a binding is dropped silently (3.5.2.2, CLOSED).
    if ((flags & TCP_SYN) == 0 || flags & TCP_RST) return drop(n, Nat64Reason.NoBinding);
    const isTcp = protocol == PROTOCOL_TCP;
    const wanted = isTcp && t.heldUsed != 0 ? wantedPort(t, peer, peerPort, addressOf(t, view.source)) : 0;
    row = bind(n, t, view.source, port, protocol, wanted);
    if (row == 0) return refuse6(n, view, bindReason);
  }
  const binding = bindingAt(t, row);
  let found = findSession(t, row, peer, peerPort);
  if (found == 0 && flags & TCP_SYN) {
    found = addSession(t, row, peer, peerPort);
    if (found == 0) {
      const reason = fullReason;
      if (binding.sessions == 0) dropUnused(t, row);
      return refuse6(n, view, reason);
    }
    const isOpen = protocol == PROTOCOL_TCP && release(t, peer, peerPort, binding.local, binding.port4);
    enter(t, sessionAt(t, found), isOpen ? Nat64Tcp.Established : Nat64Tcp.V6Init);
  } else if (found != 0 && protocol == PROTOCOL_TCP) advance(t, sessionAt(t, found), true, flags);
  if (protocol != PROTOCOL_TCP) refresh(t, found, protocol);
  storeMapped(ends.source, binding.local);
  ends.sourcePort = binding.port4;
  return Nat64Verdict.None;
}

function fromV4(n: Nat64State, t: Nat64Tables, view: Nat64View, ends: Nat64Ends): Nat64Verdict {
  const protocol = protocolOf(view);
  if (protocol == 0) return refuseProtocol(n, view);
  const isTcp = protocol == PROTOCOL_TCP;
  const peer = load<u32>(view.source, 12);
  const peerPort = sourcePortOf(view, protocol, false);
  const local = load<u32>(view.destination, 12);
  const isSyn = isTcp && (Tcp.at(view.l4).flags & TCP_SYN) != 0;
  const row = findBinding4(t, local, destinationPortOf(view, protocol, true), protocol);
  if (row == 0) {
    // A SYN waits: the IPv6 side may be about to open the same connection.
    if (isSyn && (n.flags & Nat64Flag.RefuseInbound) == 0) return wait(n, t, view);
    if (isTcp) return drop(n, Nat64Reason.NoBinding);
    return answer(n, view, Nat64Reason.NoBinding, V4_HOST_UNREACHABLE, 0);
  }
  let found = findSession(t, row, peer, peerPort);
  if (found == 0) {
    const isFiltered = (n.flags & Nat64Flag.AddressDependent) != 0 && peerSessions == 0;
    if (isSyn && n.flags & Nat64Flag.RefuseInbound) return drop(n, Nat64Reason.Filtered);
    if (isFiltered && isSyn) return wait(n, t, view);
    if (isFiltered) return answer(n, view, Nat64Reason.Filtered, V4_PROHIBITED, 0);
    if (!isTcp || isSyn) {
      found = addSession(t, row, peer, peerPort);
      if (found == 0) return answer(n, view, fullReason, V4_HOST_UNREACHABLE, 0);
      enter(t, sessionAt(t, found), Nat64Tcp.V4Init);
    }
  } else if (isTcp) advance(t, sessionAt(t, found), false, Tcp.at(view.l4).flags);
  if (!isTcp) refresh(t, found, protocol);
  const binding = bindingAt(t, row);
  copyAddress(ends.destination, binding.address);
  ends.destinationPort = binding.port6;
  return Nat64Verdict.None;
}

function refuse6(n: Nat64State, view: Nat64View, reason: Nat64Reason): Nat64Verdict {
  return answer(n, view, reason, V6_ADDRESS_UNREACHABLE, 0);
}

function wait(n: Nat64State, t: Nat64Tables, view: Nat64View): Nat64Verdict {
  if (!hold(t, view)) return answer(n, view, Nat64Reason.NoBinding, V4_HOST_UNREACHABLE, 0);
  n.reason = Nat64Reason.SynHeld;
  return Nat64Verdict.Held;
}

/** Both directions keep a UDP or ICMP session alive. */
function refresh(t: Nat64Tables, row: u32, protocol: u32): void {
  const session = sessionAt(t, row);
  session.state = <u8>Nat64Tcp.Datagram;
  session.expiresMs = t.nowMs + (protocol == PROTOCOL_UDP ? t.udpMs : t.icmpMs);
}

/** An ICMP error belongs to the session of the packet that it quotes, which went the other way; it prolongs nothing (3.6). */
function errorEnds(n: Nat64State, t: Nat64Tables, other: usize): Nat64Verdict {
  const quoted = quotedOf(n);
  const ends = quotedEndsOf(n);
  const protocol = isLater(quoted) ? 0 : <u32>quoted.protocol;
  const number = protocol == PROTOCOL_ICMPV6 ? PROTOCOL_ICMP : protocol;
  if (number != PROTOCOL_TCP && number != PROTOCOL_UDP && number != PROTOCOL_ICMP)
    return drop(n, Nat64Reason.IcmpQuote);
  ends.sourcePort = NONE;
  ends.destinationPort = NONE;
  let row: u32 = 0;
  let isKnown = false;
  if (quoted.family == 6) {
    // (Y’, y) → (X’, x) had been (Z, z) → (T, t).
    row = findBinding6(t, quoted.destination, destinationPortOf(quoted, number, true), number);
    const refused = toIpv4(n, quoted.source, n.remotePrefix, n.remoteBits, ends.source);
    if (refused != Nat64Reason.None) return drop(n, refused);
    const peer = load<u32>(ends.source, 12);
    isKnown = row != 0 && findSession(t, row, peer, sourcePortOf(quoted, number, false)) != 0;
  } else {
    row = findBinding4(t, load<u32>(quoted.source, 12), sourcePortOf(quoted, number, true), number);
    const peer = load<u32>(quoted.destination, 12);
    const refused = toIpv6(n, peer, n.remotePrefix, n.remoteBits, ends.destination);
    if (refused != Nat64Reason.None) return drop(n, refused);
    isKnown = row != 0 && findSession(t, row, peer, destinationPortOf(quoted, number, false)) != 0;
  }
  if (!isKnown) return drop(n, Nat64Reason.NoSession);
  const binding = bindingAt(t, row);
  if (quoted.family == 6) {
    storeMapped(ends.destination, binding.local);
    ends.destinationPort = binding.port4;
    storeMapped(other, binding.local);
  } else {
    copyAddress(ends.source, binding.address);
    ends.sourcePort = binding.port6;
    copyAddress(other, binding.address);
  }
  return write(n);
}
