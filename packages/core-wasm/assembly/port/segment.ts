// TCP segmentation in software (data-plane.md P37): a super-frame of up to 64 KiB becomes segments that a tunnel can take.
// A virtio-net header cannot describe TCP inside GRE or IP in IP, so whoever puts such a frame into a tunnel cuts it first. Pure functions:
// they read the whole packet, write one segment where they are told to, and keep nothing. The checksum of the whole may be partial (the
// pseudo header alone): every segment gets one of its own.
import { fold, sumOf, sumOfPseudoHeader } from '../wire/checksum';
import { Ipv4, PROTOCOL_TCP } from '../wire/ipv4';
import { Ipv6, MALFORMED, findTransport, isFragment, transportOffset, transportProtocol } from '../wire/ipv6';
import { TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';

/** Stays on the first segment alone: it answers one congestion mark (RFC 3168, 6.1.2). */
const TCP_CWR: u32 = 0x80;
const TCP_URG: u32 = 0x20;
const ADDRESSES: usize = 12;

/** Bytes of IP and TCP header, or 0 for a packet that must not be cut: no TCP, a fragment, SYN, RST, urgent data, or broken. */
function headersOf(at: usize, bytes: u32): u32 {
  if (bytes == 0) return 0;
  let l4: u32 = 0;
  let end: u32 = 0;
  if (load<u8>(at) >> 4 == 4) {
    const ip = Ipv4.at(at);
    if (!ip.isWellFormed(bytes) || ip.isFragment || ip.protocol != PROTOCOL_TCP) return 0;
    l4 = ip.headerBytes;
    end = ip.totalLength;
  } else {
    const ip = Ipv6.at(at);
    if (!ip.isWellFormed(bytes)) return 0;
    const found = findTransport(ip);
    if (found == MALFORMED || isFragment(found) || transportProtocol(found) != PROTOCOL_TCP) return 0;
    l4 = transportOffset(found);
    end = ip.totalLength;
  }
  const tcp = Tcp.at(at + <usize>l4);
  if (end != bytes || !tcp.isWellFormed(end - l4)) return 0;
  if ((tcp.flags & (TCP_SYN | TCP_RST | TCP_URG)) != 0) return 0;
  return l4 + tcp.headerBytes;
}

/** How many segments of at most `mss` bytes of data the IP packet makes; 0 when it must not be cut, 1 when it need not be. */
export function segmentCount(at: usize, bytes: u32, mss: u32): u32 {
  const headers = headersOf(at, bytes);
  if (headers == 0 || mss == 0) return 0;
  const data = bytes - headers;
  return data == 0 ? 1 : (data + mss - 1) / mss;
}

/**
 * Writes segment `index` as a whole IP packet to `to` and returns its length. The caller has asked `segmentCount` and has room for headers
 * and `mss` bytes. Identification and sequence number go on by one and by the data in front; FIN and PSH stand on the last segment.
 */
export function writeSegment(at: usize, bytes: u32, mss: u32, index: u32, to: usize): u32 {
  const headers = headersOf(at, bytes);
  const data = bytes - headers;
  const from = index * mss;
  const length = min(mss, data - from);
  const isLast = from + length == data;
  memory.copy(to, at, <usize>headers);
  memory.copy(to + <usize>headers, at + <usize>(headers + from), <usize>length);
  const isV4 = load<u8>(at) >> 4 == 4;
  const l4 = isV4 ? Ipv4.at(at).headerBytes : transportOffset(findTransport(Ipv6.at(at)));
  const tcp = Tcp.at(to + <usize>l4);
  tcp.setSequence(tcp.sequence + from);
  let flags = tcp.flags;
  if (!isLast) flags &= ~(TCP_FIN | TCP_PSH);
  if (index != 0) flags &= ~TCP_CWR;
  tcp.setFlags(flags);
  const total = headers + length;
  if (isV4) finish4(Ipv4.at(to), index, total, tcp, l4);
  else finish6(Ipv6.at(to), total, tcp, l4);
  return total;
}

function finish4(ip: Ipv4, index: u32, total: u32, tcp: Tcp, l4: u32): void {
  ip.setTotalLength(total);
  ip.setIdentification(ip.identification + index);
  ip.setChecksum();
  // Both addresses as they lie: the prefix of their 16-byte form would add nothing to the sum.
  const bytes = total - l4;
  const ends = sumOf(changetype<usize>(ip) + ADDRESSES, 8);
  tcp.setChecksum(fold(<u64>ends + <u64>(PROTOCOL_TCP << 8) + <u64>bswap<u16>(<u16>bytes)), bytes);
}

function finish6(ip: Ipv6, total: u32, tcp: Tcp, l4: u32): void {
  ip.setPayloadLength(total - 40);
  tcp.setChecksum(sumOfPseudoHeader(ip.sourceAt, ip.destinationAt, PROTOCOL_TCP, total - l4), total - l4);
}
