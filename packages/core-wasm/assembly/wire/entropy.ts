/**
 * The flow label of a tunnel over IPv6 (RFC 6438): a number that one inner flow always has, so switches and network cards spread the flows between
 * the same two ends. Over IPv4 only another outer source could do that, and replies come back to the outer source (P1).
 */
const PROTOCOL_TCP: u32 = 6;
const PROTOCOL_UDP: u32 = 17;
const PROTOCOL_SCTP: u32 = 132;
const GOLDEN: u32 = 0x9e3779b1;

/** 20 bits from addresses and, where they stand right behind a header without options, ports. Fragments of a datagram all have the same. */
export function flowLabelOf(inner: usize, family: u32): u32 {
  if (family == 4) {
    const addresses = load<u32>(inner, 12) ^ load<u32>(inner, 16);
    const isWhole = (load<u16>(inner, 6) & 0xff3f) == 0 && load<u8>(inner) == 0x45;
    return spread(addresses ^ portsAt(inner + 20, isWhole ? load<u8>(inner, 9) : 0));
  }
  let addresses = v128.xor(v128.load(inner, 8), v128.load(inner, 24));
  addresses = v128.xor(addresses, v128.shuffle<u64>(addresses, addresses, 1, 0));
  const word = <u32>i32x4.extract_lane(addresses, 0) ^ <u32>i32x4.extract_lane(addresses, 1);
  return spread(word ^ portsAt(inner + 40, load<u8>(inner, 6)));
}

function portsAt(l4: usize, protocol: u32): u32 {
  const hasPorts = protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP;
  return hasPorts ? load<u32>(l4) : 0;
}

/** Multiplicative hashing: the high bits depend on all low ones. */
function spread(word: u32): u32 {
  return ((word ^ (word >> 16)) * GOLDEN) >> 12;
}
