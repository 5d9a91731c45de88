// dispatch: which walk a packet takes, by destination (P3). A packet out of a tunnel is not always a reply, so it is asked twice.
import { AddressKind, Direction, NONE, PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { bank } from '../memory';
import { findAddress, findListener } from '../table/address';
import { isZero } from '../table/rows';
import { consume, drop, punt } from '../verdict';
import {
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  PROTOCOL_UDP_LITE,
} from '../wire/ipv4';
import { isSameAddress } from '../wire/ipv6';

/** Of the packet as it came from the wire; net 0. */
export function dispatch(packet: PacketRecord): bool {
  packet.net = 0;
  const protocol: u32 = packet.protocol;
  if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && isTunnel(protocol)) return dispatchTunnel(packet);
  packet.listenerSlot = findListener(packet.destination, packet.destinationPort, protocol);
  if (packet.listenerSlot != NONE) return go(packet, Direction.Inbound);
  if (isOwn(AddressKind.Eip, packet)) return go(packet, Direction.EipInbound);
  if (isOwn(AddressKind.Vip, packet)) return isIcmp(protocol) ? go(packet, Direction.Icmp) : noListener(packet);
  if (isProbe(packet)) return punt(packet, Reason.Probe);
  if (isIcmp(protocol) && (isOwn(AddressKind.Tunnel, packet) || isOwn(AddressKind.Anycast, packet)))
    return go(packet, Direction.TunnelIcmp);
  if (findAddress(AddressKind.Routed, 0, packet.source, 0, 0) != NONE) return go(packet, Direction.Outbound);
  return consume(packet, Reason.NotOurs);
}

/** Of the inner packet; net is the key of its tunnel. */
export function dispatchInner(packet: PacketRecord): bool {
  if (isTunnel(packet.protocol)) return drop(packet, Reason.NestedTunnel);
  if (isProbe(packet)) return punt(packet, Reason.Probe);
  if (packet.direction == <u8>Direction.EipOutbound) return true;
  // A question of a peer may be about a packet that came to a public VIP.
  const isAsked = packet.net == 0 && (packet.flags & <u16>PacketFlag.FromPeer) != 0;
  if (isAsked || (packet.net != 0 && bank.internalVips != 0)) {
    packet.listenerSlot = findAddress(
      AddressKind.Listener,
      packet.net,
      packet.destination,
      packet.destinationPort,
      packet.protocol,
    );
    if (packet.listenerSlot != NONE) return go(packet, Direction.Inbound);
    if (findAddress(AddressKind.Vip, packet.net, packet.destination, 0, 0) != NONE) {
      return isIcmp(packet.protocol) ? go(packet, Direction.Icmp) : noListener(packet);
    }
  }
  return go(packet, Direction.Outbound);
}

function dispatchTunnel(packet: PacketRecord): bool {
  if (isOwn(AddressKind.Tunnel, packet)) return go(packet, Direction.Tunnel);
  // What comes to E has no flow: it belongs to the stateless tier (P28).
  if (isOwn(AddressKind.Anycast, packet)) return go(packet, Direction.EipOutbound);
  return consume(packet, Reason.NotOurs);
}

function noListener(packet: PacketRecord): bool {
  return drop(packet, packet.protocol == <u8>PROTOCOL_UDP_LITE ? Reason.UdpLite : Reason.NoListener);
}

function isIcmp(protocol: u32): bool {
  return protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6;
}

function go(packet: PacketRecord, direction: Direction): bool {
  packet.direction = <u8>direction;
  return true;
}

function isTunnel(protocol: u32): bool {
  return protocol == PROTOCOL_GRE || protocol == PROTOCOL_IPIP || protocol == PROTOCOL_IPV6;
}

function isOwn(kind: AddressKind, packet: PacketRecord): bool {
  return findAddress(kind, 0, packet.destination, 0, 0) != NONE;
}

function isProbe(packet: PacketRecord): bool {
  const own = packet.family == 4 ? bank.probe4 : bank.probe6;
  return isSameAddress(own, packet.destination) && !isZero(own);
}
