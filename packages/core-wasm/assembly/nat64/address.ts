// IPv4 addresses inside IPv6 ones: RFC 6052 for all six prefix lengths, and explicit mappings (RFC 7757). Bits 64 to 71, the u octet,
// stay zero, so an embedded address is stretched around octet 8.
import { NAT64_EAM_BYTES, Nat64Eam, Nat64Flag, Nat64Reason, Nat64State } from '../layout.gen';
import { storeMapped } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';

const U_OCTET: usize = 8;
/** 64:ff9b::/96 as it lies in memory. Its sum is zero, so translation by it changes no transport checksum (RFC 6052, 4.1). */
const WELL_KNOWN_HIGH: u64 = 0x9bff6400;

/** The lengths of RFC 6052, section 2.2. */
export function isPrefixBits(bits: u32): bool {
  return bits == 96 || (bits >= 32 && bits <= 64 && (bits & 7) == 0);
}

/** Writes prefix, address, zero u octet and zero suffix to `to`; `raw` is the IPv4 address as it lies on the wire. */
export function embed(prefix: usize, bits: u32, raw: u32, to: usize): void {
  if (bits == 96) {
    store<u64>(to, load<u64>(prefix));
    store<u64>(to, <u64>load<u32>(prefix, 8) | ((<u64>raw) << 32), 8);
    return;
  }
  store<u64>(to, load<u64>(prefix) & maskOf(bits));
  store<u64>(to, 0, 8);
  let at = to + (bits >> 3);
  for (let octet: u32 = 0; octet < 4; octet++) {
    if (at == to + U_OCTET) at += 1;
    store<u8>(at, <u8>(raw >> (octet << 3)));
    at += 1;
  }
}

/** The raw IPv4 address inside; `isInside` must hold. */
export function extract(address: usize, bits: u32): u32 {
  if (bits == 96) return load<u32>(address, 12);
  let raw: u32 = 0;
  let at = address + (bits >> 3);
  for (let octet: u32 = 0; octet < 4; octet++) {
    if (at == address + U_OCTET) at += 1;
    raw |= (<u32>load<u8>(at)) << (octet << 3);
    at += 1;
  }
  return raw;
}

/** The address begins with the prefix and its u octet is zero. */
export function isInside(address: usize, prefix: usize, bits: u32): bool {
  if (bits == 96) return load<u64>(address) == load<u64>(prefix) && load<u32>(address, 8) == load<u32>(prefix, 8);
  return ((load<u64>(address) ^ load<u64>(prefix)) & maskOf(bits)) == 0 && load<u8>(address, U_OCTET) == 0;
}

function maskOf(bits: u32): u64 {
  return bits >= 64 ? u64.MAX_VALUE : ((<u64>1) << bits) - 1;
}

/** The well-known prefix may not stand for addresses that are not global (RFC 6052, 3.1). */
function isForbidden(n: Nat64State, prefix: usize, bits: u32, raw: u32): bool {
  if (bits != 96 || load<u64>(prefix) != WELL_KNOWN_HIGH || load<u32>(prefix, 8) != 0) return false;
  return (n.flags & Nat64Flag.AllowNonGlobal) == 0 && !isGlobal(bswap<u32>(raw));
}

/** Not in one of the special-purpose blocks of RFC 5735 and RFC 6598. */
function isGlobal(address: u32): bool {
  const first = address >> 24;
  const two = address >> 16;
  const three = address >> 8;
  if (first == 0 || first == 10 || first == 127 || first >= 224) return false;
  if (first == 100) return (address & 0x00c00000) != 0x00400000;
  if (two == 0xa9fe || (two & 0xfff0) == 0xac10 || two == 0xc0a8 || (two & 0xfffe) == 0xc612) return false;
  return three != 0xc00000 && three != 0xc00002 && three != 0xc05863 && three != 0xc63364 && three != 0xcb0071;
}

/** May be one end of a translated packet: neither multicast, nor loopback, nor unspecified, nor reserved. */
export function isUnicast4(raw: u32): bool {
  const first = raw & 0xff;
  return first != 0 && first != 127 && first < 240 && (first & 0xf0) != 224;
}

export function isUnicast6(address: usize): bool {
  if (load<u8>(address) == 0xff) return false;
  return load<u64>(address) != 0 || (load<u64>(address, 8) & 0xfeffffffffffffff) != 0;
}

/** The last `toIpv4` found an explicit mapping. */
export let isByMapping: bool = false;

