// fragment: the walk of IP fragments (P15). The first one has the ports and takes the ordinary walk; later ones follow it by the fragment
// table, and those that come too early wait. Nothing is put together here: the receiver does that (RFC 791, 3.2; RFC 8200, 4.5).
// Refused: tiny fragments (RFC 1858, 3128), overlapping ones (RFC 5722 for IPv6; IPv4 alike), tunnels and ICMP to a VIP in fragments.
import {
  AddressKind,
  CHUNK_BYTES,
  Direction,
  FragmentEntry,
  FragmentProgress,
  NONE,
  PacketFlag,
  PacketRecord,
  Reason,
  Verdict,
} from '../layout.gen';
import { bank, readOnly, slab } from '../memory';
import { findAddress } from '../table/address';
import {
  RANGE_FULL,
  RANGE_NEW,
  RANGE_SEEN,
  entryAt,
  findFragment,
  forgetHolds,
  freeHold,
  hasFragments,
  heldBytes,
  hold,
  holdAt,
  noteRange,
} from '../table/fragment';
import { consume, drop } from '../verdict';
import {
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4';
import { copyAddress, findFragmentHeader } from '../wire/ipv6';
import { Tcp } from '../wire/tcp';
import { eipInbound, eipOutbound } from './eip';
import { EXTRA_BYTES_MAX, addExtra, hasRoom, settleExtra } from './extra';
import { ipBytes, ipv4Of, ipv6Of, l3At, l4At, l4Bytes } from './frame';
import { inbound, inboundLater } from './inbound';
import { outbound, outboundLater } from './outbound';
import { expectInbound } from './track';

/** Protocol of a packet whose transport header is elsewhere: no rewrite touches its payload. */
const NO_TRANSPORT: u8 = 255;
const MORE: u32 = 1;
const DATAGRAM_MAX: u32 = 65535;
const TCP_BYTES: u32 = 20;
const PORTS_BYTES: u32 = 8;

/** What `read` found; valid until its next call. */
let identification: u32 = 0;
let offset: u32 = 0;
let bytes: u32 = 0;
let isMore: bool = false;

/** Takes over from parse, which stops at every fragment. Other packets that parse has ended stay as they are. */
export function fragment(packet: PacketRecord): void {
  if (packet.verdict != <u8>Verdict.Drop || packet.reason != <u8>Reason.Fragment || !read(packet)) return;
  const direction = directionOf(packet);
  if (direction == Direction.None) return;
  packet.direction = <u8>direction;
  if (direction == Direction.EipInbound || direction == Direction.EipOutbound) {
    walkStateless(packet, direction);
    return;
  }
  if (!hasFragments() || isIcmp(packet)) return;
  const number = findFragment(packet, identification);
  if (number == NONE || !follows(packet, entryAt(number))) return;
  const entry = entryAt(number);
  if (offset == 0) walkFirst(packet, number);
  else if (entry.state == <u8>FragmentProgress.Known) walkLater(packet, entry);
  else wait(packet, number);
}

/** The fields of the fragment, and what is wrong with any fragment by itself. */
function read(packet: PacketRecord): bool {
  let data: u32 = packet.l4;
  if (packet.family == 4) {
    const field = ipv4Of(packet).fragmentField;
    identification = ipv4Of(packet).identification;
    offset = (field & 0x1fff) << 3;
    isMore = (field & 0x2000) != 0;
  } else {
    const at = findFragmentHeader(ipv6Of(packet));
    const header = l3At(packet) + <usize>at;
    const field = <u32>bswap<u16>(load<u16>(header, 2));
    identification = bswap<u32>(load<u32>(header, 4));
    offset = field & 0xfff8;
    isMore = (field & MORE) != 0;
    data = packet.l3 + at + 8;
  }
  bytes = packet.l3End - data;
  const isWhole = bytes != 0 && (!isMore || (bytes & 7) == 0) && offset + bytes <= DATAGRAM_MAX;
  if (!isWhole) return drop(packet, Reason.FragmentBad);
  return isTiny(packet) ? drop(packet, Reason.FragmentTiny) : true;
}

/** A filter must see the whole transport header in the first fragment, and no other fragment may write over it. */
function isTiny(packet: PacketRecord): bool {
  const isTcp = packet.protocol == <u8>PROTOCOL_TCP;
  if (offset != 0) return isTcp && offset < TCP_BYTES;
  const left = l4Bytes(packet);
  if (isTcp) return !Tcp.at(l4At(packet)).isWellFormed(left);
  return left < PORTS_BYTES;
}

/** By what dispatch goes by, but for ports. None: the verdict is final. */
function directionOf(packet: PacketRecord): Direction {
  const isInner = (packet.flags & <u16>PacketFlag.FromTunnel) != 0;
  const protocol: u32 = packet.protocol;
  if (protocol == PROTOCOL_GRE || protocol == PROTOCOL_IPIP || protocol == PROTOCOL_IPV6) return Direction.None;
  if (isInner && packet.direction == <u8>Direction.EipOutbound) return Direction.EipOutbound;
  if (isInner) {
    const isVip = packet.net != 0 && bank.internalVips != 0 && isOwn(AddressKind.Vip, packet);
    return isVip ? Direction.Inbound : Direction.Outbound;
  }
  packet.net = 0;
  if (isOwn(AddressKind.Eip, packet)) return Direction.EipInbound;
  if (isOwn(AddressKind.Vip, packet)) return Direction.Inbound;
  if (findAddress(AddressKind.Routed, 0, packet.source, 0, 0) != NONE) return Direction.Outbound;
  consume(packet, Reason.NotOurs);
  return Direction.None;
}

function isOwn(kind: AddressKind, packet: PacketRecord): bool {
  return findAddress(kind, packet.net, packet.destination, 0, 0) != NONE;
}

function isIcmp(packet: PacketRecord): bool {
  return packet.protocol == <u8>PROTOCOL_ICMP || packet.protocol == <u8>PROTOCOL_ICMPV6;
}

function reopen(packet: PacketRecord): void {
  packet.verdict = <u8>Verdict.None;
  packet.reason = <u8>Reason.None;
}

/** An EIP is translated by addresses alone, so fragments need no table and no order (P28). */
function walkStateless(packet: PacketRecord, direction: Direction): void {
  reopen(packet);
  if (offset != 0) packet.protocol = NO_TRANSPORT;
  if (direction == Direction.EipInbound) eipInbound(packet);
  else eipOutbound(packet);
}

/** What the fragments before say about this one. */
function follows(packet: PacketRecord, entry: FragmentEntry): bool {
  if (entry.state == <u8>FragmentProgress.Refused) return drop(packet, Reason.FragmentOverlap);
  const seen = noteRange(entry, offset, bytes, !isMore);
  if (seen == RANGE_NEW) return true;
  if (seen == RANGE_SEEN) return drop(packet, Reason.FragmentDuplicate);
  if (seen == RANGE_FULL) return drop(packet, Reason.FragmentLimit);
  if (!readOnly) {
    entry.state = <u8>FragmentProgress.Refused;
    forgetHolds(entry);
  }
  return drop(packet, Reason.FragmentOverlap);
}

/** The ordinary walk, with the ports; then those that waited for it. */
function walkFirst(packet: PacketRecord, number: u32): void {
  reopen(packet);
  const hasPorts = packet.protocol == <u8>PROTOCOL_TCP || packet.protocol == <u8>PROTOCOL_UDP;
  if (!hasPorts) {
    drop(packet, Reason.Protocol);
    return;
  }
  const tcp = Tcp.at(l4At(packet));
  packet.sourcePort = <u16>tcp.sourcePort;
  packet.destinationPort = <u16>tcp.destinationPort;
  packet.tcpFlags = packet.protocol == <u8>PROTOCOL_TCP ? <u8>tcp.flags : 0;
  const entry = entryAt(number);
  if (!readOnly) {
    entry.state = <u8>FragmentProgress.Known;
    entry.protocol = packet.protocol;
    entry.sourcePort = packet.sourcePort;
    entry.destinationPort = packet.destinationPort;
  }
  if (packet.direction == <u8>Direction.Outbound) outbound(packet);
  else if (findListener(packet)) inbound(packet);
  if (!readOnly) release(packet, entry);
}

function findListener(packet: PacketRecord): bool {
  packet.listenerSlot = findAddress(
    AddressKind.Listener,
    packet.net,
    packet.destination,
    packet.destinationPort,
    packet.protocol,
  );
  if (packet.listenerSlot == NONE) return drop(packet, Reason.NoListener);
  expectInbound(packet);
  return true;
}

function walkLater(packet: PacketRecord, entry: FragmentEntry): void {
  reopen(packet);
  packet.protocol = entry.protocol;
  packet.sourcePort = entry.sourcePort;
  packet.destinationPort = entry.destinationPort;
  packet.tcpFlags = 0;
  if (packet.direction == <u8>Direction.Outbound) outboundLater(packet);
  else if (findListener(packet)) inboundLater(packet);
}

/** Too early: a copy waits, without link header and tunnel. */
function wait(packet: PacketRecord, number: u32): void {
  if (readOnly) {
    consume(packet, Reason.FragmentHeld);
    return;
  }
  const own = ipBytes(packet) <= EXTRA_BYTES_MAX ? hold(number, packet, l3At(packet), ipBytes(packet)) : NONE;
  if (own == NONE) {
    drop(packet, Reason.FragmentLimit);
    return;
  }
  const held = holdAt(own);
  copyAddress(held.outerSource, packet.outerSource);
  copyAddress(held.outerDestination, packet.outerDestination);
  held.tunnelKey = packet.tunnelKey;
  held.flags = packet.flags;
  held.portIn = packet.portIn;
  held.direction = packet.direction;
  held.tag = packet.spare0;
  consume(packet, Reason.FragmentHeld);
}

/** Sends what has waited for the first fragment, in records of their own. */
function release(first: PacketRecord, entry: FragmentEntry): void {
  let at = entry.hold;
  entry.hold = 0;
  while (at != 0) {
    const own = at - 1;
    if (hasRoom(1)) follow(first, entry, own);
    at = freeHold(own);
  }
}

function follow(first: PacketRecord, entry: FragmentEntry, own: u32): void {
  const held = holdAt(own);
  const packet = addExtra(first);
  memory.copy(slab + <usize>packet.address, heldBytes(own), <usize>min(held.bytes, CHUNK_BYTES));
  packet.length = held.bytes;
  packet.l3End = held.bytes;
  packet.flags = held.flags;
  packet.portIn = held.portIn;
  packet.direction = held.direction;
  packet.tunnelKey = held.tunnelKey;
  packet.spare0 = held.tag;
  packet.family = entry.family;
  packet.net = entry.net;
  packet.etherType = entry.family == 4 ? 0x0800 : 0x86dd;
  copyAddress(packet.source, entry.source);
  copyAddress(packet.destination, entry.destination);
  copyAddress(packet.outerSource, held.outerSource);
  copyAddress(packet.outerDestination, held.outerDestination);
  packet.l4 = <u16>(entry.family == 4 ? ipv4Of(packet).headerBytes : findFragmentHeader(ipv6Of(packet)) + 8);
  packet.payload = packet.l4;
  packet.listenerSlot = NONE;
  packet.flowSlot = NONE;
  packet.targetSlot = NONE;
  packet.hostSlot = NONE;
  packet.nextHop = NONE;
  packet.scratch1 = 0;
  walkLater(packet, entry);
  settleExtra(packet);
}
