// Reading a packet for translation: which headers are skipped and which refuse it (RFC 7915, 4.1 and 5.1). Nothing is written but the view.
import {
  NAT64_ENDS_BYTES,
  NAT64_EXTENSIONS_MAX,
  NAT64_STATE_BYTES,
  NAT64_VIEW_BYTES,
  Nat64Ends,
  Nat64Reason,
  Nat64State,
  Nat64View,
} from '../layout.gen';
import { fold, sumOfAddress } from '../wire/checksum';
import { IPV4_BYTES, Ipv4, MORE_FRAGMENTS } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6 } from '../wire/ipv6';

const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
export const FRAGMENT: u32 = 44;
const DESTINATION_OPTIONS: u32 = 60;
const AUTHENTICATION: u32 = 51;
const MOBILITY: u32 = 135;
const HIP: u32 = 139;
const SHIM6: u32 = 140;
export const FRAGMENT_BYTES: u32 = 8;
const SEGMENTS_LEFT: u32 = 3;
const OPTION_END: u32 = 0;
const OPTION_NOTHING: u32 = 1;
const LOOSE_ROUTE: u32 = 131;
const STRICT_ROUTE: u32 = 137;

/** Scratch behind the state. */
export function outerOf(n: Nat64State): Nat64View {
  return Nat64View.at(changetype<usize>(n) + NAT64_STATE_BYTES);
}
export function quotedOf(n: Nat64State): Nat64View {
  return Nat64View.at(changetype<usize>(n) + NAT64_STATE_BYTES + NAT64_VIEW_BYTES);
}
export function endsOf(n: Nat64State): Nat64Ends {
  return Nat64Ends.at(changetype<usize>(n) + NAT64_STATE_BYTES + 2 * NAT64_VIEW_BYTES);
}
export function quotedEndsOf(n: Nat64State): Nat64Ends {
  return Nat64Ends.at(changetype<usize>(n) + NAT64_STATE_BYTES + 2 * NAT64_VIEW_BYTES + NAT64_ENDS_BYTES);
}

export function isLater(view: Nat64View): bool {
  return (view.fragment & 0xfff8) != 0;
}
export function isFragment(view: Nat64View): bool {
  return (view.fragment & 0xfff9) != 0;
}

/** Reads the packet of either family; a quoted one may be cut short. */
export function readPacket(view: Nat64View, at: usize, bytes: u32, isQuoted: bool): Nat64Reason {
  if (bytes < IPV4_BYTES) return Nat64Reason.TooShort;
  const version = load<u8>(at) >> 4;
  if (version == 6) return read6(view, at, bytes, isQuoted);
  return version == 4 ? read4(view, at, bytes, isQuoted) : Nat64Reason.BadHeader;
}

function read4(view: Nat64View, at: usize, bytes: u32, isQuoted: bool): Nat64Reason {
  const ip = Ipv4.at(at);
  const header = ip.headerBytes;
  const total = ip.totalLength;
  if (header < IPV4_BYTES || total < header) return Nat64Reason.BadHeader;
  const needed = isQuoted ? header : total;
  if (needed > bytes) return Nat64Reason.TooShort;
  // A router on the way may have lowered the TTL of the quoted packet without caring for its checksum.
  if (!isQuoted && !ip.isChecksumValid) return Nat64Reason.BadChecksum;
  const field = ip.fragmentField;
  view.family = 4;
  view.l3 = <u32>at;
  view.l4 = <u32>at + header;
  view.l4Bytes = min(bytes, total) - header;
  view.stated = total - header;
  view.protocol = <u8>ip.protocol;
  view.hops = <u8>ip.ttl;
  view.trafficClass = <u8>ip.trafficClass;
  view.identification = ip.identification;
  view.fragment = <u16>((field << 3) | (field & MORE_FRAGMENTS ? 1 : 0));
  view.dontFragment = <u8>ip.dontFragment;
  view.hasFragmentHeader = <u8>ip.isFragment;
  view.segmentsLeft = header == IPV4_BYTES ? 0 : sourceRouteAt(at, header);
  ip.copySourceTo(view.source);
  ip.copyDestinationTo(view.destination);
  return finish(view);
}

