// Rewrites of a packet's two ends with every checksum they are part of (RFC 1624; RFC 4443 for ICMPv6). No step: translate and eip use it.
import { PacketRecord } from '../layout.gen';
import { Icmpv4 } from '../wire/icmpv4';
import { Icmpv6 } from '../wire/icmpv6';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { ipv4Of, ipv6Of, l4At, tcpOf, udpOf } from './frame';

export function rewriteSource(packet: PacketRecord, to: usize): void {
  updateTransport(packet, packet.source, to);
  if (packet.family == 4) ipv4Of(packet).rewriteSource(to);
  else ipv6Of(packet).setSource(to);
  copyAddress(packet.source, to);
}

export function rewriteDestination(packet: PacketRecord, to: usize): void {
  updateTransport(packet, packet.destination, to);
  if (packet.family == 4) ipv4Of(packet).rewriteDestination(to);
  else ipv6Of(packet).setDestination(to);
  copyAddress(packet.destination, to);
}

/** Of an ICMP echo the identifier stands for both ports. */
export function rewriteSourcePort(packet: PacketRecord, port: u32): void {
  if (packet.sourcePort == <u16>port) return;
  packet.sourcePort = <u16>port;
  if (packet.protocol == <u8>PROTOCOL_TCP) tcpOf(packet).rewriteSourcePort(port);
  else if (packet.protocol == <u8>PROTOCOL_UDP) udpOf(packet).rewriteSourcePort(port);
  else rewriteIdentifier(packet, port);
}

export function rewriteDestinationPort(packet: PacketRecord, port: u32): void {
  if (packet.destinationPort == <u16>port) return;
  packet.destinationPort = <u16>port;
  if (packet.protocol == <u8>PROTOCOL_TCP) tcpOf(packet).rewriteDestinationPort(port);
  else if (packet.protocol == <u8>PROTOCOL_UDP) udpOf(packet).rewriteDestinationPort(port);
  else rewriteIdentifier(packet, port);
}

function rewriteIdentifier(packet: PacketRecord, identifier: u32): void {
  if (packet.protocol == <u8>PROTOCOL_ICMP) Icmpv4.at(l4At(packet)).rewriteIdentifier(identifier);
  else if (packet.protocol == <u8>PROTOCOL_ICMPV6) Icmpv6.at(l4At(packet)).rewriteIdentifier(identifier);
}

/** ICMP over IPv4 and SCTP have no pseudo header. */
function updateTransport(packet: PacketRecord, from: usize, to: usize): void {
  if (packet.protocol == <u8>PROTOCOL_TCP) tcpOf(packet).updateAddress(from, to);
  else if (packet.protocol == <u8>PROTOCOL_UDP) udpOf(packet).updateAddress(from, to);
  else if (packet.protocol == <u8>PROTOCOL_ICMPV6) Icmpv6.at(l4At(packet)).updateAddress(from, to);
}
