// ICMP messages of a translated packet: queries, and errors with the packet that they quote, one level deep (RFC 7915, 4.2, 4.3, 5.2, 5.3).
import { NONE, Nat64Ends, Nat64Reason, Nat64State, Nat64View } from '../layout.gen';
import { fold, sumOf, update } from '../wire/checksum';
import { IPV4_BYTES, PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/ipv4';
import { headerBytes, writeHeader } from './header';
import {
  NO_ICMP,
  NO_POINTER,
  V4_FRAGMENTATION_NEEDED,
  V4_HEADER_PROBLEM,
  V6_HEADER_PROBLEM,
  V6_NEXT_HEADER_PROBLEM,
  V6_PACKET_TOO_BIG,
  errorToV4,
  errorToV6,
  mtuToV4,
  mtuToV6,
  pointerToV4,
  pointerToV6,
} from './icmp-map';
import { moveEnds, pseudoIcmpv6, sumOfEnds } from './transport';
import { endsOf, isFragment, isSkippedHeader, outerOf, quotedEndsOf, quotedOf, readPacket } from './view';

const ICMP_BYTES: u32 = 8;
const CHECKSUM: usize = 2;
const IDENTIFIER: usize = 4;
const REST: usize = 4;
const V4_ECHO_REPLY: u32 = 0;
const V4_ECHO: u32 = 8;
const V6_ECHO: u32 = 128;
const V6_ECHO_REPLY: u32 = 129;
/** RFC 4884: where a message has extensions, the length of the quote stands here, in words of this many bytes. */
const LENGTH_V4: usize = 5;
const LENGTH_V6: usize = 4;
const WORD_V4: u32 = 4;
const WORD_V6: u32 = 8;
const QUOTE_MIN: u32 = 128;
/** Protocol unreachable points at the next header of IPv6. */
const NEXT_HEADER_POINTER: u32 = 6;
/** An ICMPv6 error fits the smallest MTU (RFC 4443, 2.4 (c)), an ICMPv4 one is cut to no less than RFC 1812 wants; without IP headers. */
const MESSAGE_MAX_V6: u32 = 1240;
const MESSAGE_LEAST_V4: u32 = 556;
const WORDS_MAX: u32 = 255;

export function isIcmp(view: Nat64View): bool {
  return view.protocol == <u8>(view.family == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
}

/** The type that stands for this query in the other family, or NO_ICMP. */
export function queryOf(view: Nat64View): u32 {
  const type = <u32>load<u8>(view.l4);
  if (view.family == 4) return type == V4_ECHO ? V6_ECHO : type == V4_ECHO_REPLY ? V6_ECHO_REPLY : NO_ICMP;
  return type == V6_ECHO ? V4_ECHO : type == V6_ECHO_REPLY ? V4_ECHO_REPLY : NO_ICMP;
}

/** An error that may have a counterpart; its quote is read then. */
export function isError(view: Nat64View): bool {
  return errorOf(view) != NO_ICMP;
}

function errorOf(view: Nat64View): u32 {
  const type = <u32>load<u8>(view.l4);
  const code = <u32>load<u8>(view.l4, 1);
  return view.family == 4 ? errorToV6(type, code) : errorToV4(type, code);
}

/** Reads the packet that an error quotes: enough of it must be there, and it must not be an error itself. */
export function readQuote(n: Nat64State): Nat64Reason {
  const view = outerOf(n);
  const quoted = quotedOf(n);
  const bytes = quoteBytes(view);
  if (readPacket(quoted, view.l4 + ICMP_BYTES, bytes, true) != Nat64Reason.None) return Nat64Reason.IcmpQuote;
  if (quoted.family != view.family || quoted.l4Bytes < 8) return Nat64Reason.IcmpQuote;
  if (quoted.family == 4 && isSkippedHeader(quoted.protocol)) return Nat64Reason.IcmpQuote;
  if (!isIcmp(quoted)) return Nat64Reason.None;
  return isFragment(quoted) || queryOf(quoted) == NO_ICMP ? Nat64Reason.IcmpQuote : Nat64Reason.None;
}

/** Bytes of the quote without extensions behind it. */
function quoteBytes(view: Nat64View): u32 {
  const rest = view.l4Bytes - ICMP_BYTES;
  const type = <u32>load<u8>(view.l4);
  let length: u32 = 0;
  if (view.family == 6) {
    if (type == 1 || type == 3) length = <u32>load<u8>(view.l4, LENGTH_V6) * WORD_V6;
  } else if (type == 3 || type == 11 || type == 12) length = <u32>load<u8>(view.l4, LENGTH_V4) * WORD_V4;
  return length >= QUOTE_MIN && length <= rest ? length : rest;
}

/** Translates an echo in place. `isQuoted`: its checksum may be missing bytes, but never the first eight. */
export function moveQuery(view: Nat64View, ends: Nat64Ends, type: u32): void {
  const at = <usize>view.l4;
  let from = <u64>load<u16>(at) + <u64>load<u16>(at, IDENTIFIER);
  if (view.family == 6) from += pseudoIcmpv6(view.sum, view.stated);
  store<u8>(at, <u8>type);
  const identifier = ends.sourcePort != NONE ? ends.sourcePort : ends.destinationPort;
  if (identifier != NONE) store<u16>(at, bswap<u16>(<u16>identifier), IDENTIFIER);
  let to = <u64>load<u16>(at) + <u64>load<u16>(at, IDENTIFIER);
  if (view.family == 4) to += pseudoIcmpv6(sumOfEnds(ends), view.stated);
  store<u16>(at, update(load<u16>(at, CHECKSUM), fold(from), fold(to)), CHECKSUM);
}

/** Translates an error in place; leaves the new length in `l4Bytes` of the outer view. A wrong checksum stays wrong. */
export function moveError(n: Nat64State): Nat64Reason {
  const view = outerOf(n);
  const at = <usize>view.l4;
  let valid: u64 = sumOf(at, view.l4Bytes);
  if (view.family == 6) valid += pseudoIcmpv6(view.sum, view.l4Bytes);
  const typeAndCode = errorOf(view);
  const rest = restOf(n, view.family == 4, typeAndCode);
  if (rest == NO_POINTER) return Nat64Reason.IcmpType;
  const bytes = moveQuote(n, hasExtensions(view.family == 4, typeAndCode));
  if (bytes == 0) return Nat64Reason.NoRoom;
  const lengthWord = extensionWord;
  store<u32>(at, (typeAndCode >> 8) | ((typeAndCode & 0xff) << 8));
  store<u32>(at, bswap<u32>(rest | lengthWord), REST);
  let sum: u64 = sumOf(at, bytes);
  if (view.family == 4) sum += pseudoIcmpv6(sumOfEnds(endsOf(n)), bytes);
  // What is missing to the sum that the message had before: all ones where its checksum was right.
  store<u16>(at, <u16>fold(<u64>fold(valid) + <u64>(~fold(sum) & 0xffff)), CHECKSUM);
  view.l4Bytes = bytes;
  view.stated = bytes;
  return Nat64Reason.None;
}

/** The word behind the checksum: MTU, pointer, or zero; NO_POINTER for a pointer without a counterpart. */
function restOf(n: Nat64State, toV6: bool, typeAndCode: u32): u32 {
  const quoted = quotedOf(n);
  const word = bswap<u32>(load<u32>(outerOf(n).l4, REST));
  if (toV6) {
    if (typeAndCode == V6_NEXT_HEADER_PROBLEM) return NEXT_HEADER_POINTER;
    if (typeAndCode == V6_HEADER_PROBLEM) return pointerToV6(word >> 24);
    if (typeAndCode != V6_PACKET_TOO_BIG) return 0;
    return mtuToV6(word & 0xffff, quoted.l4 - quoted.l3 + quoted.stated, n.mtu6, n.mtu4);
  }
  if (typeAndCode == V4_FRAGMENTATION_NEEDED)
    return min(0xffff, mtuToV4(word, quoted.hasFragmentHeader != 0, n.mtu6, n.mtu4));
  if (typeAndCode != V4_HEADER_PROBLEM) return 0;
  const pointer = pointerToV4(word);
  return pointer == NO_POINTER ? pointer : pointer << 24;
}

/** Messages of the target family that RFC 4884 allows extensions in. */
function hasExtensions(toV6: bool, typeAndCode: u32): bool {
  const type = typeAndCode >> 8;
  return toV6 ? type == 1 || type == 3 : type == 3 || type == 11;
}

/** The length attribute of the message in hand, where it belongs; left by `moveQuote`. */
let extensionWord: u32 = 0;

/** Translates the quoted packet where it lies and moves what follows. Returns the bytes of the message; 0: no room. */
function moveQuote(n: Nat64State, mayExtend: bool): u32 {
  const view = outerOf(n);
  const quoted = quotedOf(n);
  const ends = quotedEndsOf(n);
  const toV6 = view.family == 4;
  const start = <usize>view.l4 + ICMP_BYTES;
  const present = quoteBytes(view);
  const extension = view.l4Bytes - ICMP_BYTES - present;
  const header = headerBytes(quoted);
  const room = n.roomEnd - view.l4;
  const most = min(room, toV6 ? MESSAGE_MAX_V6 : max(MESSAGE_LEAST_V4, n.mtu4 - IPV4_BYTES));
  if (most < ICMP_BYTES + header + 8) return 0;
  let protocol = <u32>quoted.protocol;
  if (isIcmp(quoted)) {
    moveQuery(quoted, ends, queryOf(quoted));
    protocol = toV6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP;
  } else moveEnds(quoted, ends);
  const word = toV6 ? WORD_V6 : WORD_V4;
  // Extensions cut short are of no use to anybody: the quote makes way for them, down to what RFC 4884 leaves of it.
  const cap = extension < most - ICMP_BYTES ? min(WORDS_MAX * word, (most - ICMP_BYTES - extension) & ~(word - 1)) : 0;
  const keeps = mayExtend && extension != 0 && cap >= QUOTE_MIN;
  const data = min(quoted.l4Bytes, (keeps ? cap : most - ICMP_BYTES) - header);
  const padded = max(QUOTE_MIN, (header + data + word - 1) & ~(word - 1));
  const grows = start + header > quoted.l4;
  if (keeps && grows) memory.copy(start + padded, start + present, extension);
  memory.copy(start + header, quoted.l4, data);
  if (keeps) {
    if (!grows) memory.copy(start + padded, start + present, extension);
    memory.fill(start + header + data, 0, padded - header - data);
  }
  writeHeader(n, start, quoted, ends, protocol, quoted.stated, quoted.hops, 0);
  extensionWord = keeps ? (padded / word) << (toV6 ? 24 : 16) : 0;
  return keeps ? ICMP_BYTES + padded + extension : ICMP_BYTES + header + data;
}
