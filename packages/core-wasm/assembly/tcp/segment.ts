// Segments that the core writes itself: SYN/ACK with a cookie, SYN to the target, bare ACK, RST. IPv4 or IPv6 and TCP
// headers, no data.
import { NO_SCALE, Segment } from '../layout.gen';
import { sumOfPseudoHeader } from '../wire/checksum';
import { IPV4_BYTES, Ipv4, PROTOCOL_TCP, isMapped } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';
import { TCP_BYTES, Tcp } from '../wire/tcp';

const TTL: u32 = 64;
const MSS: u32 = 0x0402;
const SCALE: u32 = 0x030301;
const SACK_PERMITTED: u32 = 0x0204;
const SACK_PERMITTED_ALONE: u32 = 0x02040101;
const TIMESTAMP: u32 = 0x0a080000;
const TWO_NOTHINGS: u32 = 0x0101;

/** Bytes of the packet that `writeSegment` will write. */
export function segmentBytes(segment: Segment): u32 {
  return (isMapped(segment.source) ? IPV4_BYTES : IPV6_BYTES) + TCP_BYTES + optionBytes(segment);
}

function optionBytes(segment: Segment): u32 {
  let bytes: u32 = segment.mss != 0 ? 4 : 0;
  if (segment.hasTimestamp) bytes += 12;
  else if (segment.sackPermitted) bytes += 4;
  return bytes + (segment.scale != <u8>NO_SCALE ? 4 : 0);
}

/**
 * Writes the packet at `ip`; both addresses must be of one family. Returns its bytes, or 0 when `room` bytes do not
 * hold it.
 */
export function writeSegment(ip: usize, room: u32, segment: Segment): u32 {
  const total = segmentBytes(segment);
  if (total > room) return 0;
  const header = writeIp(ip, total, segment);
  const tcp = Tcp.at(ip + header);
  const bytes = total - header;
  tcp.setSourcePort(segment.sourcePort);
  tcp.setDestinationPort(segment.destinationPort);
  tcp.setSequence(segment.sequence);
  tcp.setAcknowledgment(segment.acknowledgment);
  tcp.setHeaderBytes(bytes);
  tcp.setFlags(segment.flags);
  tcp.setWindow(segment.window);
  tcp.setUrgent(0);
  writeOptions(ip + header + TCP_BYTES, segment);
  tcp.setChecksum(sumOfPseudoHeader(segment.source, segment.destination, PROTOCOL_TCP, bytes), bytes);
  return total;
}

function writeIp(at: usize, total: u32, segment: Segment): u32 {
  if (isMapped(segment.source)) {
    Ipv4.at(at).setOuter(0, total, TTL, PROTOCOL_TCP, segment.source, segment.destination);
    return IPV4_BYTES;
  }
  const ip = Ipv6.at(at);
  ip.setVersionClassAndLabel(0, 0);
  ip.setPayloadLength(total - IPV6_BYTES);
  ip.setNextHeader(PROTOCOL_TCP);
  ip.setHopLimit(TTL);
  ip.setSource(segment.source);
  ip.setDestination(segment.destination);
  return IPV6_BYTES;
}

/** In the order and padding that Linux uses, so that nothing on the way is surprised. */
function writeOptions(at: usize, segment: Segment): void {
  let to = at;
  if (segment.mss != 0) {
    store<u32>(to, MSS | ((<u32>bswap<u16>(segment.mss)) << 16));
    to += 4;
  }
  if (segment.hasTimestamp) {
    store<u32>(to, TIMESTAMP | (segment.sackPermitted ? SACK_PERMITTED : TWO_NOTHINGS));
    store<u32>(to, bswap<u32>(segment.tsval), 4);
    store<u32>(to, bswap<u32>(segment.tsecr), 8);
    to += 12;
  } else if (segment.sackPermitted) {
    store<u32>(to, SACK_PERMITTED_ALONE);
    to += 4;
  }
  if (segment.scale != <u8>NO_SCALE) store<u32>(to, SCALE | ((<u32>segment.scale) << 24));
}
