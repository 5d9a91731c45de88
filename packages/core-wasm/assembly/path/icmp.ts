// icmp: echo to a VIP, answered in place (P17); errors to a VIP and from a target, translated with their quote (P16); packet-too-big
// about our own tunnel, learned (P14).
import {
  AddressKind,
  HOST_PMTU_BYTES,
  HostPmtu,
  NONE,
  PMTU_LIFE_MS,
  PMTU_MIN_V4,
  PMTU_MIN_V6,
  PacketFlag,
  PacketRecord,
  Reason,
  Step,
  Translation,
} from '../layout.gen';
import { bank, hostPmtu, nowMs, readOnly } from '../memory';
import { findAddress } from '../table/address';
import { takeEchoToken } from '../table/bucket';
import { hashForward, lookupForward, lookupReverse, replyPort } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { consume, drop } from '../verdict';
import {
  ICMPV4_CODE_FRAGMENTATION_NEEDED,
  ICMPV4_ECHO,
  ICMPV4_ECHO_REPLY,
  ICMPV4_UNREACHABLE,
  Icmpv4,
} from '../wire/icmpv4';
import { ICMPV6_ECHO, ICMPV6_ECHO_REPLY, ICMPV6_PACKET_TOO_BIG, Icmpv6 } from '../wire/icmpv6';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { ipv4Of, ipv6Of, l4At } from './frame';
import {
  quoteDestinationPort,
  quoteProtocol,
  quoteSourcePort,
  readQuote,
  rewriteQuotedDestination,
  rewriteQuotedSource,
} from './quote';
import { rewriteDestination, rewriteSource } from './rewrite';
import { trace } from './trace';

const ECHO_TTL: u32 = 64;

export function isIcmp(packet: PacketRecord): bool {
  return packet.protocol == <u8>PROTOCOL_ICMP || packet.protocol == <u8>PROTOCOL_ICMPV6;
}

export function isIcmpError(packet: PacketRecord): bool {
  if (packet.protocol == <u8>PROTOCOL_ICMP) return Icmpv4.at(l4At(packet)).isError;
  return packet.protocol == <u8>PROTOCOL_ICMPV6 && Icmpv6.at(l4At(packet)).isError;
}

/** An echo becomes its own reply, to be routed to `packet.destination`. */
export function echo(packet: PacketRecord): bool {
  const isV4 = packet.family == 4;
  const type = isV4 ? Icmpv4.at(l4At(packet)).type : Icmpv6.at(l4At(packet)).type;
  trace(packet, Step.Icmp, type, 0, 0, 0);
  if (type != (isV4 ? ICMPV4_ECHO : ICMPV6_ECHO)) return drop(packet, Reason.IcmpType);
  if (!takeEchoToken()) return drop(packet, Reason.EchoLimited);
  // Swapping the ends changes no checksum.
  if (isV4) {
    const ip = ipv4Of(packet);
    ip.setSource(packet.destination);
    ip.setDestination(packet.source);
    ip.rewriteTtl(ECHO_TTL);
    Icmpv4.at(l4At(packet)).rewriteType(ICMPV4_ECHO_REPLY);
  } else {
    const ip = ipv6Of(packet);
    ip.setSource(packet.destination);
    ip.setDestination(packet.source);
    ip.setHopLimit(ECHO_TTL);
    Icmpv6.at(l4At(packet)).rewriteType(ICMPV6_ECHO_REPLY);
  }
  const high = packet.sourceHigh;
  const low = packet.sourceLow;
  copyAddress(packet.source, packet.destination);
  packet.destinationHigh = high;
  packet.destinationLow = low;
  packet.flags |= <u16>PacketFlag.Generated;
  return true;
}

/**
 * An error to a VIP: finds the flow by the quoted packet (V:vport → C:cport). Leaves listener, flow and target; both are NONE when
 * another director may have the flow. Changes nothing.
 */
