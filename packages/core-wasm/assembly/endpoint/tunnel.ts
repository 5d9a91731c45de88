// Puts outer headers in front of the packet at l3 (P14): GRE with the VPC id as key, or IP in IP, over either family.
// Larger than the tunnel takes: packet-too-big from the gateway; SYNs are clamped so that TCP never gets there.
import { PacketFlag, PacketRecord, Reason, UPLINK } from '../layout.gen';
import { slab } from '../memory';
import { send as sendCopy } from '../port/port';
import { isZero } from '../table/rows';
import { drop } from '../verdict';
import { flowLabelOf } from '../wire/entropy';
import { GRE_BYTES, Gre } from '../wire/gre';
import {
  IPV4_BYTES,
  Ipv4,
  MORE_FRAGMENTS,
  OFFSET_MASK,
  PROTOCOL_GRE,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_TCP,
  isMapped,
} from '../wire/ipv4';
import { IPV6_BYTES, Ipv6, copyAddress } from '../wire/ipv6';
import { TCP_SYN, Tcp } from '../wire/tcp';
import { bank } from './bank';
import { emit, headroomOf, mtuOf } from './emit';
import { isFragment } from './parse';
import { tooBig } from './too-big';

const TUNNEL_TTL: u32 = 64;
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;

/** GRE whose key is the packet's net, to an outer destination of 16 bytes. */
export function sendGre(packet: PacketRecord, outer: usize): bool {
  packet.tunnelKey = packet.net;
  return send(packet, outer, true);
}

/** IPIP: net 0, physical servers (P23). */
export function sendIpip(packet: PacketRecord, outer: usize): bool {
  return send(packet, outer, false);
}

function send(packet: PacketRecord, outer: usize, isGre: bool): bool {
  const limit = mtuOf(UPLINK) - overheadOf(outer, isGre);
  if (packet.l3End - <u32>packet.l3 > limit) {
    return mayBeFragmented(packet) ? sendFragments(packet, outer, isGre, limit) : tooBig(packet, limit);
  }
  clampSyn(packet, limit);
  return wrap(packet, outer, isGre);
}

/** Outer headers, then the next hop. `outer` may point into the return memory or a row; both outlive this packet. */
function wrap(packet: PacketRecord, outer: usize, isGre: bool): bool {
  const overhead = overheadOf(outer, isGre);
  const innerBytes = packet.l3End - <u32>packet.l3;
  const underlay = isMapped(outer) ? bank.underlay4 : bank.underlay6;
  if (isZero(underlay)) return drop(packet, Reason.NoHost);
  if (!takeRoom(packet, overhead)) return drop(packet, Reason.NoHeadroom);
  copyAddress(packet.outerSource, underlay);
  copyAddress(packet.outerDestination, outer);
  const inner = slab + packet.address + overhead;
  const trafficClass = packet.family == 4 ? Ipv4.at(inner).trafficClass : Ipv6.at(inner).trafficClass;
  if (isMapped(outer)) writeOuterIpv4(packet, overhead + innerBytes, isGre, trafficClass);
  else
    writeOuterIpv6(packet, overhead + innerBytes - IPV6_BYTES, isGre, trafficClass, flowLabelOf(inner, packet.family));
  if (isGre) writeGre(packet, inner - GRE_BYTES);
  packet.flags |= <u16>PacketFlag.Encapsulated;
  return emit(packet, packet.outerDestination);
}

function mayBeFragmented(packet: PacketRecord): bool {
  return packet.family == 4 && !Ipv4.at(slab + packet.address + packet.l3).dontFragment;
}

