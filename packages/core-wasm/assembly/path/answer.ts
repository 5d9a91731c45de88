// answer: turns a packet that could not go on into the ICMP error that its sender must get, in the name of the address it asked for
// (P14, P17). The frame is reused: the error goes in front of the packet, which becomes the quote.
import { Direction, NONE, PacketFlag, PacketRecord, Reason, Verdict } from '../layout.gen';
import { takeErrorToken } from '../table/bucket';
import { ETHER_TYPE_IPV4, ETHER_TYPE_IPV6 } from '../wire/ethernet';
import {
  ICMPV4_BYTES,
  ICMPV4_CODE_FRAGMENTATION_NEEDED,
  ICMPV4_TIME_EXCEEDED,
  ICMPV4_UNREACHABLE,
  Icmpv4,
} from '../wire/icmpv4';
import { ICMPV6_BYTES, ICMPV6_PACKET_TOO_BIG, ICMPV6_TIME_EXCEEDED, Icmpv6 } from '../wire/icmpv6';
import { IPV4_BYTES, Ipv4, PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6, copyAddress } from '../wire/ipv6';
import { sumOfPseudoHeader } from '../wire/checksum';
import { ipBytes, ipv4Of, l3At, l4At, prepend } from './frame';

/** RFC 1812, 4.3.2.3: an error fits 576 bytes; RFC 4443, 3.2: it fits 1,280. */
const QUOTE_V4_MAX: u32 = 576 - 28;
const QUOTE_V6_MAX: u32 = 1280 - 48;
const ANSWER_TTL: u32 = 64;
/** Protocol of a fragment behind the first. */
const NO_TRANSPORT: u8 = 255;

/** True when the record now holds an answer, addressed and ready to be routed to `packet.destination`. */
export function answer(packet: PacketRecord): bool {
  const reason: u32 = packet.reason;
  if (packet.verdict != <u8>Verdict.Drop || (reason != Reason.TooBig && reason != Reason.TtlExceeded)) return false;
  // Errors about errors never (RFC 1122, 3.2.2); IPv4 without DF would be fragmented, not refused.
  if (isIcmpError(packet)) return false;
  // Nor about any fragment but the first (RFC 1122, 3.2.2; RFC 4443, 2.4).
  if (packet.protocol == NO_TRANSPORT) return false;
  // A client inside a VPC is reached through its flow alone; an EIP has its host.
  const isEip = packet.direction == <u8>Direction.EipOutbound;
  if ((packet.flags & <u16>PacketFlag.FromTunnel) != 0 && packet.flowSlot == NONE && !isEip) return false;
  const isTooBig = reason == Reason.TooBig;
  if (isTooBig && packet.family == 4 && !ipv4Of(packet).dontFragment) return false;
  if (!takeErrorToken()) return false;
  const mtu = <u32>packet.scratch0;
  const isBuilt = packet.family == 4 ? answer4(packet, isTooBig, mtu) : answer6(packet, isTooBig, mtu);
  if (!isBuilt) return false;
  swapEnds(packet);
  packet.flags = (packet.flags & ~(<u16>PacketFlag.Encapsulated)) | <u16>PacketFlag.Generated;
  packet.verdict = <u8>Verdict.None;
  packet.reason = <u8>Reason.None;
  return true;
}

function isIcmpError(packet: PacketRecord): bool {
  if (packet.protocol == <u8>PROTOCOL_ICMP) return !Icmpv4.at(l4At(packet)).isEcho;
  return packet.protocol == <u8>PROTOCOL_ICMPV6 && Icmpv6.at(l4At(packet)).isError;
}

function answer4(packet: PacketRecord, isTooBig: bool, mtu: u32): bool {
  const quoted = min(ipBytes(packet), QUOTE_V4_MAX);
  packet.l3End = packet.l3 + quoted;
  if (!prepend(packet, IPV4_BYTES + ICMPV4_BYTES)) return false;
  const ip = Ipv4.at(l3At(packet));
  ip.setVersion();
  ip.setTrafficClass(0);
  ip.setTotalLength(ipBytes(packet));
  ip.setIdentification(0);
  ip.setDontFragment();
  ip.setTtl(ANSWER_TTL);
  ip.setProtocol(PROTOCOL_ICMP);
  ip.setSource(packet.destination);
  ip.setDestination(packet.source);
  ip.setChecksum();
  const icmp = Icmpv4.at(l3At(packet) + IPV4_BYTES);
  icmp.setTypeAndCode(
    isTooBig ? ICMPV4_UNREACHABLE : ICMPV4_TIME_EXCEEDED,
    isTooBig ? ICMPV4_CODE_FRAGMENTATION_NEEDED : 0,
  );
  icmp.setIdentifier(0);
  icmp.setMtu(isTooBig ? mtu : 0);
  icmp.setChecksum(ICMPV4_BYTES + quoted);
  packet.l4 = <u16>IPV4_BYTES;
  packet.protocol = <u8>PROTOCOL_ICMP;
  packet.etherType = <u16>ETHER_TYPE_IPV4;
  return true;
}

function answer6(packet: PacketRecord, isTooBig: bool, mtu: u32): bool {
  const quoted = min(ipBytes(packet), QUOTE_V6_MAX);
  packet.l3End = packet.l3 + quoted;
  if (!prepend(packet, IPV6_BYTES + ICMPV6_BYTES)) return false;
  const ip = Ipv6.at(l3At(packet));
  ip.setVersionClassAndLabel(0, 0);
  ip.setPayloadLength(ICMPV6_BYTES + quoted);
  ip.setNextHeader(PROTOCOL_ICMPV6);
  ip.setHopLimit(ANSWER_TTL);
  ip.setSource(packet.destination);
  ip.setDestination(packet.source);
  const icmp = Icmpv6.at(l3At(packet) + IPV6_BYTES);
  icmp.setTypeAndCode(isTooBig ? ICMPV6_PACKET_TOO_BIG : ICMPV6_TIME_EXCEEDED, 0);
  icmp.setMtu(isTooBig ? mtu : 0);
  icmp.setChecksum(
    sumOfPseudoHeader(ip.sourceAt, ip.destinationAt, PROTOCOL_ICMPV6, ICMPV6_BYTES + quoted),
    ICMPV6_BYTES + quoted,
  );
  packet.l4 = <u16>IPV6_BYTES;
  packet.protocol = <u8>PROTOCOL_ICMPV6;
  packet.etherType = <u16>ETHER_TYPE_IPV6;
  return true;
}

function swapEnds(packet: PacketRecord): void {
  const high = packet.sourceHigh;
  const low = packet.sourceLow;
  copyAddress(packet.source, packet.destination);
  packet.destinationHigh = high;
  packet.destinationLow = low;
}
