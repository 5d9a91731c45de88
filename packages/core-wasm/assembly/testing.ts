// Second entry, for unit tests alone: single functions of the wire headers, on bytes that the test has put into memory.
import { ARP_BYTES, Arp } from './wire/arp';
import { fold, sumOf, sumOfAddress, sumOfPseudoHeader, update, updateUdp } from './wire/checksum';
import { Ethernet, copyMac, isSameMac } from './wire/ethernet';
import { Gre } from './wire/gre';
import { Icmpv4 } from './wire/icmpv4';
import { Icmpv6 } from './wire/icmpv6';
import { Ipv4, isMapped } from './wire/ipv4';
import { Ipv6, findTransport } from './wire/ipv6';
import { segmentCount, writeSegment } from './port/segment';
import { Tcp } from './wire/tcp';
import { Udp } from './wire/udp';
import { Vlan } from './wire/vlan';

export {
  ARP_BYTES,
  copyMac,
  fold,
  findTransport,
  isMapped,
  isSameMac,
  segmentCount,
  sumOf,
  sumOfAddress,
  sumOfPseudoHeader,
  update,
  updateUdp,
  writeSegment,
};

export function ipv4IsWellFormed(at: usize, bytes: u32): bool {
  return Ipv4.at(at).isWellFormed(bytes);
}
export function ipv4IsChecksumValid(at: usize): bool {
  return Ipv4.at(at).isChecksumValid;
}
export function ipv4RewriteSource(at: usize, from: usize): void {
  Ipv4.at(at).rewriteSource(from);
}
export function ipv4RewriteDestination(at: usize, from: usize): void {
  Ipv4.at(at).rewriteDestination(from);
}
export function ipv4RewriteTtl(at: usize, value: u32): void {
  Ipv4.at(at).rewriteTtl(value);
}
export function ipv4RewriteEcn(at: usize, value: u32): void {
  Ipv4.at(at).rewriteEcn(value);
}
export function ipv4CopySource(at: usize, to: usize): void {
  Ipv4.at(at).copySourceTo(to);
}
export function ipv4SetChecksum(at: usize): void {
  Ipv4.at(at).setChecksum();
}
export function ipv4Fields(at: usize, field: u32): u32 {
  const ip = Ipv4.at(at);
  if (field == 0) return ip.headerBytes;
  if (field == 1) return ip.totalLength;
  if (field == 2) return ip.fragmentOffset;
  if (field == 3) return <u32>ip.isFragment;
  if (field == 4) return <u32>ip.dontFragment;
  if (field == 5) return ip.ttl;
  if (field == 6) return ip.protocol;
  if (field == 7) return ip.source;
  return ip.destination;
}
export function ipv6IsWellFormed(at: usize, bytes: u32): bool {
  return Ipv6.at(at).isWellFormed(bytes);
}
export function ipv6RewriteEcn(at: usize, value: u32): void {
  Ipv6.at(at).rewriteEcn(value);
}
export function tcpIsWellFormed(at: usize, bytes: u32): bool {
  return Tcp.at(at).isWellFormed(bytes);
}
export function tcpMss(at: usize): u32 {
  return Tcp.at(at).mss;
}
export function tcpClampMss(at: usize, most: u32): bool {
  return Tcp.at(at).clampMss(most);
}
export function tcpRewritePorts(at: usize, source: u32, destination: u32): void {
  Tcp.at(at).rewriteSourcePort(source);
  Tcp.at(at).rewriteDestinationPort(destination);
}
export function tcpUpdateAddress(at: usize, from: usize, to: usize): void {
  Tcp.at(at).updateAddress(from, to);
}
export function tcpSetChecksum(at: usize, pseudoHeader: u32, bytes: u32): void {
  Tcp.at(at).setChecksum(pseudoHeader, bytes);
}
export function udpIsWellFormed(at: usize, bytes: u32): bool {
  return Udp.at(at).isWellFormed(bytes);
}
export function udpRewritePorts(at: usize, source: u32, destination: u32): void {
  Udp.at(at).rewriteSourcePort(source);
  Udp.at(at).rewriteDestinationPort(destination);
}
export function udpUpdateAddress(at: usize, from: usize, to: usize): void {
  Udp.at(at).updateAddress(from, to);
}
export function udpSetChecksum(at: usize, pseudoHeader: u32): void {
  Udp.at(at).setChecksum(pseudoHeader);
}
export function icmpv4RewriteType(at: usize, type: u32): void {
  Icmpv4.at(at).rewriteType(type);
}
export function icmpv4IsChecksumValid(at: usize, bytes: u32): bool {
  return Icmpv4.at(at).isChecksumValid(bytes);
}
export function icmpv6SourceMacAt(at: usize, bytes: u32): usize {
  return Icmpv6.at(at).sourceMacAt(bytes);
}
export function greIsWellFormed(at: usize, bytes: u32): bool {
  return Gre.at(at).isWellFormed(bytes);
}
export function greVpcId(at: usize): u32 {
  return Gre.at(at).vpcId;
}
export function arpIsWellFormed(at: usize, bytes: u32): bool {
  return Arp.at(at).isWellFormed(bytes);
}
export function arpSender(at: usize): u32 {
  return Arp.at(at).sender;
}
export function vlanId(at: usize): u32 {
  return Vlan.at(at).vlanId;
}
export function vlanEtherType(at: usize): u32 {
  return Vlan.at(at).etherType;
}
export function ethernetEtherType(at: usize): u32 {
  return Ethernet.at(at).etherType;
}
export function ethernetIsGroup(at: usize): bool {
  return Ethernet.at(at).isGroup;
}