export function matchInboundError(packet: PacketRecord): bool {
  const vip = packet.outerSource;
  const client = packet.outerDestination;
  if (!readQuote(packet, vip, client)) return drop(packet, Reason.IcmpUnmatched);
  packet.listenerSlot = findAddress(AddressKind.Listener, packet.net, vip, quoteSourcePort, quoteProtocol);
  if (packet.listenerSlot == NONE) return drop(packet, Reason.IcmpUnmatched);
  const hash = hashForward(packet.listenerSlot, client, quoteDestinationPort);
  packet.flowSlot = lookupForward(hash, packet.listenerSlot, client, quoteDestinationPort);
  if (packet.flowSlot != NONE) packet.targetSlot = flowAt(packet.flowSlot).target;
  return true;
}

/** The target must find in the quote what it sent itself. Without a flow the client’s own end stands there already. */
export function translateInboundError(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  const target = targetAt(packet.targetSlot);
  if (listener.translation == <u8>Translation.None) return true;
  rewriteQuotedSource(packet, listener.vip, target.address, replyPort(listener, target));
  if (packet.flowSlot != NONE) {
    const entry = flowAt(packet.flowSlot);
    rewriteQuotedDestination(packet, entry.client, entry.seen, entry.seenPort);
  }
  rewriteDestination(packet, target.address);
  return true;
}

/** An error from a target's side: the quoted packet is (seen → target). The client must find in it what it sent to the VIP. */
export function matchOutboundError(packet: PacketRecord): bool {
  const seen = packet.outerSource;
  const answering = packet.outerDestination;
  if (!readQuote(packet, seen, answering)) return drop(packet, Reason.IcmpUnmatched);
  packet.flowSlot = lookupReverse(packet.net, answering, quoteDestinationPort, quoteProtocol, seen, quoteSourcePort);
  if (packet.flowSlot == NONE) return drop(packet, Reason.IcmpUnmatched);
  packet.listenerSlot = flowAt(packet.flowSlot).listener;
  packet.targetSlot = flowAt(packet.flowSlot).target;
  return true;
}

export function translateOutboundError(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  if (listener.translation == <u8>Translation.None) return true;
  const target = targetAt(packet.targetSlot);
  const entry = flowAt(packet.flowSlot);
  rewriteQuotedDestination(packet, target.address, listener.vip, listener.vport);
  rewriteQuotedSource(packet, entry.seen, entry.client, entry.clientPort);
  rewriteSource(packet, listener.vip);
  rewriteDestination(packet, entry.client);
  return true;
}

/** An error about a tunnel of ours: packet-too-big lowers what the host may be sent; the rest is absorbed. Makes no flow. */
export function learnTunnel(packet: PacketRecord): bool {
  const source = packet.outerSource;
  const host = packet.outerDestination;
  const mtu = tooBigMtu(packet);
  if (mtu == 0 || readOnly || !readQuote(packet, source, host)) return consume(packet, Reason.TunnelPmtu);
  const slot = findAddress(AddressKind.Trusted, 0, host, 0, 0);
  const isOurs =
    findAddress(AddressKind.Tunnel, 0, source, 0, 0) != NONE ||
    findAddress(AddressKind.Anycast, 0, source, 0, 0) != NONE;
  if (!isOurs || slot >= bank.hosts) return consume(packet, Reason.TunnelPmtu);
  const row = HostPmtu.at(hostPmtu + <usize>slot * HOST_PMTU_BYTES);
  row.mtu = max(mtu, packet.family == 4 ? PMTU_MIN_V4 : PMTU_MIN_V6);
  row.untilMs = nowMs + PMTU_LIFE_MS;
  return consume(packet, Reason.TunnelPmtu);
}

function tooBigMtu(packet: PacketRecord): u32 {
  if (packet.family == 4) {
    const icmp = Icmpv4.at(l4At(packet));
    return icmp.type == ICMPV4_UNREACHABLE && icmp.code == ICMPV4_CODE_FRAGMENTATION_NEEDED ? icmp.mtu : 0;
  }
  const icmp = Icmpv6.at(l4At(packet));
  return icmp.type == ICMPV6_PACKET_TOO_BIG ? icmp.mtu : 0;
}
