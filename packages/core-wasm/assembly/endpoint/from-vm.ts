// The walk of a frame from a VM (P7.5). The order of the ways out is the contract: exact memory, internal VIP, own VPC, coarse memory,
// registered target, EIP. Exact memory comes first, because a reply to a client VM of the same VPC must still pass the director.
import { EndpointFlag, EndpointKind, EndpointRow, PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { isZero } from '../table/rows';
import { consume, drop } from '../verdict';
import { ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Ethernet, isSameMac } from '../wire/ethernet';
import { ICMPV6_ECHO } from '../wire/icmpv6';
import { ICMPV4_ECHO } from '../wire/icmpv4';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, isMapped } from '../wire/ipv4';
import { isSameAddress } from '../wire/ipv6';
import { TCP_ACK, TCP_SYN } from '../wire/tcp';
import { bank, find, isNone, portAt, state } from './bank';
import { deliverToVm } from './deliver';
import { answerArp, answerSolicitation, isSolicitation } from './gateway';
import { isFragment, parse, parseLink } from './parse';
import { rendezvous } from './rendezvous';
import { recallCoarse, recallExact } from './return-memory';
import { sendGre } from './tunnel';

export function fromVm(packet: PacketRecord): void {
  const port = portAt(packet.portIn);
  if (port.isVm == 0) {
    drop(packet, Reason.UnknownVm);
    return;
  }
  if (!parseLink(packet)) return;
  const ethernet = Ethernet.at(slab + packet.address);
  if (!isSameMac(ethernet.sourceAt, port.mac)) {
    drop(packet, Reason.SpoofedSource);
    return;
  }
  packet.net = port.net;
  if (<u32>packet.etherType == ETHER_TYPE_ARP) {
    answerArp(packet);
    return;
  }
  if (<u32>packet.etherType != ETHER_TYPE_IPV4 && <u32>packet.etherType != ETHER_TYPE_IPV6) {
    drop(packet, Reason.NotIp);
    return;
  }
  if (!parse(packet)) return;
  if (isSolicitation(packet)) {
    answerSolicitation(packet);
    return;
  }
  // Router solicitations, MLD, mDNS: a VPC has no multicast.
  if (ethernet.isGroup || isGroupAddress(packet.destination)) {
    consume(packet, Reason.KernelOnly);
    return;
  }
  const vm = find(EndpointKind.Vm, packet.net, packet.source, 0, 0);
  if (isNone(vm) || vm.device != <u16>packet.portIn) {
    drop(packet, Reason.SpoofedSource);
    return;
  }
  wayOut(packet, vm);
}

function wayOut(packet: PacketRecord, vm: EndpointRow): bool {
  const exact = recallExact(packet);
  if (exact != 0) {
    state.recalledExact += 1;
    return sendGre(packet, exact);
  }
  if (!isNone(find(EndpointKind.InternalVip, packet.net, packet.destination, 0, 0))) return toDirector(packet);
  const neighbour = find(EndpointKind.Vm, packet.net, packet.destination, 0, 0);
  if (!isNone(neighbour)) {
    state.eastWest += 1;
    return deliverToVm(packet, neighbour);
  }
  const place = find(EndpointKind.Place, packet.net, packet.destination, 0, 0);
  if (!isNone(place)) return toHost(packet, place);
  const isRegistered = !isNone(
    find(EndpointKind.Registered, packet.net, packet.source, packet.sourcePort, packet.protocol),
  );
  const hasEip = (vm.flags & EndpointFlag.HasEip) != 0;
  if (mayBeReply(packet) && (!hasEip || isRegistered || isFragment(packet))) {
    const coarse = recallCoarse(packet);
    if (coarse != 0) {
      state.recalledCoarse += 1;
      return sendGre(packet, coarse);
    }
  }
  if (isRegistered && mayBeReply(packet)) return toDirector(packet);
  if (hasEip) return toAnycast(packet);
  return drop(packet, Reason.NoWayOut);
}

/** The coarse memory and the registered targets serve replies only: what a VM starts itself must not vanish in a director (P28). */
function mayBeReply(packet: PacketRecord): bool {
  if (isFragment(packet)) return true;
  const protocol: u32 = packet.protocol;
  if (protocol == PROTOCOL_TCP) return (packet.tcpFlags & <u8>(TCP_SYN | TCP_ACK)) != <u8>TCP_SYN;
  if (protocol != PROTOCOL_ICMP && protocol != PROTOCOL_ICMPV6) return true;
  const type = <u32>load<u8>(slab + packet.address + packet.l4);
  return type != (protocol == PROTOCOL_ICMP ? ICMPV4_ECHO : ICMPV6_ECHO);
}

function toDirector(packet: PacketRecord): bool {
  const tunnel = rendezvous(packet);
  return tunnel == 0 ? drop(packet, Reason.NoWayOut) : sendGre(packet, tunnel);
}

/** A VM that the map places here but that no device serves is a mistake of the image, not a packet for the underlay. */
function toHost(packet: PacketRecord, place: EndpointRow): bool {
  if (isSameAddress(place.value, bank.underlay4) || isSameAddress(place.value, bank.underlay6)) {
    return drop(packet, Reason.UnknownVm);
  }
  state.eastWest += 1;
  return sendGre(packet, place.value);
}

function toAnycast(packet: PacketRecord): bool {
  const useV4 = !isZero(bank.anycast4) && !isZero(bank.underlay4);
  const anycast = useV4 ? bank.anycast4 : bank.anycast6;
  if (isZero(anycast)) return drop(packet, Reason.NoWayOut);
  state.stateless += 1;
  return sendGre(packet, anycast);
}

/** Multicast and broadcast destinations. */
function isGroupAddress(address: usize): bool {
  if (isMapped(address)) return load<u8>(address, 12) >= 224;
  return load<u8>(address) == 0xff;
}
