// Completes TCP and UDP checksums that a local sender left to the hardware (CHECKSUM_PARTIAL): RFC 1071 over pseudo header and segment.
// Nobody has to switch offloads off behind a port for this. AF_PACKET says per slot that a frame is unfinished. AF_XDP does not: there the
// field itself tells, because it holds the folded pseudo header sum. A good checksum with that very value is completed to itself.
import { complement, fold, sumOf } from '../wire/checksum';

const ETHERNET_BYTES: u32 = 14;
const IPV4: u16 = 0x0008;
const IPV6: u16 = 0xdd86;
const IPV6_BYTES: u32 = 40;
const TCP: u32 = 6;
const UDP: u32 = 17;

/**
 * Returns false when the frame is left as it is: it is not plain TCP or UDP over IP, or, unless `isKnown` says that it is unfinished,
 * its field does not look so.
 */
export function completeChecksum(frame: usize, length: u32, isKnown: bool): bool {
  if (length < ETHERNET_BYTES + 20) return false;
  const ip = frame + ETHERNET_BYTES;
  const room = length - ETHERNET_BYTES;
  const type = load<u16>(frame, 12);
  if (type == IPV4) {
    const header = (<u32>(load<u8>(ip) & 15)) << 2;
    const total = <u32>bswap<u16>(load<u16>(ip, 2));
    const isFragment = (load<u16>(ip, 6) & 0xff3f) != 0;
    if (header < 20 || total < header || total > room || isFragment) return false;
    return complete(ip + header, total - header, <u32>load<u8>(ip, 9), sumOf(ip + 12, 8), isKnown);
  }
  if (type != IPV6 || room < IPV6_BYTES) return false;
  const bytes = <u32>bswap<u16>(load<u16>(ip, 4));
  if (bytes + IPV6_BYTES > room) return false;
  return complete(ip + IPV6_BYTES, bytes, <u32>load<u8>(ip, 6), sumOf(ip + 8, 32), isKnown);
}

function complete(segment: usize, bytes: u32, protocol: u32, addresses: u32, isKnown: bool): bool {
  const field: usize = protocol == TCP ? 16 : 6;
  if ((protocol != TCP && protocol != UDP) || bytes < (protocol == TCP ? 20 : 8)) return false;
  const pseudo = fold(<u64>addresses + <u64>bswap<u16>(<u16>protocol) + <u64>bswap<u16>(<u16>bytes));
  if (!isKnown && <u32>load<u16>(segment + field) != pseudo) return false;
  store<u16>(segment + field, 0);
  const checksum = complement(fold(<u64>pseudo + <u64>sumOf(segment, bytes)));
  // RFC 768: a computed zero goes out as all ones, because zero means "no checksum".
  store<u16>(segment + field, checksum == 0 && protocol == UDP ? 0xffff : checksum);
  return true;
}
