// Packet-too-big from the gateway to whoever sent a packet that no tunnel takes (P14; RFC 1191, RFC 8201). Built in front of the
// packet itself, which becomes the quote, and sent back to the port that it came from.
import { PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { takeErrorToken } from '../table/bucket';
import { drop } from '../verdict';
import { Icmpv4, ICMPV4_BYTES, ICMPV4_CODE_FRAGMENTATION_NEEDED, ICMPV4_UNREACHABLE } from '../wire/icmpv4';
import { Icmpv6, ICMPV6_BYTES, ICMPV6_PACKET_TOO_BIG } from '../wire/icmpv6';
import { IPV4_BYTES, Ipv4, PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6, copyAddress } from '../wire/ipv6';
import { sumOfPseudoHeader } from '../wire/checksum';
import { bank } from './bank';
import { headroomOf } from './emit';
import { deliverBack } from './deliver';
import { lookupProtocol } from './parse';

/** RFC 1812, section 4.3.2.3: as much of the packet as fits 576 bytes; RFC 4443, section 3.2: 1,280 bytes. */
const ERROR_BYTES_V4: u32 = 576;
const ERROR_BYTES_V6: u32 = 1280;
const ERROR_TTL: u32 = 64;

export function tooBig(packet: PacketRecord, mtu: u32): bool {
  const isError = lookupProtocol(packet) != <u32>packet.protocol;
  if (isError) return drop(packet, Reason.TooBig);
  if (!takeErrorToken()) return drop(packet, Reason.ErrorLimited);
  const header = packet.family == 4 ? IPV4_BYTES + ICMPV4_BYTES : IPV6_BYTES + ICMPV6_BYTES;
  if (headroomOf(packet) < header) return drop(packet, Reason.NoHeadroom);
  const most = packet.family == 4 ? ERROR_BYTES_V4 : ERROR_BYTES_V6;
  const quoted = min(packet.l3End - <u32>packet.l3, most - header);
  packet.address = packet.address + <u32>packet.l3 - header;
  packet.length = header + quoted;
  packet.l3 = 0;
  packet.l3End = packet.length;
  packet.flags |= <u16>PacketFlag.Generated;
  copyAddress(packet.destination, packet.source);
  copyAddress(packet.source, packet.family == 4 ? bank.gateway4 : bank.gateway6);
  if (packet.family == 4) writeIpv4(packet, mtu);
  else writeIpv6(packet, mtu);
  return deliverBack(packet);
}

function writeIpv4(packet: PacketRecord, mtu: u32): void {
  const ip = Ipv4.at(slab + packet.address);
  ip.setVersion();
  ip.setTrafficClass(0);
  ip.setTotalLength(packet.length);
  ip.setIdentification(0);
  ip.setDontFragment();
  ip.setTtl(ERROR_TTL);
  ip.setProtocol(PROTOCOL_ICMP);
  ip.setSource(packet.source);
  ip.setDestination(packet.destination);
  ip.setChecksum();
  const icmp = Icmpv4.at(slab + packet.address + IPV4_BYTES);
  icmp.setTypeAndCode(ICMPV4_UNREACHABLE, ICMPV4_CODE_FRAGMENTATION_NEEDED);
  icmp.setIdentifier(0);
  icmp.setMtu(mtu);
  icmp.setChecksum(packet.length - IPV4_BYTES);
}

function writeIpv6(packet: PacketRecord, mtu: u32): void {
  const bytes = packet.length - IPV6_BYTES;
  const ip = Ipv6.at(slab + packet.address);
  ip.setVersionClassAndLabel(0, 0);
  ip.setPayloadLength(bytes);
  ip.setNextHeader(PROTOCOL_ICMPV6);
  ip.setHopLimit(ERROR_TTL);
  ip.setSource(packet.source);
  ip.setDestination(packet.destination);
  const icmp = Icmpv6.at(slab + packet.address + IPV6_BYTES);
  icmp.setTypeAndCode(ICMPV6_PACKET_TOO_BIG, 0);
  icmp.setMtu(mtu);
  icmp.setChecksum(sumOfPseudoHeader(packet.source, packet.destination, PROTOCOL_ICMPV6, bytes), bytes);
}
