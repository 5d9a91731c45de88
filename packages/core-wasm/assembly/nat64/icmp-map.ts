// The tables between ICMPv4 and ICMPv6: types and codes (RFC 7915, 4.2 and 5.2), pointers (figures 3 and 6), MTU and its plateaus.
// A type and its code are one number here, type << 8 | code; NO_ICMP says that the message is to be dropped.
export const NO_ICMP: u32 = 0xffffffff;
export const NO_POINTER: u32 = 0xffffffff;
export const LOWEST_MTU6: u32 = 1280;
const LOWEST_MTU4: u32 = 68;
/** What an IPv6 header is longer than an IPv4 one. */
export const HEADER_GROWTH: u32 = 20;
const FRAGMENT_HEADER: u32 = 8;

const V4_UNREACHABLE: u32 = 3;
const V4_TIME_EXCEEDED: u32 = 11;
const V4_PARAMETER_PROBLEM: u32 = 12;
const V6_UNREACHABLE: u32 = 1;
const V6_TOO_BIG: u32 = 2;
const V6_TIME_EXCEEDED: u32 = 3;
const V6_PARAMETER_PROBLEM: u32 = 4;

export const V4_FRAGMENTATION_NEEDED: u32 = 0x0304;
export const V6_PACKET_TOO_BIG: u32 = 0x0200;
export const V4_HEADER_PROBLEM: u32 = 0x0c00;
export const V6_HEADER_PROBLEM: u32 = 0x0400;
export const V6_NEXT_HEADER_PROBLEM: u32 = 0x0401;

/** ICMPv4 error to ICMPv6 (4.2). */
export function errorToV6(type: u32, code: u32): u32 {
  if (type == V4_TIME_EXCEEDED) return (V6_TIME_EXCEEDED << 8) | code;
  if (type == V4_PARAMETER_PROBLEM) return code == 0 || code == 2 ? V6_HEADER_PROBLEM : NO_ICMP;
  if (type != V4_UNREACHABLE) return NO_ICMP;
  if (code == 2) return V6_NEXT_HEADER_PROBLEM;
  if (code == 3) return (V6_UNREACHABLE << 8) | 4;
  if (code == 4) return V6_PACKET_TOO_BIG;
  if (code == 9 || code == 10 || code == 13 || code == 15) return (V6_UNREACHABLE << 8) | 1;
  return code <= 12 ? V6_UNREACHABLE << 8 : NO_ICMP;
}

/** ICMPv6 error to ICMPv4 (5.2). */
export function errorToV4(type: u32, code: u32): u32 {
  if (type == V6_TOO_BIG) return V4_FRAGMENTATION_NEEDED;
  if (type == V6_TIME_EXCEEDED) return (V4_TIME_EXCEEDED << 8) | code;
  if (type == V6_PARAMETER_PROBLEM) return code == 0 ? V4_HEADER_PROBLEM : code == 1 ? 0x0302 : NO_ICMP;
  if (type != V6_UNREACHABLE || code > 4) return NO_ICMP;
  if (code == 1) return (V4_UNREACHABLE << 8) | 10;
  return (V4_UNREACHABLE << 8) | (code == 4 ? 3 : 1);
}

/** Figure 3: which IPv6 field stands for the byte of the IPv4 header. */
export function pointerToV6(pointer: u32): u32 {
  if (pointer <= 1) return pointer;
  if (pointer <= 3) return 4;
  if (pointer == 8) return 7;
  if (pointer == 9) return 6;
  if (pointer >= 12 && pointer < 20) return pointer < 16 ? 8 : 24;
  return NO_POINTER;
}

/** Figure 6: the other way. */
export function pointerToV4(pointer: u32): u32 {
  if (pointer <= 1) return pointer;
  if (pointer == 4 || pointer == 5) return 2;
  if (pointer == 6) return 9;
  if (pointer == 7) return 8;
  if (pointer >= 8 && pointer < 40) return pointer < 24 ? 12 : 16;
  return NO_POINTER;
}

/** A router that does not know RFC 1191 says 0: the plateau below the packet's length is what it may have meant. */
export function mtuToV6(mtu: u32, quotedLength: u32, mtu6: u32, mtu4: u32): u32 {
  const told = mtu == 0 ? plateauBelow(quotedLength) : mtu;
  return max(LOWEST_MTU6, min(min(told, mtu4) + HEADER_GROWTH, mtu6));
}

/** `hasFragmentHeader`: the packet in error carried one, which IPv4 does not need. Never below what every IPv4 link takes (RFC 791). */
export function mtuToV4(mtu: u32, hasFragmentHeader: bool, mtu6: u32, mtu4: u32): u32 {
  const loss = HEADER_GROWTH + (hasFragmentHeader ? FRAGMENT_HEADER : 0);
  const told = min(mtu, mtu6);
  return max(LOWEST_MTU4, min(told < loss ? 0 : told - loss, mtu4));
}

/** RFC 1191, section 7, down to what an IPv6 packet of 1280 bytes becomes: up to there DF is clear (RFC 7915, 5.1). */
function plateauBelow(length: u32): u32 {
  if (length > 32000) return 32000;
  if (length > 17914) return 17914;
  if (length > 8166) return 8166;
  if (length > 4352) return 4352;
  if (length > 2002) return 2002;
  return length > 1492 ? 1492 : LOWEST_MTU6 - HEADER_GROWTH;
}
