/** Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3). */
// Sums are taken over 16-bit words as they lie in memory: the one's complement sum does not care about byte order
// (RFC 1071, section 2 (B)), so nothing is swapped, and a checksum field is read and written as it lies ("raw").
// Addresses are 16 bytes; an IPv4 address is ::ffff:a.b.c.d. The ffff of the mapping is zero in one's complement
// arithmetic, so one set of functions serves both families, and the translation between them as well (RFC 7915 changes
// the addresses only).

/** Folds a sum to 16 bits: a number plus itself with its halves exchanged has their sum, end-around carry included, in its upper half. */
export function fold(sum: u64): u32 { return foldShort(<u32>((sum + rotl(sum, 32)) >> 32)); }
export function foldShort(sum: u32): u32 { return (sum + rotl(sum, 16)) >> 16; }
/** Sum of the two words of a double word. */
export function halves(word: u32): u32 { return (word & 0xffff) + (word >> 16); }

/** From here on, vectors pay for being added up at the end. */
const VECTOR_MIN: u32 = 64;
const VECTORS_BYTES: u32 = 32;

/** Folded sum of less than a mebibyte at `address`. An odd last byte counts as the first byte of a word. */
export function sumOf(address: usize, bytes: u32): u32 {
  let sum: u64 = 0;
  let at = address;
  let left = bytes;
  if (left >= VECTOR_MIN) {
    const tail = left & (VECTORS_BYTES - 1);
    sum = sumOfVectors(at, at + (left - tail));
    at += left - tail;
    left = tail;
  }
  while (left >= 8) {
    const word = load<u64>(at);
    sum += (word & 0xffffffff) + (word >> 32);
    at += 8;
    left -= 8;
  }
  if (left & 4) { sum += <u64>load<u32>(at); at += 4; }
  if (left & 2) { sum += <u64>load<u16>(at); at += 2; }
  if (left & 1) sum += <u64>load<u8>(at);
  return fold(sum);
}

/** Eight words at once, added in pairs into 32-bit lanes: a lane grows by less than 2^17 for every 32 bytes. */
function sumOfVectors(from: usize, to: usize): u64 {
  let even = i32x4.splat(0);
  let odd = i32x4.splat(0);
  for (let at = from; at < to; at += VECTORS_BYTES) {
    even = i32x4.add(even, i32x4.extadd_pairwise_i16x8_u(v128.load(at)));
    odd = i32x4.add(odd, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 16)));
  }
  return sumOfLanes(even) + sumOfLanes(odd);
}

function sumOfLanes(lanes: v128): u64 {
  return <u64><u32>i32x4.extract_lane(lanes, 0) + <u64><u32>i32x4.extract_lane(lanes, 1)
    + <u64><u32>i32x4.extract_lane(lanes, 2) + <u64><u32>i32x4.extract_lane(lanes, 3);
}

/** Folded sum of the 16 bytes of an address. */
export function sumOfAddress(address: usize): u32 {
  const high = load<u64>(address);
  const low = load<u64>(address, 8);
  return fold((high & 0xffffffff) + (high >> 32) + (low & 0xffffffff) + (low >> 32));
}

/**
 * Sum of the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1). Addresses are 16 bytes, so both families
 * are equal.
 */
export function sumOfPseudoHeader(source: usize, destination: usize, protocol: u32, bytes: u32): u32 {
  return fold(
    <u64>sumOfAddress(source) + <u64>sumOfAddress(destination) + <u64>(protocol << 8)
    + <u64>bswap<u16>(<u16>bytes) + <u64>bswap<u16>(<u16>(bytes >> 16)),
  );
}

/** Checksum field of a whole sum: the complement, raw. */
export function complement(sum: u32): u16 { return ~(<u16>sum); }

/** The checksum field after a part of the data that summed up to `from` now sums up to `to` (both folded). */
export function update(checksum: u16, from: u32, to: u32): u16 {
  return complement(foldShort((<u32>~checksum & 0xffff) + (~from & 0xffff) + (to & 0xffff)));
}

/** The checksum field after changes whose complements and new values were summed up already (RFC 1624, equation 3). */
export function updateBy(checksum: u16, change: u32): u16 {
  return complement(foldShort(change + (~(<u32>checksum) & 0xffff)));
}

/**
 * UDP (RFC 768): a field of 0 means "no checksum" over IPv4 and stays 0; a checksum that comes out as 0 is sent as
 * ffff.
 */
export function updateUdp(checksum: u16, from: u32, to: u32): u16 {
  if (checksum == 0) return 0;
  const next = update(checksum, from, to);
  return next == 0 ? 0xffff : next;
}
