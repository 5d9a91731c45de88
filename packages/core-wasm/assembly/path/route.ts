// route: where the packet goes next, and how large it may be. Before anything is rewritten, so that an ICMP error can still quote
// the packet as it came. Leaves hostSlot, outer addresses, outerOverhead, portOut, nextHop, and the largest inner packet in scratch0.
import {
  Encapsulation,
  HostPmtu,
  HOST_PMTU_BYTES,
  NONE,
  PMTU_LIFE_MS,
  PacketFlag,
  PacketRecord,
  Reason,
  TargetRow,
} from '../layout.gen';
import { bank, hostPmtu, nowMs } from '../memory';
import { findNeighbour, findRoute, routeMtu, routePort } from '../table/next-hop';
import { hostAt, isZero, ownTunnel, portAt } from '../table/rows';
import { drop } from '../verdict';
import { copyAddress } from '../wire/ipv6';

const IPIP_OVER_V4: u32 = 20;
const GRE_OVER_V4: u32 = 28;
const OVER_V6_MORE: u32 = 20;
const SYN: u8 = 2;

/** Towards a target, by its encapsulation. */
export function routeToTarget(packet: PacketRecord, target: TargetRow): bool {
  const encapsulation: u32 = target.encapsulation;
  if (encapsulation == Encapsulation.Gre || encapsulation == Encapsulation.Ipip) {
    packet.tunnelKey = target.net;
    return tunnelTo(packet, target.host, encapsulation, false);
  }
  if (encapsulation == Encapsulation.L2) packet.flags |= <u16>PacketFlag.NextHopIsTarget;
  packet.outerOverhead = 0;
  return lookup(packet, target.address);
}

/** Through GRE with the net as key to a host; from E for the stateless tier (P28), else from our tunnel address. */
export function routeToHost(packet: PacketRecord, host: u32, net: u32): bool {
  packet.tunnelKey = net;
  return tunnelTo(packet, host, Encapsulation.Gre, true);
}

/** To an outer destination that a flow remembers: the host of a client inside a VPC. */
export function routeToTunnel(packet: PacketRecord, destination: usize, net: u32): bool {
  const own = ownTunnel();
  const isV4 = isV4Address(destination);
  packet.tunnelKey = net;
  packet.hostSlot = NONE;
  packet.outerOverhead = isV4 ? GRE_OVER_V4 : GRE_OVER_V4 + OVER_V6_MORE;
  // In this order: the destination may be the outer source that the packet came with.
  copyAddress(packet.outerDestination, destination);
  copyAddress(packet.outerSource, isV4 ? own.v4 : own.v6);
  packet.flags |= <u16>PacketFlag.Encapsulated;
  return !isZero(packet.outerSource) ? lookup(packet, packet.outerDestination) : drop(packet, Reason.NoHost);
}

/**
 * What a packet towards a target may carry: a SYN/ACK announces what the client may send, so it is clamped to the way in as well.
 * Comes before the way out is looked up, because both use the same answer of the route table.
 */
export function clampToTarget(packet: PacketRecord, target: TargetRow): bool {
  packet.scratch1 = 0;
  if ((packet.tcpFlags & SYN) == 0) return true;
  const encapsulation: u32 = target.encapsulation;
  const isTunnel = encapsulation == Encapsulation.Gre || encapsulation == Encapsulation.Ipip;
  if (!isTunnel || target.host == NONE) return true;
  const row = hostAt(target.host);
  const isV4 = !isZero(row.v4) && !isZero(ownTunnel().v4);
  if (!findRoute(isV4 ? row.v4 : row.v6)) return true;
  const overhead = overheadOf(encapsulation, isV4);
  const mtu = min(mtuOfRoute(), learnedMtu(target.host));
  packet.scratch1 = mtu > overhead ? mtu - overhead : 0;
  return true;
}

/** To an address as the packet stands: a client. */
export function routeTo(packet: PacketRecord, destination: usize): bool {
  packet.outerOverhead = 0;
  packet.hostSlot = NONE;
  return lookup(packet, destination);
}

function tunnelTo(packet: PacketRecord, host: u32, encapsulation: u32, isStateless: bool): bool {
  if (host == NONE) return drop(packet, Reason.NoHost);
  const row = hostAt(host);
  const own = ownTunnel();
  const source4 = isStateless ? bank.anycast4 : own.v4;
  const source6 = isStateless ? bank.anycast6 : own.v6;
  const isV4 = !isZero(row.v4) && !isZero(source4);
  if (!isV4 && (isZero(row.v6) || isZero(source6))) return drop(packet, Reason.NoHost);
  packet.hostSlot = host;
  packet.outerOverhead = overheadOf(encapsulation, isV4);
  copyAddress(packet.outerSource, isV4 ? source4 : source6);
  copyAddress(packet.outerDestination, isV4 ? row.v4 : row.v6);
  packet.flags |= <u16>PacketFlag.Encapsulated;
  return lookup(packet, packet.outerDestination);
}

function lookup(packet: PacketRecord, destination: usize): bool {
  if (!findRoute(destination)) return drop(packet, Reason.NoRoute);
  packet.portOut = <u8>routePort;
  let mtu = mtuOfRoute();
  if (packet.hostSlot != NONE) mtu = min(mtu, learnedMtu(packet.hostSlot));
  packet.scratch0 = mtu > packet.outerOverhead ? mtu - packet.outerOverhead : 0;
  packet.nextHop = findNeighbour();
  return true;
}

function mtuOfRoute(): u32 {
  const portMtu = portAt(routePort).mtu;
  return routeMtu == 0 ? portMtu : min(routeMtu, portMtu);
}

function overheadOf(encapsulation: u32, isV4: bool): u32 {
  return (encapsulation == Encapsulation.Gre ? GRE_OVER_V4 : IPIP_OVER_V4) + (isV4 ? 0 : OVER_V6_MORE);
}

/** MTU learned of the tunnel to a host; NONE where nothing is known. */
export function learnedMtu(host: u32): u32 {
  const row = HostPmtu.at(hostPmtu + <usize>host * HOST_PMTU_BYTES);
  return row.mtu != 0 && row.untilMs - nowMs <= PMTU_LIFE_MS ? row.mtu : NONE;
}

function isV4Address(address: usize): bool {
  return load<u64>(address) == 0 && load<u32>(address, 8) == 0xffff0000;
}
