// The gateway of every VM (P7.3): answers ARP (RFC 826) and neighbour solicitations (RFC 4861) for every address but the asker's own,
// so no tenant sees another at layer 2. A duplicate-address probe (RFC 5227, RFC 4862) is never answered: that would take the address.
import { PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { consume, drop, forward } from '../verdict';
import { ARP_BYTES, ARP_REPLY, ARP_REQUEST, Arp } from '../wire/arp';
import { sumOfPseudoHeader } from '../wire/checksum';
import { ETHERNET_BYTES, Ethernet, copyMac } from '../wire/ethernet';
import {
  ADVERTISEMENT_BYTES,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  Icmpv6,
  NEIGHBOUR_OVERRIDE,
  NEIGHBOUR_ROUTER,
  NEIGHBOUR_SOLICITED,
} from '../wire/icmpv6';
import { PROTOCOL_ICMPV6, storeMapped } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6, copyAddress, isSameAddress } from '../wire/ipv6';
import { bank, state } from './bank';
import { isOwn } from './spoof';

const NEIGHBOUR_HOP_LIMIT: u32 = 255;

export function answerArp(packet: PacketRecord): bool {
  const arp = Arp.at(slab + packet.address + packet.l3);
  if (packet.length < <u32>packet.l3 || !arp.isWellFormed(packet.length - <u32>packet.l3))
    return drop(packet, Reason.TooShort);
  if (arp.operation != ARP_REQUEST || arp.isProbe || arp.isAnnouncement) return consume(packet, Reason.KernelOnly);
  const asked = arp.target;
  storeMapped(packet.source, bswap<u32>(arp.sender));
  storeMapped(packet.destination, bswap<u32>(asked));
  if (!isOwn(packet, packet.source)) return drop(packet, Reason.SpoofedSource);
  if (isOwn(packet, packet.destination)) return consume(packet, Reason.KernelOnly);
  arp.setOperation(ARP_REPLY);
  copyMac(arp.targetMacAt, arp.senderMacAt);
  arp.setTarget(arp.sender);
  arp.setSender(asked);
  copyMac(arp.senderMacAt, bank.gatewayMac);
  return answer(packet, <u32>packet.l3 + ARP_BYTES);
}

export function isSolicitation(packet: PacketRecord): bool {
  if (packet.family != 6 || packet.protocol != <u8>PROTOCOL_ICMPV6 || packet.l3End < <u32>packet.l4 + 8) return false;
  return Icmpv6.at(slab + packet.address + packet.l4).type == ICMPV6_NEIGHBOUR_SOLICITATION;
}

/** Expects a parsed packet for which `isSolicitation` holds. */
export function answerSolicitation(packet: PacketRecord): bool {
  const frame = slab + packet.address;
  const ip = Ipv6.at(frame + packet.l3);
  const icmp = Icmpv6.at(frame + packet.l4);
  const bytes = packet.l3End - <u32>packet.l4;
  if (!icmp.isNeighbour(bytes) || ip.hopLimit != NEIGHBOUR_HOP_LIMIT) return drop(packet, Reason.BadHeader);
  // Duplicate-address detection asks from the unspecified address.
  if (load<u64>(packet.source) == 0 && load<u64>(packet.source, 8) == 0) return consume(packet, Reason.KernelOnly);
  if (!isOwn(packet, packet.source) && !isLinkLocal(packet.source)) return drop(packet, Reason.SpoofedSource);
  copyAddress(packet.destination, icmp.neighbourTargetAt);
  if (isOwn(packet, packet.destination) || isSameAddress(packet.source, packet.destination)) {
    return consume(packet, Reason.KernelOnly);
  }
  // Extension headers of the question, if any, are not repeated in the answer.
  const reply = Icmpv6.at(frame + packet.l3 + IPV6_BYTES);
  ip.setVersionClassAndLabel(0, 0);
  ip.setPayloadLength(ADVERTISEMENT_BYTES);
  ip.setNextHeader(PROTOCOL_ICMPV6);
  ip.setSource(packet.destination);
  ip.setDestination(packet.source);
  reply.setTypeAndCode(ICMPV6_NEIGHBOUR_ADVERTISEMENT, 0);
  reply.setNeighbourFlags(NEIGHBOUR_ROUTER | NEIGHBOUR_SOLICITED | NEIGHBOUR_OVERRIDE);
  copyAddress(reply.neighbourTargetAt, packet.destination);
  reply.setTargetMac(bank.gatewayMac);
  const pseudoHeader = sumOfPseudoHeader(packet.destination, packet.source, PROTOCOL_ICMPV6, ADVERTISEMENT_BYTES);
  reply.setChecksum(pseudoHeader, ADVERTISEMENT_BYTES);
  return answer(packet, <u32>packet.l3 + IPV6_BYTES + ADVERTISEMENT_BYTES);
}

export function isLinkLocal(address: usize): bool {
  return load<u8>(address) == 0xfe && (load<u8>(address, 1) & 0xc0) == 0x80;
}

/** Back to where the question came from; the frame keeps its VLAN tag. */
function answer(packet: PacketRecord, length: u32): bool {
  if ((packet.address & 2047) + length > 2048) return drop(packet, Reason.NoHeadroom);
  const ethernet = Ethernet.at(slab + packet.address);
  ethernet.setDestination(ethernet.sourceAt);
  ethernet.setSource(bank.gatewayMac);
  packet.length = max(length, ETHERNET_BYTES);
  packet.flags |= <u16>PacketFlag.Generated;
  state.answered += 1;
  return forward(packet, packet.portIn);
}