/** Offset of a source route that is not finished, or 0: other options are ignored (RFC 7915, 4.1). */
function sourceRouteAt(at: usize, header: u32): u32 {
  let offset = IPV4_BYTES;
  while (offset < header) {
    const kind = <u32>load<u8>(at + offset);
    if (kind == OPTION_END) return 0;
    if (kind == OPTION_NOTHING) {
      offset += 1;
      continue;
    }
    if (offset + 2 >= header) return 0;
    const length = <u32>load<u8>(at + offset, 1);
    if (length < 2 || offset + length > header) return 0;
    // The pointer counts from 1 and runs past the option when every address was visited.
    if ((kind == LOOSE_ROUTE || kind == STRICT_ROUTE) && <u32>load<u8>(at + offset, 2) <= length) return offset;
    offset += length;
  }
  return 0;
}

function read6(view: Nat64View, at: usize, bytes: u32, isQuoted: bool): Nat64Reason {
  if (bytes < IPV6_BYTES) return Nat64Reason.TooShort;
  const ip = Ipv6.at(at);
  const total = ip.totalLength;
  if (!isQuoted && bytes < total) return Nat64Reason.TooShort;
  view.family = 6;
  view.l3 = <u32>at;
  view.hops = <u8>ip.hopLimit;
  view.trafficClass = <u8>ip.trafficClass;
  view.identification = 0;
  view.fragment = 0;
  view.dontFragment = 1;
  view.hasFragmentHeader = 0;
  view.segmentsLeft = 0;
  ip.copySourceTo(view.source);
  ip.copyDestinationTo(view.destination);
  const refused = skipExtensions(view, at, min(bytes, total), ip.nextHeader);
  if (refused != Nat64Reason.None) return refused;
  view.stated = total - (view.l4 - view.l3);
  return finish(view);
}

/** Leaves protocol, l4, l4Bytes and what the fragment header says. */
function skipExtensions(view: Nat64View, at: usize, end: u32, first: u32): Nat64Reason {
  let protocol = first;
  let offset = IPV6_BYTES;
  for (let count: u32 = 0; count <= NAT64_EXTENSIONS_MAX; count++) {
    if (!isSkippedHeader(protocol)) {
      view.protocol = <u8>protocol;
      view.l4 = <u32>at + offset;
      view.l4Bytes = end - offset;
      return Nat64Reason.None;
    }
    if (offset + 8 > end) return Nat64Reason.TooShort;
    const header = at + offset;
    if (protocol == ROUTING && load<u8>(header, SEGMENTS_LEFT) != 0) {
      view.segmentsLeft = offset + SEGMENTS_LEFT;
    }
    const next = <u32>load<u8>(header);
    if (protocol == FRAGMENT) {
      // An extension header behind it is not translatable: its length is unknown to a later fragment (RFC 7915, 5.1.1).
      if (view.hasFragmentHeader) return refuseAt(view, at + offset, end - offset, protocol);
      view.hasFragmentHeader = 1;
      view.fragment = bswap<u16>(load<u16>(header, 2)) & 0xfff9;
      if (isExtension(next)) return refuseAt(view, at + offset, end - offset, protocol);
      view.identification = bswap<u32>(load<u32>(header, 4));
      offset += FRAGMENT_BYTES;
    } else offset += (<u32>load<u8>(header, 1) + 1) << 3;
    if (offset > end) return Nat64Reason.TooShort;
    protocol = next;
  }
  return refuseAt(view, at + offset, end - offset, protocol);
}

/** Leaves where the reading ended, so that an answer can quote the packet. */
function refuseAt(view: Nat64View, l4: usize, bytes: u32, protocol: u32): Nat64Reason {
  view.protocol = <u8>protocol;
  view.l4 = <u32>l4;
  view.l4Bytes = bytes;
  return Nat64Reason.ExtensionHeaders;
}

/** Headers that are left out on the way to IPv4. As an IPv4 protocol they would turn the payload into such headers. */
export function isSkippedHeader(protocol: u32): bool {
  return protocol == HOP_BY_HOP || protocol == ROUTING || protocol == FRAGMENT || protocol == DESTINATION_OPTIONS;
}

function isExtension(protocol: u32): bool {
  return (
    isSkippedHeader(protocol) ||
    protocol == AUTHENTICATION ||
    protocol == MOBILITY ||
    protocol == HIP ||
    protocol == SHIM6
  );
}

function finish(view: Nat64View): Nat64Reason {
  view.sum = fold(<u64>sumOfAddress(view.source) + <u64>sumOfAddress(view.destination));
  return Nat64Reason.None;
}