/** The IPv4 address of an IPv6 one, as 16 bytes. An explicit mapping goes before the prefix (RFC 7757, 3.3.1). */
export function toIpv4(n: Nat64State, address: usize, prefix: usize, bits: u32, to: usize): Nat64Reason {
  const row: usize = n.eamRows == 0 ? 0 : findEam6(n, address);
  isByMapping = row != 0;
  if (row != 0) {
    const eam = Nat64Eam.at(row);
    storeMapped(to, eam.prefix4 | bswap<u32>(bitsAt(address, eam.bits6, 32 - eam.bits4)));
    return checkEnd(load<u32>(to, 12));
  }
  if (bits == 0 || !isInside(address, prefix, bits)) return Nat64Reason.NotTranslatable;
  const raw = extract(address, bits);
  storeMapped(to, raw);
  return isForbidden(n, prefix, bits, raw) ? Nat64Reason.NonGlobal : checkEnd(raw);
}

/** An explicit mapping covers the raw IPv4 address. */
export function isMapped4(n: Nat64State, raw: u32): bool {
  return n.eamRows != 0 && findEam4(n, raw) != 0;
}

/**
 * The IPv6 address of a raw IPv4 one. `isLax`: of a router that sends an ICMP error, translated whatever it is, for those who look for
 * trouble (RFC 7915, 4.1). `usesMappings` is false for the far end of a hairpin (RFC 7757, 4.2).
 */
export function toIpv6(
  n: Nat64State,
  raw: u32,
  prefix: usize,
  bits: u32,
  to: usize,
  isLax: bool = false,
  usesMappings: bool = true,
): Nat64Reason {
  const row: usize = n.eamRows == 0 || !usesMappings ? 0 : findEam4(n, raw);
  if (row != 0) {
    const eam = Nat64Eam.at(row);
    copyAddress(to, eam.prefix6);
    putBits(to, eam.bits6, 32 - eam.bits4, bswap<u32>(raw));
    return checkEnd(raw);
  }
  if (bits == 0) return Nat64Reason.NotTranslatable;
  embed(prefix, bits, raw, to);
  if (isLax) return Nat64Reason.None;
  return isForbidden(n, prefix, bits, raw) ? Nat64Reason.NonGlobal : checkEnd(raw);
}

function checkEnd(raw: u32): Nat64Reason {
  return isUnicast4(raw) ? Nat64Reason.None : Nat64Reason.Martian;
}

/** Longest match (RFC 7757, 3.3). */
function findEam6(n: Nat64State, address: usize): usize {
  let best: usize = 0;
  let longest: i32 = -1;
  for (let index: u32 = 0; index < n.eamRows; index++) {
    const row = <usize>n.eam + index * NAT64_EAM_BYTES;
    const bits = <u32>Nat64Eam.at(row).bits6;
    if (<i32>bits > longest && isPrefixOf(row, address, bits)) {
      best = row;
      longest = <i32>bits;
    }
  }
  return best;
}

function findEam4(n: Nat64State, raw: u32): usize {
  let best: usize = 0;
  let longest: i32 = -1;
  for (let index: u32 = 0; index < n.eamRows; index++) {
    const row = <usize>n.eam + index * NAT64_EAM_BYTES;
    const bits = <u32>Nat64Eam.at(row).bits4;
    const differs = bswap<u32>(raw ^ Nat64Eam.at(row).prefix4);
    if (<i32>bits > longest && (bits == 0 || differs >> (32 - bits) == 0)) {
      best = row;
      longest = <i32>bits;
    }
  }
  return best;
}

function isPrefixOf(prefix: usize, address: usize, bits: u32): bool {
  const high = bswap<u64>(load<u64>(prefix) ^ load<u64>(address));
  const low = bswap<u64>(load<u64>(prefix, 8) ^ load<u64>(address, 8));
  if (bits == 0) return true;
  if (bits <= 64) return high >> (64 - bits) == 0;
  return high == 0 && low >> (128 - bits) == 0;
}

/** `count` bits of an address from bit `from` on, as a number. */
function bitsAt(address: usize, from: u32, count: u32): u32 {
  let value: u32 = 0;
  for (let bit = from; bit < from + count; bit++) {
    value = (value << 1) | ((<u32>load<u8>(address + (bit >> 3)) >> (7 - (bit & 7))) & 1);
  }
  return value;
}

/** Puts the low `count` bits of a number behind bit `from`; what follows is zero. */
function putBits(address: usize, from: u32, count: u32, value: u32): void {
  for (let index: u32 = 0; index < count; index++) {
    const bit = from + index;
    if (((value >> (count - 1 - index)) & 1) == 0) continue;
    const at = address + (bit >> 3);
    store<u8>(at, load<u8>(at) | <u8>(<u32>0x80 >> (bit & 7)));
  }
}
