// Rewrites of a packet's two ends with every checksum they are part of (RFC 1624; RFC 4443 for ICMPv6). No step: translate and eip use it.
import { PacketRecord } from '../layout.gen';
import { sumOfAddress } from '../wire/checksum';
import { Icmpv4 } from '../wire/icmpv4';
import { Icmpv6 } from '../wire/icmpv6';
import {
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  PROTOCOL_UDP_LITE,
} from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { Sctp } from '../wire/sctp';
import { ipv4Of, ipv6Of, l4At, l4Bytes, tcpOf, udpOf } from './frame';

export function rewriteSource(packet: PacketRecord, to: usize): void {
  const before = sumOfAddress(packet.source);
  const after = sumOfAddress(to);
  updateTransport(packet, before, after);
  if (packet.family == 4) {
    ipv4Of(packet).setSource(to);
    ipv4Of(packet).updateChecksum(before, after);
  } else ipv6Of(packet).setSource(to);
  copyAddress(packet.source, to);
}

export function rewriteDestination(packet: PacketRecord, to: usize): void {
  const before = sumOfAddress(packet.destination);
  const after = sumOfAddress(to);
  updateTransport(packet, before, after);
  if (packet.family == 4) {
    ipv4Of(packet).setDestination(to);
    ipv4Of(packet).updateChecksum(before, after);
  } else ipv6Of(packet).setDestination(to);
  copyAddress(packet.destination, to);
}

/** Of an ICMP echo the identifier stands for both ports. */
export function rewriteSourcePort(packet: PacketRecord, port: u32): void {
  if (packet.sourcePort == <u16>port) return;
  packet.sourcePort = <u16>port;
  if (packet.protocol == <u8>PROTOCOL_TCP) tcpOf(packet).rewriteSourcePort(port);
  else if (packet.protocol == <u8>PROTOCOL_UDP) udpOf(packet).rewriteSourcePort(port);
  else if (packet.protocol == <u8>PROTOCOL_SCTP) Sctp.at(l4At(packet)).rewriteSourcePort(port, l4Bytes(packet));
  else rewriteIdentifier(packet, port);
}

export function rewriteDestinationPort(packet: PacketRecord, port: u32): void {
  if (packet.destinationPort == <u16>port) return;
  packet.destinationPort = <u16>port;
  if (packet.protocol == <u8>PROTOCOL_TCP) tcpOf(packet).rewriteDestinationPort(port);
  else if (packet.protocol == <u8>PROTOCOL_UDP) udpOf(packet).rewriteDestinationPort(port);
  else if (packet.protocol == <u8>PROTOCOL_SCTP) Sctp.at(l4At(packet)).rewriteDestinationPort(port, l4Bytes(packet));
  else rewriteIdentifier(packet, port);
}

function rewriteIdentifier(packet: PacketRecord, identifier: u32): void {
  if (packet.protocol == <u8>PROTOCOL_ICMP) Icmpv4.at(l4At(packet)).rewriteIdentifier(identifier);
  else if (packet.protocol == <u8>PROTOCOL_ICMPV6) Icmpv6.at(l4At(packet)).rewriteIdentifier(identifier);
}

/** The ffff of a mapped address is zero in the sum, so header and transport share one. ICMP over IPv4 and SCTP have no pseudo header. */
function updateTransport(packet: PacketRecord, before: u32, after: u32): void {
  if (packet.protocol == <u8>PROTOCOL_TCP) tcpOf(packet).updateChecksum(before, after);
  else if (isUdp(packet.protocol)) udpOf(packet).updateChecksum(before, after);
  else if (packet.protocol == <u8>PROTOCOL_ICMPV6) Icmpv6.at(l4At(packet)).updateChecksum(before, after);
}

/** UDP-Lite has its checksum where UDP has it and the same addresses in it, whatever part of the data it covers (RFC 3828, 3.1). */
function isUdp(protocol: u32): bool {
  return protocol == PROTOCOL_UDP || protocol == PROTOCOL_UDP_LITE;
}
