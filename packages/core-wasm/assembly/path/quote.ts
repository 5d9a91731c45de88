// The packet quoted inside an ICMP error (P16): who it was, and its two ends rewritten with every checksum that covers them.
// Eight bytes behind the quoted IP header are all that may be relied on (RFC 792). No step: icmp and eip use it.
import { PacketRecord } from '../layout.gen';
import { sumOf } from '../wire/checksum';
import { Icmpv4 } from '../wire/icmpv4';
import { Icmpv6 } from '../wire/icmpv6';
import { IPV4_BYTES, Ipv4, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6, copyAddress } from '../wire/ipv6';
import { Tcp } from '../wire/tcp';
import { Udp } from '../wire/udp';
import { frameAt, l4At, l4Bytes } from './frame';

const ICMP_HEADER: u32 = 8;
const TRANSPORT_BYTES: u32 = 8;
const TCP_THROUGH_CHECKSUM: u32 = 18;

/** What `readQuote` found; valid until its next call. Addresses are 16 bytes at `quoteSource` and `quoteDestination`. */
export let quoteProtocol: u32 = 0;
export let quoteSourcePort: u32 = 0;
export let quoteDestinationPort: u32 = 0;
let quoteL3: usize = 0;
let quoteL4: usize = 0;

/** Reads the quote of an ICMP error; its ends go to the two scratch addresses. False when it is too short to say anything. */
export function readQuote(packet: PacketRecord, source: usize, destination: usize): bool {
  const bytes = l4Bytes(packet);
  if (bytes < ICMP_HEADER + IPV4_BYTES + TRANSPORT_BYTES) return false;
  quoteL3 = l4At(packet) + <usize>ICMP_HEADER;
  const left = bytes - ICMP_HEADER;
  if (packet.family == 4) {
    const ip = Ipv4.at(quoteL3);
    const header = ip.headerBytes;
    if (load<u8>(quoteL3) >> 4 != 4 || header < IPV4_BYTES || left < header + TRANSPORT_BYTES || ip.fragmentOffset != 0)
      return false;
    quoteProtocol = ip.protocol;
    quoteL4 = quoteL3 + header;
    ip.copySourceTo(source);
    ip.copyDestinationTo(destination);
  } else {
    if (left < IPV6_BYTES + TRANSPORT_BYTES) return false;
    const ip = Ipv6.at(quoteL3);
    quoteProtocol = ip.nextHeader;
    quoteL4 = quoteL3 + IPV6_BYTES;
    ip.copySourceTo(source);
    ip.copyDestinationTo(destination);
  }
  const hasPorts = quoteProtocol == PROTOCOL_TCP || quoteProtocol == PROTOCOL_UDP || quoteProtocol == PROTOCOL_SCTP;
  quoteSourcePort = hasPorts ? Tcp.at(quoteL4).sourcePort : 0;
  quoteDestinationPort = hasPorts ? Tcp.at(quoteL4).destinationPort : 0;
  return true;
}

/** Gives the quoted packet another source: what the sender of it had written. */
export function rewriteQuotedSource(packet: PacketRecord, from: usize, to: usize, port: u32): void {
  const end = frameAt(packet) + <usize>packet.l3End;
  const before = sumOf(quoteL3, <u32>(end - quoteL3));
  if (packet.family == 4) Ipv4.at(quoteL3).rewriteSource(to);
  else copyAddress(Ipv6.at(quoteL3).sourceAt, to);
  rewriteTransport(end, from, to, port, true);
  updateIcmp(packet, before, sumOf(quoteL3, <u32>(end - quoteL3)));
}

export function rewriteQuotedDestination(packet: PacketRecord, from: usize, to: usize, port: u32): void {
  const end = frameAt(packet) + <usize>packet.l3End;
  const before = sumOf(quoteL3, <u32>(end - quoteL3));
  if (packet.family == 4) Ipv4.at(quoteL3).rewriteDestination(to);
  else copyAddress(Ipv6.at(quoteL3).destinationAt, to);
  rewriteTransport(end, from, to, port, false);
  updateIcmp(packet, before, sumOf(quoteL3, <u32>(end - quoteL3)));
}

/** The quoted checksum is there only when the quote is long enough; then it must stay right, for receivers that look. */
function rewriteTransport(end: usize, from: usize, to: usize, port: u32, isSource: bool): void {
  if (quoteProtocol == PROTOCOL_UDP) {
    const udp = Udp.at(quoteL4);
    udp.updateAddress(from, to);
    if (isSource) udp.rewriteSourcePort(port);
    else udp.rewriteDestinationPort(port);
    return;
  }
  // The CRC of SCTP covers bytes that no quote has, so nobody can check it there.
  const isSctp = quoteProtocol == PROTOCOL_SCTP;
  if (quoteProtocol != PROTOCOL_TCP && !isSctp) return;
  const tcp = Tcp.at(quoteL4);
  if (isSctp || quoteL4 + TCP_THROUGH_CHECKSUM > end) {
    if (isSource) tcp.setSourcePort(port);
    else tcp.setDestinationPort(port);
    return;
  }
  tcp.updateAddress(from, to);
  if (isSource) tcp.rewriteSourcePort(port);
  else tcp.rewriteDestinationPort(port);
}

function updateIcmp(packet: PacketRecord, before: u32, after: u32): void {
  if (packet.family == 4) Icmpv4.at(l4At(packet)).updateChecksum(before, after);
  else Icmpv6.at(l4At(packet)).updateChecksum(before, after);
}
