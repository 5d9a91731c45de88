// The walk of a frame from the underlay (P7.2, P38): decapsulate → trust → parse → remember → deliver by (net, inner destination).
import { EndpointKind, PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { consume, drop } from '../verdict';
import { ETHER_TYPE_IPV4, ETHER_TYPE_IPV6 } from '../wire/ethernet';
import { GRE_BYTES, Gre } from '../wire/gre';
import { Ipv4, PROTOCOL_GRE, PROTOCOL_IPIP, PROTOCOL_IPV6 } from '../wire/ipv4';
import {
  Ipv6,
  MALFORMED,
  findTransport,
  isFragment as isIpv6Fragment,
  isSameAddress,
  transportOffset,
  transportProtocol,
} from '../wire/ipv6';
import { find, isKnown, isNone } from './bank';
import { deliverInside, deliverToVm } from './deliver';
import { mergeEcn } from './ecn';
import { mtuOf } from './emit';
import { follow } from './follow';
import { parse, parseLink } from './parse';
import { remember } from './return-memory';
import { clampSyn, overheadOf } from './tunnel';

const UPLINK_PORT: u32 = 0;
/** GRE keys from here on belong to peers of the directors (P9). */
const PEER_KEYS: u32 = 0xffffff00;

export function fromUplink(packet: PacketRecord): void {
  if (!parseLink(packet) || !decapsulate(packet)) return;
  const isDirector = isKnown(EndpointKind.Director, packet.outerSource);
  if (!isDirector && !isKnown(EndpointKind.Trusted, packet.outerSource)) {
    drop(packet, Reason.UntrustedTunnel);
    return;
  }
  const outerEcn = <u32>packet.scratch0;
  if (!parse(packet)) return;
  if (<u32>packet.etherType != <u32>packet.scratch1) {
    drop(packet, Reason.BadTunnel);
    return;
  }
  if (!mergeEcn(packet, outerEcn)) {
    drop(packet, Reason.Congestion);
    return;
  }
  clampSyn(packet, mtuOf(UPLINK_PORT) - overheadOf(packet.outerSource, isGre(packet)));
  deliverInner(packet, isDirector);
}

function isGre(packet: PacketRecord): bool {
  return packet.direction == <u8>PROTOCOL_GRE;
}

/** Takes the outer headers off. Leaves net, tunnelKey, both outer addresses; l3 is the inner packet. Everything else is the kernel's. */
function decapsulate(packet: PacketRecord): bool {
  const at = slab + packet.address + packet.l3;
  const bytes = packet.length - <u32>packet.l3;
  let protocol: u32 = 0;
  let header: u32 = 0;
  let end: u32 = 0;
  if (<u32>packet.etherType == ETHER_TYPE_IPV4) {
    const ip = Ipv4.at(at);
    if (!ip.isWellFormed(bytes)) return drop(packet, Reason.BadHeader);
    protocol = ip.protocol;
    if (!isTunnel(protocol)) return consume(packet, Reason.KernelOnly);
    if (!ip.isChecksumValid) return drop(packet, Reason.BadChecksum);
    if (ip.isFragment) return drop(packet, Reason.Fragment);
    header = ip.headerBytes;
    end = ip.totalLength;
    packet.scratch0 = ip.ecn;
    ip.copySourceTo(packet.outerSource);
    ip.copyDestinationTo(packet.outerDestination);
  } else if (<u32>packet.etherType == ETHER_TYPE_IPV6) {
    const ip = Ipv6.at(at);
    if (!ip.isWellFormed(bytes)) return drop(packet, Reason.BadHeader);
    const found = findTransport(ip);
    if (found == MALFORMED) return drop(packet, Reason.ExtensionHeaders);
    protocol = transportProtocol(found);
    if (!isTunnel(protocol)) return consume(packet, Reason.KernelOnly);
    if (isIpv6Fragment(found)) return drop(packet, Reason.Fragment);
    header = transportOffset(found);
    end = ip.totalLength;
    packet.scratch0 = ip.ecn;
    ip.copySourceTo(packet.outerSource);
    ip.copyDestinationTo(packet.outerDestination);
  } else {
    return consume(packet, Reason.KernelOnly);
  }
  // Tunnels that only pass through this machine are not ours to open.
  if (!isKnown(EndpointKind.Underlay, packet.outerDestination)) return consume(packet, Reason.KernelOnly);
  return readTunnel(packet, protocol, header, end);
}

function readTunnel(packet: PacketRecord, protocol: u32, header: u32, end: u32): bool {
  const inner = <u32>packet.l3 + header;
  packet.net = 0;
  packet.tunnelKey = 0;
  packet.scratch1 = protocol == PROTOCOL_IPV6 ? ETHER_TYPE_IPV6 : ETHER_TYPE_IPV4;
  // Which tunnel it was; nothing else uses the direction here.
  packet.direction = <u8>protocol;
  packet.flags |= <u16>PacketFlag.FromTunnel;
  packet.length = <u32>packet.l3 + end;
  packet.l3 = <u16>inner;
  if (protocol != PROTOCOL_GRE) return true;
  const gre = Gre.at(slab + packet.address + inner);
  if (!gre.isWellFormed(end - header) || gre.vpcId >= PEER_KEYS) return drop(packet, Reason.BadTunnel);
  packet.net = gre.vpcId;
  packet.tunnelKey = gre.vpcId;
  packet.scratch1 = gre.protocol;
  packet.l3 = <u16>(inner + GRE_BYTES);
  return true;
}

function isTunnel(protocol: u32): bool {
  return protocol == PROTOCOL_GRE || protocol == PROTOCOL_IPIP || protocol == PROTOCOL_IPV6;
}

function deliverInner(packet: PacketRecord, isDirector: bool): bool {
  const vm = find(EndpointKind.Vm, packet.net, packet.destination, 0, 0);
  if (!isNone(vm)) {
    if (packet.net == 0) return drop(packet, Reason.UnknownNet);
    if (!isDirector && !isFromItsHost(packet)) return drop(packet, Reason.SourceElsewhere);
    if (isDirector || isServiceAddress(packet.source)) remember(packet);
    return deliverToVm(packet, vm);
  }
  if (packet.net == 0) return deliverToMachine(packet, isDirector);
  // A reply to this proxy (P21): the address names the VPC, so the key must name the same.
  const source = find(EndpointKind.Source, 0, packet.destination, 0, 0);
  if (!isNone(source) && source.link == packet.net) return deliverInside(packet);
  if (!isNone(source)) return drop(packet, Reason.UnknownNet);
  // The new host trusts by the outer source, which stays: what it would refuse is refused here.
  if (!isDirector && !isFromItsHost(packet)) return drop(packet, Reason.SourceElsewhere);
  return follow(packet);
}

/** Key 0 and IPIP: VIPs that this proxy terminates (P20), or this physical server itself (P23). Only directors send those. */
function deliverToMachine(packet: PacketRecord, isDirector: bool): bool {
  if (!isDirector) return drop(packet, Reason.SourceElsewhere);
  if (isKnown(EndpointKind.LocalVip, packet.destination)) return deliverInside(packet);
  // A probe asks the proxy itself (P24); its kernel answers to the probe address without any tunnel.
  if (packet.tunnelKey == 0 && isGre(packet) && isKnown(EndpointKind.Underlay, packet.destination))
    return deliverInside(packet);
  if (!isKnown(EndpointKind.Physical, packet.destination)) return drop(packet, Reason.UnknownVm);
  remember(packet);
  return deliverInside(packet);
}

/** What a host sends on its own comes from a VM that lives there; what a proxy sends comes from its service addresses (P18, P21). */
function isFromItsHost(packet: PacketRecord): bool {
  if (isServiceAddress(packet.source)) return true;
  const place = find(EndpointKind.Place, packet.net, packet.source, 0, 0);
  return !isNone(place) && isSameAddress(place.value, packet.outerSource);
}

/** 100.64.0.0/10 and fd7c:6c62::/32: refused as tenant addresses (P18). */
export function isServiceAddress(address: usize): bool {
  if (load<u32>(address) == 0x626c7cfd) return true;
  return (
    load<u64>(address) == 0 &&
    load<u32>(address, 8) == 0xffff0000 &&
    load<u8>(address, 12) == 100 &&
    (load<u8>(address, 13) & 0xc0) == 64
  );
}
