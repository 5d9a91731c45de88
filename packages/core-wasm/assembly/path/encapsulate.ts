// encapsulate: IP in IP (RFC 2003, 2473, 4213) or GRE with a key (RFC 2784, 2890) around the packet, addresses as route has chosen them.
// Outer header: DF, id 0, TTL 64, DSCP and ECN of the inner packet (RFC 6040), over IPv6 a flow label of the inner flow
// (RFC 6438), no GRE checksum (P14).
import { Encapsulation, PacketFlag, PacketRecord, Reason, Step } from '../layout.gen';
import { drop } from '../verdict';
import { flowLabelOf } from '../wire/entropy';
import { ETHER_TYPE_IPV4, ETHER_TYPE_IPV6 } from '../wire/ethernet';
import { Gre } from '../wire/gre';
import { IPV4_BYTES, Ipv4, PROTOCOL_GRE, PROTOCOL_IPIP, PROTOCOL_IPV6, isMapped } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';
import { ipBytes, ipv4Of, ipv6Of, l3At, prepend } from './frame';
import { trace } from './trace';

const OUTER_TTL: u32 = 64;

/** Nothing to do when the target needs no tunnel. */
export function encapsulate(packet: PacketRecord, encapsulation: Encapsulation): bool {
  if ((packet.flags & <u16>PacketFlag.Encapsulated) == 0) {
    trace(packet, Step.Encapsulate, encapsulation, 0, packet.hostSlot, 0);
    return true;
  }
  const innerFamily: u32 = packet.family;
  const trafficClass = innerFamily == 4 ? ipv4Of(packet).trafficClass : ipv6Of(packet).trafficClass;
  const isV4 = isMapped(packet.outerDestination);
  const label = isV4 ? 0 : flowLabelOf(l3At(packet), innerFamily);
  if (!prepend(packet, packet.outerOverhead)) return drop(packet, Reason.NoHeadroom);
  const isGre = encapsulation == Encapsulation.Gre;
  const protocol = isGre ? PROTOCOL_GRE : innerFamily == 4 ? PROTOCOL_IPIP : PROTOCOL_IPV6;
  if (isV4) writeOuter4(packet, trafficClass, protocol);
  else writeOuter6(packet, trafficClass, label, protocol);
  if (isGre) writeGre(l3At(packet) + (isV4 ? IPV4_BYTES : IPV6_BYTES), innerFamily, packet.tunnelKey);
  packet.etherType = <u16>(isV4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6);
  trace(packet, Step.Encapsulate, encapsulation, packet.tunnelKey, packet.hostSlot, packet.outerOverhead);
  return true;
}

function writeOuter4(packet: PacketRecord, trafficClass: u32, protocol: u32): void {
  Ipv4.at(l3At(packet)).setOuter(
    trafficClass,
    ipBytes(packet),
    OUTER_TTL,
    protocol,
    packet.outerSource,
    packet.outerDestination,
  );
}

function writeOuter6(packet: PacketRecord, trafficClass: u32, label: u32, protocol: u32): void {
  const ip = Ipv6.at(l3At(packet));
  ip.setVersionClassAndLabel(trafficClass, label);
  ip.setPayloadLength(ipBytes(packet) - IPV6_BYTES);
  ip.setNextHeader(protocol);
  ip.setHopLimit(OUTER_TTL);
  ip.setSource(packet.outerSource);
  ip.setDestination(packet.outerDestination);
}

function writeGre(at: usize, innerFamily: u32, key: u32): void {
  Gre.at(at).setHeader(innerFamily == 4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6, key);
}
