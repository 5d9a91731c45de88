// parse: Ethernet, one 802.1Q tag, IPv4 or IPv6 with extension headers, TCP, UDP, ICMP. Every length is checked against the frame
// and the headers against each other; what follows may use every accessor of a header without asking again.
import { PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { consume, drop } from '../verdict';
import {
  ETHERNET_BYTES,
  ETHER_TYPE_IPV4,
  ETHER_TYPE_IPV6,
  ETHER_TYPE_SERVICE_VLAN,
  ETHER_TYPE_VLAN,
  Ethernet,
} from '../wire/ethernet';
import { ICMPV4_BYTES, ICMPV4_REDIRECT, Icmpv4 } from '../wire/icmpv4';
import { Icmpv6 } from '../wire/icmpv6';
import {
  Ipv4,
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  PROTOCOL_UDP_LITE,
} from '../wire/ipv4';
import { Ipv6, MALFORMED, findTransport, isFragment, transportOffset, transportProtocol } from '../wire/ipv6';
import {
  SCTP_ABORT,
  SCTP_BYTES,
  SCTP_INIT,
  SCTP_INIT_ACK,
  SCTP_SHUTDOWN,
  SCTP_SHUTDOWN_ACK,
  SCTP_SHUTDOWN_COMPLETE,
  Sctp,
} from '../wire/sctp';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';
import { UDP_BYTES, Udp } from '../wire/udp';
import { VLAN_BYTES, Vlan } from '../wire/vlan';
import { frameAt, l4At, l4Bytes } from './frame';

/** Where a tag begins: its four bytes are kept as they lie. */
const TAG: usize = 12;

/** From the first byte of the frame. Leaves offsets, addresses, ports. */
export function parse(packet: PacketRecord): bool {
  const frame = frameAt(packet);
  let etherType: u32 = 0;
  let l2Bytes: u32 = 0;
  if (packet.flags & <u16>PacketFlag.Layer3) {
    if (packet.length == 0) return drop(packet, Reason.TooShort);
    etherType = load<u8>(frame) >> 4 == 6 ? ETHER_TYPE_IPV6 : ETHER_TYPE_IPV4;
  } else {
    if (!Ethernet.at(frame).isWellFormed(packet.length)) return drop(packet, Reason.TooShort);
    etherType = Ethernet.at(frame).etherType;
    l2Bytes = ETHERNET_BYTES;
    if (etherType == ETHER_TYPE_VLAN) {
      const tag = Vlan.at(frame + ETHERNET_BYTES);
      if (!tag.isWellFormed(packet.length - ETHERNET_BYTES)) return drop(packet, Reason.TooShort);
      etherType = tag.etherType;
      if (etherType == ETHER_TYPE_VLAN) return drop(packet, Reason.DoubleTag);
      packet.spare0 = load<u32>(frame, TAG);
      packet.flags |= <u16>PacketFlag.Tagged;
      l2Bytes += VLAN_BYTES;
    }
    if (etherType == ETHER_TYPE_SERVICE_VLAN) return drop(packet, Reason.DoubleTag);
  }
  packet.l2Bytes = <u16>l2Bytes;
  return parseIp(packet, l2Bytes, etherType, packet.length);
}

/** An IP header at offset `l3`, of a packet that ends no later than `end`: the inner packet of a tunnel, too. */
export function parseIp(packet: PacketRecord, l3: u32, etherType: u32, end: u32): bool {
  packet.l3 = <u16>l3;
  packet.etherType = <u16>etherType;
  packet.tcpFlags = 0;
  packet.sourcePort = 0;
  packet.destinationPort = 0;
  if (etherType == ETHER_TYPE_IPV4) return parseIpv4(packet, l3, end) && parseTransport(packet);
  if (etherType == ETHER_TYPE_IPV6) return parseIpv6(packet, l3, end) && parseTransport(packet);
  return consume(packet, Reason.NotIp);
}

function parseIpv4(packet: PacketRecord, l3: u32, end: u32): bool {
  const ip = Ipv4.at(frameAt(packet) + <usize>l3);
  if (!ip.isWellFormed(end - l3)) return drop(packet, Reason.BadHeader);
  if (!ip.isChecksumValid) return drop(packet, Reason.BadChecksum);
  packet.family = 4;
  packet.protocol = <u8>ip.protocol;
  packet.l3End = l3 + ip.totalLength;
  packet.l4 = <u16>(l3 + ip.headerBytes);
  packet.payload = packet.l4;
  ip.copySourceTo(packet.source);
  ip.copyDestinationTo(packet.destination);
  return ip.isFragment ? drop(packet, Reason.Fragment) : true;
}

function parseIpv6(packet: PacketRecord, l3: u32, end: u32): bool {
  const ip = Ipv6.at(frameAt(packet) + <usize>l3);
  if (!ip.isWellFormed(end - l3)) return drop(packet, Reason.BadHeader);
  const found = findTransport(ip);
  if (found == MALFORMED) return drop(packet, Reason.ExtensionHeaders);
  packet.family = 6;
  packet.protocol = <u8>transportProtocol(found);
  packet.l3End = l3 + ip.totalLength;
  packet.l4 = <u16>(l3 + transportOffset(found));
  packet.payload = packet.l4;
  ip.copySourceTo(packet.source);
  ip.copyDestinationTo(packet.destination);
  return isFragment(found) ? drop(packet, Reason.Fragment) : true;
}

function parseTransport(packet: PacketRecord): bool {
  const protocol: u32 = packet.protocol;
  const bytes = l4Bytes(packet);
  if (protocol == PROTOCOL_TCP) {
    const tcp = Tcp.at(l4At(packet));
    if (!tcp.isWellFormed(bytes)) return drop(packet, Reason.BadTcp);
    packet.tcpFlags = <u8>tcp.flags;
    return ports(packet, tcp.sourcePort, tcp.destinationPort, tcp.headerBytes);
  }
  if (protocol == PROTOCOL_UDP) {
    const udp = Udp.at(l4At(packet));
    if (!udp.isWellFormed(bytes)) return drop(packet, Reason.TooShort);
    if (packet.family == 6 && udp.checksum == 0) return drop(packet, Reason.ZeroChecksum);
    return ports(packet, udp.sourcePort, udp.destinationPort, 8);
  }
  if (protocol == PROTOCOL_GRE || protocol == PROTOCOL_IPIP || protocol == PROTOCOL_IPV6) return true;
  if (protocol == PROTOCOL_UDP_LITE) return bytes >= UDP_BYTES ? true : drop(packet, Reason.TooShort);
  if (protocol == PROTOCOL_SCTP) {
    if (bytes < SCTP_BYTES) return drop(packet, Reason.TooShort);
    packet.tcpFlags = <u8>asTcpFlags(Sctp.at(l4At(packet)), bytes);
    // Ports lie where TCP has them.
    return ports(packet, Tcp.at(l4At(packet)).sourcePort, Tcp.at(l4At(packet)).destinationPort, SCTP_BYTES);
  }
  return parseIcmp(packet, protocol, bytes);
}

/** What the first chunk does to an association, in the words of TCP: that is all the flow table wants to know (RFC 9260, 4). */
function asTcpFlags(sctp: Sctp, bytes: u32): u32 {
  if (!sctp.isWellFormed(bytes)) return TCP_ACK;
  const type = sctp.chunkType;
  if (type == SCTP_INIT) return TCP_SYN;
  if (type == SCTP_INIT_ACK) return TCP_SYN | TCP_ACK;
  if (type == SCTP_ABORT || type == SCTP_SHUTDOWN_COMPLETE) return TCP_RST;
  return type == SCTP_SHUTDOWN || type == SCTP_SHUTDOWN_ACK ? TCP_FIN | TCP_ACK : TCP_ACK;
}

function parseIcmp(packet: PacketRecord, protocol: u32, bytes: u32): bool {
  if (protocol != PROTOCOL_ICMP && protocol != PROTOCOL_ICMPV6) return true;
  if ((protocol == PROTOCOL_ICMP) != (packet.family == 4)) return drop(packet, Reason.Protocol);
  if (bytes < ICMPV4_BYTES) return drop(packet, Reason.TooShort);
  // A redirect is for hosts on the link of the router that sends it (RFC 1812, 5.2.7.2): none is forwarded, none translated.
  if (packet.family == 4 && Icmpv4.at(l4At(packet)).type == ICMPV4_REDIRECT) return drop(packet, Reason.IcmpType);
  // The identifier of an echo stands for both ports (P4); it lies at the same place in both versions.
  const isEcho = packet.family == 4 ? Icmpv4.at(l4At(packet)).isEcho : Icmpv6.at(l4At(packet)).isEcho;
  const identifier = isEcho ? Icmpv4.at(l4At(packet)).identifier : 0;
  return ports(packet, identifier, identifier, ICMPV4_BYTES);
}

function ports(packet: PacketRecord, source: u32, destination: u32, headerBytes: u32): bool {
  packet.sourcePort = <u16>source;
  packet.destinationPort = <u16>destination;
  packet.payload = <u16>(<u32>packet.l4 + headerBytes);
  return true;
}
