// Fragmentation of what the translation made too long (RFC 7915, 4.1: IPv4 without DF; RFC 791, section 2.3 on the way out).
import { IPV4_BYTES, Ipv4, MORE_FRAGMENTS, OFFSET_MASK } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';
import { writeFragmentHeader } from './header';
import { FRAGMENT, FRAGMENT_BYTES } from './view';

/**
 * Writes the fragments of a translated packet one behind the other to `out` and returns their bytes; 0: they do not fit. Each says its own
 * length. `identification` is for an IPv6 packet that was no fragment before. `out` must not overlap the packet.
 */
export function split(at: usize, mtu: u32, identification: u32, out: usize, outBytes: u32): u32 {
  const isV6 = load<u8>(at) >> 4 == 6;
  const ip6 = Ipv6.at(at);
  const ip4 = Ipv4.at(at);
  const isPart = isV6 && ip6.nextHeader == FRAGMENT;
  const header = isV6 ? IPV6_BYTES + FRAGMENT_BYTES : IPV4_BYTES;
  const from = isV6 && !isPart ? IPV6_BYTES : header;
  const left = (isV6 ? ip6.totalLength : ip4.totalLength) - from;
  const step = (mtu - header) & ~7;
  if (mtu < header + 8) return 0;
  const field = isV6 ? (isPart ? <u32>bswap<u16>(load<u16>(at, IPV6_BYTES + 2)) : 0) : ip4.fragmentField << 3;
  const isLast = isV6 ? (field & 1) == 0 : (ip4.fragmentField & MORE_FRAGMENTS) == 0;
  const next = isPart ? <u32>load<u8>(at, IPV6_BYTES) : ip6.nextHeader;
  const id = isPart ? bswap<u32>(load<u32>(at, IPV6_BYTES + 4)) : identification;
  let to = out;
  for (let offset: u32 = 0; offset < left; offset += step) {
    const bytes = min(step, left - offset);
    if (<u32>(to - out) + header + bytes > outBytes) return 0;
    const more = offset + bytes < left || !isLast;
    const place = (field & 0xfff8) + offset;
    memory.copy(to, at, isV6 ? IPV6_BYTES : IPV4_BYTES);
    memory.copy(to + header, at + from + offset, bytes);
    if (isV6) {
      Ipv6.at(to).setPayloadLength(FRAGMENT_BYTES + bytes);
      Ipv6.at(to).setNextHeader(FRAGMENT);
      writeFragmentHeader(to + IPV6_BYTES, next, place | (more ? 1 : 0), id);
    } else {
      Ipv4.at(to).setTotalLength(IPV4_BYTES + bytes);
      Ipv4.at(to).setFragmentField(((place >> 3) & OFFSET_MASK) | (more ? MORE_FRAGMENTS : 0));
      Ipv4.at(to).setChecksum();
    }
    to += header + bytes;
  }
  return <u32>(to - out);
}