/** RFC 791: the inner packet is cut in two, never the outer one (P14). The first part leaves as a copy, the record becomes the second. */
function sendFragments(packet: PacketRecord, outer: usize, isGre: bool, limit: u32): bool {
  const start = packet.address + <u32>packet.l3;
  const ip = Ipv4.at(slab + start);
  const header = ip.headerBytes;
  const first = (limit - header) & ~7;
  const rest = ip.totalLength - header - first;
  if (header + rest > limit) return drop(packet, Reason.TooBig);
  const field = ip.fragmentField;
  cut(ip, header + first, field | MORE_FRAGMENTS);
  packet.l3End = <u32>packet.l3 + header + first;
  if (!wrap(packet, outer, isGre)) return false;
  if (!sendCopy(packet.portOut, slab + packet.address, packet.length)) return drop(packet, Reason.TooBig);
  // The header of the first part goes in front of the rest, over what the copy has taken along.
  memory.copy(slab + start + first, slab + start, header);
  cut(Ipv4.at(slab + start + first), header + rest, (field & ~OFFSET_MASK) | ((field & OFFSET_MASK) + (first >> 3)));
  packet.address = start + first;
  packet.l3 = 0;
  packet.l3End = header + rest;
  return wrap(packet, outer, isGre);
}

function cut(ip: Ipv4, totalLength: u32, fragmentField: u32): void {
  ip.setTotalLength(totalLength);
  ip.setFragmentField(fragmentField);
  ip.setChecksum();
}

export function overheadOf(outer: usize, isGre: bool): u32 {
  return (isMapped(outer) ? IPV4_BYTES : IPV6_BYTES) + (isGre ? GRE_BYTES : 0);
}

/** Lowers the segment size that the other side will use to what fits the tunnel; both SYN and SYN/ACK pass here (P14). */
export function clampSyn(packet: PacketRecord, limit: u32): void {
  if (packet.protocol != <u8>PROTOCOL_TCP || (packet.tcpFlags & <u8>TCP_SYN) == 0 || isFragment(packet)) return;
  const headers = packet.family == 4 ? HEADERS_V4 : HEADERS_V6;
  if (limit <= headers) return;
  if (Tcp.at(slab + packet.address + packet.l4).clampMss(limit - headers)) packet.flags |= <u16>PacketFlag.Clamped;
}

/** Makes the record begin `bytes` in front of the packet at l3, which becomes its end as well. */
function takeRoom(packet: PacketRecord, bytes: u32): bool {
  if (headroomOf(packet) < bytes) return false;
  const innerBytes = packet.l3End - <u32>packet.l3;
  packet.address = packet.address + <u32>packet.l3 - bytes;
  packet.length = bytes + innerBytes;
  packet.l3 = 0;
  packet.l3End = packet.length;
  packet.l2Bytes = 0;
  return true;
}

/** DF set, so an identification of 0 is legal (RFC 6864); DSCP and ECN of the inner packet (RFC 6040, normal mode). */
function writeOuterIpv4(packet: PacketRecord, totalLength: u32, isGre: bool, trafficClass: u32): void {
  const ip = Ipv4.at(slab + packet.address);
  ip.setVersion();
  ip.setTrafficClass(trafficClass);
  ip.setTotalLength(totalLength);
  ip.setIdentification(0);
  ip.setDontFragment();
  ip.setTtl(TUNNEL_TTL);
  ip.setProtocol(outerProtocol(packet, isGre));
  ip.setSource(packet.outerSource);
  ip.setDestination(packet.outerDestination);
  ip.setChecksum();
}

function writeOuterIpv6(packet: PacketRecord, payloadBytes: u32, isGre: bool, trafficClass: u32, label: u32): void {
  const ip = Ipv6.at(slab + packet.address);
  ip.setVersionClassAndLabel(trafficClass, label);
  ip.setPayloadLength(payloadBytes);
  ip.setNextHeader(outerProtocol(packet, isGre));
  ip.setHopLimit(TUNNEL_TTL);
  ip.setSource(packet.outerSource);
  ip.setDestination(packet.outerDestination);
}

function outerProtocol(packet: PacketRecord, isGre: bool): u32 {
  if (isGre) return PROTOCOL_GRE;
  return packet.family == 4 ? PROTOCOL_IPIP : PROTOCOL_IPV6;
}

function writeGre(packet: PacketRecord, at: usize): void {
  const gre = Gre.at(at);
  gre.setFlags();
  gre.setProtocol(packet.etherType);
  gre.setVpcId(packet.tunnelKey);
}
