// The IP header of a translated packet, written from what the view says of the old one (RFC 7915, 4.1 and 5.1).
import { Nat64Ends, Nat64Flag, Nat64State, Nat64View } from '../layout.gen';
import { complement, fold } from '../wire/checksum';
import { IPV4_BYTES, MORE_FRAGMENTS } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';
import { FRAGMENT, FRAGMENT_BYTES } from './view';

const DONT_FRAGMENT: u32 = 0x4000;
/** Up to here DF stays clear, because the IPv6 side never lowers its packets further (RFC 7915, 5.1). */
const FRAGMENTABLE_MAX: u32 = 1260;

/** Bytes of the header that `writeHeader` will write. */
export function headerBytes(view: Nat64View): u32 {
  if (view.family == 6) return IPV4_BYTES;
  return view.hasFragmentHeader ? IPV6_BYTES + FRAGMENT_BYTES : IPV6_BYTES;
}

/** Writes the header of the other family at `at`; `bytes` follow it. `identification` is for IPv4 packets that had none. */
export function writeHeader(
  n: Nat64State,
  at: usize,
  view: Nat64View,
  ends: Nat64Ends,
  protocol: u32,
  bytes: u32,
  hops: u32,
  identification: u32,
): void {
  const trafficClass: u32 = n.flags & Nat64Flag.ZeroTrafficClass ? 0 : view.trafficClass;
  if (view.family == 6) {
    const total = IPV4_BYTES + bytes;
    const isFragment = view.hasFragmentHeader != 0;
    const whole: u32 = total > FRAGMENTABLE_MAX ? DONT_FRAGMENT : 0;
    const part = (<u32>view.fragment >> 3) | (view.fragment & 1 ? MORE_FRAGMENTS : 0);
    const id = isFragment ? view.identification : identification;
    const source = load<u32>(ends.source, 12);
    const destination = load<u32>(ends.destination, 12);
    // Whole words, and the checksum from registers: reading back what was just written in smaller pieces would wait for it.
    const first: u32 = 0x45 | (trafficClass << 8) | ((<u32>bswap<u16>(<u16>total)) << 16);
    const second = <u32>bswap<u16>(<u16>id) | ((<u32>bswap<u16>(<u16>(isFragment ? part : whole))) << 16);
    const third = hops | (protocol << 8);
    const sum = fold(<u64>first + second + third + source + destination);
    store<u32>(at, first);
    store<u32>(at, second, 4);
    store<u32>(at, third | ((<u32>complement(sum)) << 16), 8);
    store<u32>(at, source, 12);
    store<u32>(at, destination, 16);
    return;
  }
  const ip = Ipv6.at(at);
  ip.setVersionClassAndLabel(trafficClass, 0);
  ip.setHopLimit(hops);
  ip.setSource(ends.source);
  ip.setDestination(ends.destination);
  if (view.hasFragmentHeader) {
    ip.setPayloadLength(bytes + FRAGMENT_BYTES);
    ip.setNextHeader(FRAGMENT);
    writeFragmentHeader(at + IPV6_BYTES, protocol, view.fragment, view.identification);
  } else {
    ip.setPayloadLength(bytes);
    ip.setNextHeader(protocol);
  }
}

/** RFC 8200, section 4.5; the identification of an IPv4 fragment fills the low half. */
export function writeFragmentHeader(at: usize, next: u32, field: u32, identification: u32): void {
  store<u16>(at, <u16>next);
  store<u16>(at, bswap<u16>(<u16>field), 2);
  store<u32>(at, bswap<u32>(identification), 4);
}
