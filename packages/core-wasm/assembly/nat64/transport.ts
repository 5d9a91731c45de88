// The transport header of a translated packet (RFC 7915, 4.5 and 5.5): ports and the checksum that covers the addresses (RFC 1624).
import { NONE, Nat64Ends, Nat64Flag, Nat64Reason, Nat64State, Nat64View } from '../layout.gen';
import { fold, sumOfAddress, sumOfPseudoHeader, update, updateUdp } from '../wire/checksum';
import { PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { Udp } from '../wire/udp';
import { isFragment, isLater } from './view';

const PROTOCOL_DCCP: u32 = 33;
const PROTOCOL_UDP_LITE: u32 = 136;
const PORTS_BYTES: u32 = 4;
const TCP_CHECKSUM: u32 = 16;
/** UDP, UDP-Lite (RFC 3828) and DCCP (RFC 4340) have it at one place. */
const UDP_CHECKSUM: u32 = 6;

export function sumOfEnds(ends: Nat64Ends): u32 {
  return fold(<u64>sumOfAddress(ends.source) + <u64>sumOfAddress(ends.destination));
}

/** Sum of the pseudo header of ICMPv6 (RFC 4443, 2.3). */
export function pseudoIcmpv6(addresses: u32, bytes: u32): u64 {
  return <u64>addresses + (PROTOCOL_ICMPV6 << 8) + <u64>bswap<u16>(<u16>bytes);
}

/** Gives the header its ends. A later fragment has none; a quoted one may end in front of its checksum. */
export function moveEnds(view: Nat64View, ends: Nat64Ends): void {
  const protocol = <u32>view.protocol;
  const isTcp = protocol == PROTOCOL_TCP;
  const isKnown = isTcp || protocol == PROTOCOL_UDP || protocol == PROTOCOL_UDP_LITE || protocol == PROTOCOL_DCCP;
  if (!isKnown || view.l4Bytes < PORTS_BYTES || isLater(view)) return;
  const at = <usize>view.l4;
  let from: u64 = view.sum;
  let to: u64 = sumOfEnds(ends);
  if (ends.sourcePort != NONE) {
    from += <u64>load<u16>(at);
    store<u16>(at, bswap<u16>(<u16>ends.sourcePort));
    to += <u64>bswap<u16>(<u16>ends.sourcePort);
  }
  if (ends.destinationPort != NONE) {
    from += <u64>load<u16>(at, 2);
    store<u16>(at, bswap<u16>(<u16>ends.destinationPort), 2);
    to += <u64>bswap<u16>(<u16>ends.destinationPort);
  }
  const offset = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  if (view.l4Bytes < offset + 2) return;
  const before = fold(from);
  const after = fold(to);
  // A checksum-neutral translation leaves every checksum as it is, also one that is wrong.
  if (before == after) return;
  const field = at + offset;
  const checksum = load<u16>(field);
  store<u16>(field, protocol == PROTOCOL_UDP ? updateUdp(checksum, before, after) : update(checksum, before, after));
}

/** UDP over IPv4 may come without a checksum, IPv6 may not (4.5). Looks only; `giveChecksum` computes it. */
export function checkUdp(n: Nat64State, view: Nat64View): Nat64Reason {
  if (view.protocol != <u8>PROTOCOL_UDP || isLater(view)) return Nat64Reason.None;
  if (view.l4Bytes < UDP_CHECKSUM + 2) return Nat64Reason.TooShort;
  const udp = Udp.at(view.l4);
  if (udp.checksum != 0) return Nat64Reason.None;
  if (isFragment(view) || n.flags & Nat64Flag.DropZeroChecksum) return Nat64Reason.ZeroChecksum;
  return udp.isWellFormed(view.l4Bytes) ? Nat64Reason.None : Nat64Reason.BadHeader;
}

/** Call with ports and ends in place, for a packet of which nothing is missing. */
export function giveChecksum(view: Nat64View, ends: Nat64Ends): void {
  const udp = Udp.at(view.l4);
  if (view.protocol != <u8>PROTOCOL_UDP || isLater(view) || udp.checksum != 0) return;
  udp.setChecksum(sumOfPseudoHeader(ends.source, ends.destination, PROTOCOL_UDP, udp.length));
}
