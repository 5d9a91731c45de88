// The life of a session: TCP states (RFC 6146, 3.5.2.2), lifetimes (section 4), expiry a few rows at a time, and the SYNs that wait.
import {
  NAT64_EXPIRE_STEP,
  NAT64_HELD_BYTES,
  NAT64_HELD_MAX,
  NAT64_HELD_SYN_BYTES,
  NAT64_PROBES_MAX,
  NAT64_TCP_INCOMING_SYN_MS,
  Nat64Binding,
  Nat64HeldSyn,
  Nat64Reason,
  Nat64Session,
  Nat64State,
  Nat64Tables,
  Nat64Tcp,
  Nat64Verdict,
  Nat64View,
} from '../layout.gen';
import { sumOfPseudoHeader } from '../wire/checksum';
import { PROTOCOL_TCP } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';
import { TCP_ACK, TCP_BYTES, TCP_FIN, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';
import { toIpv6 } from './address';
import { answer } from './answer';
import { bindingAt, removeSession, sessionAt, tablesOf } from './table';
import { endsOf, outerOf, readPacket } from './view';

const V4_PORT_UNREACHABLE: u32 = 0x0303;
const PROBE_HOPS: u32 = 64;

/** Takes the session to its next state. A SYN with ACK counts as a SYN (3.5.2.2). */
export function advance(t: Nat64Tables, session: Nat64Session, isFromV6: bool, flags: u32): void {
  const state = <u32>session.state;
  const isSyn = (flags & TCP_SYN) != 0;
  const isFin = (flags & TCP_FIN) != 0;
  const isReset = (flags & TCP_RST) != 0;
  if (state == Nat64Tcp.V4Init) {
    if (isFromV6 && isSyn) enter(t, session, Nat64Tcp.Established);
  } else if (state == Nat64Tcp.V6Init) {
    if (isSyn) enter(t, session, isFromV6 ? Nat64Tcp.V6Init : Nat64Tcp.Established);
  } else if (state == Nat64Tcp.Established) {
    if (isReset) enter(t, session, Nat64Tcp.Trans);
    else if (isFin) session.state = <u8>(isFromV6 ? Nat64Tcp.V6Fin : Nat64Tcp.V4Fin);
    else enter(t, session, Nat64Tcp.Established);
  } else if (state == Nat64Tcp.V4Fin || state == Nat64Tcp.V6Fin) {
    if (isFin && isFromV6 == (state == Nat64Tcp.V4Fin)) enter(t, session, Nat64Tcp.BothFin);
    else session.expiresMs = t.nowMs + t.tcpEstablishedMs;
  } else if (state == Nat64Tcp.Trans) {
    if (!isReset) enter(t, session, Nat64Tcp.Established);
  }
}

/** The state and the lifetime that goes with it. */
export function enter(t: Nat64Tables, session: Nat64Session, state: Nat64Tcp): void {
  session.state = <u8>state;
  session.isProbed = 0;
  session.expiresMs = t.nowMs + (state == Nat64Tcp.Established ? t.tcpEstablishedMs : t.tcpTransitoryMs);
}

/** Ends what is over among the next rows; returns how many. An established session is probed and given the transitory time first. */
export function expire(n: Nat64State): u32 {
  const t = tablesOf(n);
  const end = t.sessionNext;
  let row = t.cursor;
  let ended: u32 = 0;
  for (let count: u32 = 0; count < NAT64_EXPIRE_STEP && count < end; count++) {
    row = row + 1 < end ? row + 1 : 1;
    if (row >= end) break;
    const session = sessionAt(t, row);
    if (session.state == <u8>Nat64Tcp.Free || <i32>(t.nowMs - session.expiresMs) < 0) continue;
    if (session.state == <u8>Nat64Tcp.Established) {
      enter(t, session, Nat64Tcp.Trans);
      remindToProbe(t, row);
    } else {
      removeSession(t, row);
      ended += 1;
    }
  }
  t.cursor = row;
  return ended;
}

/** Both ends may have gone without a word; the answer to a probe tells (3.5.2.2, ESTABLISHED). A full ring forgoes it. */
function remindToProbe(t: Nat64Tables, row: u32): void {
  if (t.probeTail - t.probeHead >= NAT64_PROBES_MAX) return;
  sessionAt(t, row).isProbed = 1;
  store<u32>(<usize>t.probes + ((t.probeTail % NAT64_PROBES_MAX) << 2), row);
  t.probeTail += 1;
}

/** A probe for the IPv6 end of one idle connection, written into the room; None: none is due. */
export function probe(n: Nat64State): Nat64Verdict {
  const t = tablesOf(n);
  n.bytes = 0;
  n.reason = Nat64Reason.None;
  while (t.probeHead != t.probeTail) {
    const row = load<u32>(<usize>t.probes + ((t.probeHead % NAT64_PROBES_MAX) << 2));
    t.probeHead += 1;
    const session = sessionAt(t, row);
    if (session.state != <u8>Nat64Tcp.Trans || session.isProbed == 0) continue;
    session.isProbed = 0;
    if (writeProbe(n, session, bindingAt(t, session.binding)) != Nat64Reason.None) continue;
    t.probed += 1;
    return Nat64Verdict.Answered;
  }
  return Nat64Verdict.None;
}

/**
 * A bare ACK with sequence number 0: outside the window of whoever has the connection, who says where it stands (RFC 9293, 3.10.7.4), and
 * unknown to whoever has not, who resets it.
 */
function writeProbe(n: Nat64State, session: Nat64Session, binding: Nat64Binding): Nat64Reason {
  const at = <usize>n.roomStart;
  if (n.roomStart + IPV6_BYTES + TCP_BYTES > n.roomEnd) return Nat64Reason.NoRoom;
  const source = endsOf(n).source;
  const refused = toIpv6(n, session.peer, n.remotePrefix, n.remoteBits, source);
  if (refused != Nat64Reason.None) return refused;
  const ip = Ipv6.at(at);
  ip.setVersionClassAndLabel(0, 0);
  ip.setPayloadLength(TCP_BYTES);
  ip.setNextHeader(PROTOCOL_TCP);
  ip.setHopLimit(PROBE_HOPS);
  ip.setSource(source);
  ip.setDestination(binding.address);
  const tcp = Tcp.at(at + IPV6_BYTES);
  memory.fill(at + IPV6_BYTES, 0, TCP_BYTES);
  tcp.setSourcePort(session.peerPort);
  tcp.setDestinationPort(binding.port6);
  tcp.setHeaderBytes(TCP_BYTES);
  tcp.setFlags(TCP_ACK);
  tcp.setChecksum(sumOfPseudoHeader(source, binding.address, PROTOCOL_TCP, TCP_BYTES), TCP_BYTES);
  n.address = <u32>at;
  n.bytes = IPV6_BYTES + TCP_BYTES;
  n.splitMtu = 0;
  return Nat64Reason.None;
}

/** Port of ours that a SYN from this peer waits for, or 0: the IPv6 side opens the same connection now (3.5.2.2, V4 INIT). */
export function wantedPort(t: Nat64Tables, peer: u32, peerPort: u32, local: u32): u32 {
  for (let index: u32 = 0; t.heldUsed != 0 && index < NAT64_HELD_MAX; index++) {
    const held = heldAt(t, index);
    if (held.bytes != 0 && held.source == peer && <u32>held.sourcePort == peerPort && held.destination == local)
      return held.destinationPort;
  }
  return 0;
}

function heldAt(t: Nat64Tables, index: u32): Nat64HeldSyn {
  return Nat64HeldSyn.at(<usize>t.held + index * (NAT64_HELD_SYN_BYTES + NAT64_HELD_BYTES));
}

function isHeldFor(held: Nat64HeldSyn, peer: u32, peerPort: u32, local: u32, localPort: u32): bool {
  if (held.bytes == 0 || held.source != peer || held.destination != local) return false;
  return <u32>held.sourcePort == peerPort && <u32>held.destinationPort == localPort;
}

/** Keeps a SYN for six seconds. False: no row is free. A retransmission changes nothing. */
export function hold(t: Nat64Tables, view: Nat64View): bool {
  const tcp = Tcp.at(view.l4);
  const peer = load<u32>(view.source, 12);
  const local = load<u32>(view.destination, 12);
  let free = NAT64_HELD_MAX;
  for (let index: u32 = 0; index < NAT64_HELD_MAX; index++) {
    const held = heldAt(t, index);
    if (isHeldFor(held, peer, tcp.sourcePort, local, tcp.destinationPort)) return true;
    if (held.bytes == 0) free = index;
  }
  if (free == NAT64_HELD_MAX) return false;
  const held = heldAt(t, free);
  held.source = peer;
  held.destination = local;
  held.sourcePort = <u16>tcp.sourcePort;
  held.destinationPort = <u16>tcp.destinationPort;
  held.expiresMs = t.nowMs + NAT64_TCP_INCOMING_SYN_MS;
  held.bytes = min(NAT64_HELD_BYTES, view.l4 - view.l3 + view.l4Bytes);
  memory.copy(changetype<usize>(held) + NAT64_HELD_SYN_BYTES, view.l3, held.bytes);
  t.heldUsed += 1;
  return true;
}

/** Simultaneous open: the IPv6 side has sent its SYN as well. True: one of the IPv4 side was waiting, and is forgotten. */
export function release(t: Nat64Tables, peer: u32, peerPort: u32, local: u32, localPort: u32): bool {
  if (t.heldUsed == 0) return false;
  for (let index: u32 = 0; index < NAT64_HELD_MAX; index++) {
    const held = heldAt(t, index);
    if (!isHeldFor(held, peer, peerPort, local, localPort)) continue;
    held.bytes = 0;
    t.heldUsed -= 1;
    return true;
  }
  return false;
}

/** Answers one SYN that waited in vain with port unreachable; None: there is none. The answer lies in the room. */
export function answerHeld(n: Nat64State): Nat64Verdict {
  const t = tablesOf(n);
  n.bytes = 0;
  n.splitMtu = 0;
  for (let index: u32 = 0; t.heldUsed != 0 && index < NAT64_HELD_MAX; index++) {
    const held = heldAt(t, index);
    if (held.bytes == 0 || <i32>(t.nowMs - held.expiresMs) < 0) continue;
    const bytes = held.bytes;
    held.bytes = 0;
    t.heldUsed -= 1;
    const view = outerOf(n);
    if (readPacket(view, changetype<usize>(held) + NAT64_HELD_SYN_BYTES, bytes, true) != Nat64Reason.None) continue;
    return answer(n, view, Nat64Reason.SynUnanswered, V4_PORT_UNREACHABLE, 0);
  }
  return Nat64Verdict.None;
}
