// Reads the IP packet at `l3` into the record: addresses, ports, where it ends. Used for what a tunnel carried and for what a VM sent.
// An ICMP error names the flow that it is about by the packet that it quotes (RFC 792, RFC 4443): then the ports are those of that flow.
import { PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { drop } from '../verdict';
import { ETHERNET_BYTES, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_VLAN, Ethernet } from '../wire/ethernet';
import { Icmpv4, ICMPV4_BYTES } from '../wire/icmpv4';
import { Icmpv6, ICMPV6_BYTES } from '../wire/icmpv6';
import {
  IPV4_BYTES,
  Ipv4,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4';
import {
  IPV6_BYTES,
  Ipv6,
  MALFORMED,
  findTransport,
  isFragment as isIpv6Fragment,
  isLaterFragment,
  transportOffset,
  transportProtocol,
} from '../wire/ipv6';
import { Tcp } from '../wire/tcp';
import { VLAN_BYTES, Vlan } from '../wire/vlan';

const FRAGMENT: u32 = 1;
const LATER_FRAGMENT: u32 = 2;

/** A fragment has no ports that can be trusted: it travels by addresses alone. */
export function isFragment(packet: PacketRecord): bool {
  return (packet.spare0 & FRAGMENT) != 0;
}
/** Protocol of the flow: that of the packet, or for an ICMP error that of the packet it quotes. */
export function lookupProtocol(packet: PacketRecord): u32 {
  return packet.spare1;
}

/** Link header of a frame from a port with link headers. Leaves etherType, l2Bytes and l3. */
export function parseLink(packet: PacketRecord): bool {
  const frame = slab + packet.address;
  const ethernet = Ethernet.at(frame);
  if (!ethernet.isWellFormed(packet.length)) return drop(packet, Reason.TooShort);
  let etherType = ethernet.etherType;
  let linkBytes = ETHERNET_BYTES;
  if (etherType == ETHER_TYPE_VLAN) {
    const vlan = Vlan.at(frame + ETHERNET_BYTES);
    if (!vlan.isWellFormed(packet.length - ETHERNET_BYTES)) return drop(packet, Reason.TooShort);
    etherType = vlan.etherType;
    linkBytes += VLAN_BYTES;
  }
  packet.etherType = <u16>etherType;
  packet.l2Bytes = <u16>linkBytes;
  packet.l3 = <u16>linkBytes;
  return true;
}

/** The IP packet at l3. Leaves family, addresses, protocol, ports, l4, l3End. */
export function parse(packet: PacketRecord): bool {
  const bytes = packet.length - <u32>packet.l3;
  if (bytes < IPV4_BYTES || packet.length < <u32>packet.l3) return drop(packet, Reason.TooShort);
  packet.sourcePort = 0;
  packet.destinationPort = 0;
  packet.tcpFlags = 0;
  packet.spare0 = 0;
  const version = load<u8>(slab + packet.address + packet.l3) >> 4;
  if (version == 4) return parseIpv4(packet, bytes) && parseTransport(packet);
  if (version == 6) return parseIpv6(packet, bytes) && parseTransport(packet);
  return drop(packet, Reason.BadHeader);
}

function parseIpv4(packet: PacketRecord, bytes: u32): bool {
  const ip = Ipv4.at(slab + packet.address + packet.l3);
  if (!ip.isWellFormed(bytes)) return drop(packet, Reason.BadHeader);
  if (!ip.isChecksumValid) return drop(packet, Reason.BadChecksum);
  packet.family = 4;
  packet.etherType = <u16>ETHER_TYPE_IPV4;
  packet.protocol = <u8>ip.protocol;
  packet.l4 = <u16>(<u32>packet.l3 + ip.headerBytes);
  packet.l3End = <u32>packet.l3 + ip.totalLength;
  if (ip.isFragment) packet.spare0 = ip.fragmentOffset == 0 ? FRAGMENT : FRAGMENT | LATER_FRAGMENT;
  ip.copySourceTo(packet.source);
  ip.copyDestinationTo(packet.destination);
  return true;
}

function parseIpv6(packet: PacketRecord, bytes: u32): bool {
  const ip = Ipv6.at(slab + packet.address + packet.l3);
  if (!ip.isWellFormed(bytes)) return drop(packet, Reason.BadHeader);
  const found = findTransport(ip);
  if (found == MALFORMED) return drop(packet, Reason.ExtensionHeaders);
  packet.family = 6;
  packet.etherType = <u16>ETHER_TYPE_IPV6;
  packet.protocol = <u8>transportProtocol(found);
  packet.l4 = <u16>(<u32>packet.l3 + transportOffset(found));
  packet.l3End = <u32>packet.l3 + ip.totalLength;
  if (isIpv6Fragment(found)) packet.spare0 = isLaterFragment(found) ? FRAGMENT | LATER_FRAGMENT : FRAGMENT;
  ip.copySourceTo(packet.source);
  ip.copyDestinationTo(packet.destination);
  return true;
}

function parseTransport(packet: PacketRecord): bool {
  const protocol: u32 = packet.protocol;
  packet.spare1 = protocol;
  if (packet.spare0 & LATER_FRAGMENT) return true;
  const at = slab + packet.address + packet.l4;
  const bytes = packet.l3End - <u32>packet.l4;
  if (protocol == PROTOCOL_TCP) {
    const tcp = Tcp.at(at);
    if (!tcp.isWellFormed(bytes)) return isFragment(packet) || drop(packet, Reason.BadTcp);
    packet.tcpFlags = <u8>tcp.flags;
    packet.sourcePort = <u16>tcp.sourcePort;
    packet.destinationPort = <u16>tcp.destinationPort;
  } else if (protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP) {
    if (bytes < 8) return isFragment(packet) || drop(packet, Reason.TooShort);
    packet.sourcePort = portAt(at);
    packet.destinationPort = portAt(at + 2);
  } else if (protocol == PROTOCOL_ICMP) {
    const icmp = Icmpv4.at(at);
    if (!icmp.isWellFormed(bytes)) return isFragment(packet) || drop(packet, Reason.TooShort);
    if (icmp.isEcho) setIdentifier(packet, icmp.identifier);
    else if (icmp.isError) parseQuoteIpv4(packet, at + ICMPV4_BYTES, bytes - ICMPV4_BYTES);
  } else if (protocol == PROTOCOL_ICMPV6) {
    const icmp = Icmpv6.at(at);
    if (!icmp.isWellFormed(bytes)) return isFragment(packet) || drop(packet, Reason.TooShort);
    if (icmp.isEcho) setIdentifier(packet, icmp.identifier);
    else if (icmp.isError) parseQuoteIpv6(packet, at + ICMPV6_BYTES, bytes - ICMPV6_BYTES);
  }
  return true;
}

/** Both ways of a ping have one identifier: it stands for both ports (P4). */
function setIdentifier(packet: PacketRecord, identifier: u32): void {
  packet.sourcePort = <u16>identifier;
  packet.destinationPort = <u16>identifier;
}

/** The quoted packet went the other way, so its destination port is our source port. A quote may be cut after eight bytes. */
function parseQuoteIpv4(packet: PacketRecord, at: usize, bytes: u32): void {
  if (bytes < IPV4_BYTES) return;
  const ip = Ipv4.at(at);
  if (load<u8>(at) >> 4 != 4 || ip.headerBytes < IPV4_BYTES || ip.headerBytes + 8 > bytes || ip.fragmentOffset != 0)
    return;
  setQuoted(packet, ip.protocol, at + ip.headerBytes);
}

function parseQuoteIpv6(packet: PacketRecord, at: usize, bytes: u32): void {
  if (bytes < IPV6_BYTES + 8 || load<u8>(at) >> 4 != 6) return;
  setQuoted(packet, Ipv6.at(at).nextHeader, at + IPV6_BYTES);
}

function setQuoted(packet: PacketRecord, protocol: u32, at: usize): void {
  if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6) {
    setIdentifier(packet, portAt(at + 4));
  } else if (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP) {
    packet.sourcePort = portAt(at + 2);
    packet.destinationPort = portAt(at);
  } else {
    return;
  }
  packet.spare1 = protocol;
}

function portAt(address: usize): u16 {
  return bswap<u16>(load<u16>(address));
}
