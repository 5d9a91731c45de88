// SipHash-2-4 (Aumasson, Bernstein 2012) of six words: a keyed hash that nobody without the key can predict. SYN
// cookies are made of it.

const V0: u64 = 0x736f6d6570736575;
const V1: u64 = 0x646f72616e646f6d;
const V2: u64 = 0x6c7967656e657261;
const V3: u64 = 0x7465646279746573;
/** Length of the message, in the highest byte of its last word. */
const LENGTH_48: u64 = (<u64>48) << 56;
const LAST: u32 = 6;

/** The message is two addresses of 16 bytes and two words; the key two words. */
export function sipHash(key: usize, first: usize, second: usize, fifth: u64, sixth: u64): u64 {
  const key0 = load<u64>(key);
  const key1 = load<u64>(key, 8);
  let v0 = V0 ^ key0;
  let v1 = V1 ^ key1;
  let v2 = V2 ^ key0;
  let v3 = V3 ^ key1;
  for (let index: u32 = 0; index <= LAST + 1; index++) {
    let word = LENGTH_48;
    let rounds = 2;
    if (index < 2) word = load<u64>(first + ((<usize>index) << 3));
    else if (index < 4) word = load<u64>(second + ((<usize>(index - 2)) << 3));
    else if (index == 4) word = fifth;
    else if (index == 5) word = sixth;
    else if (index > LAST) {
      // Finalisation: nothing is absorbed, four rounds.
      word = 0;
      rounds = 4;
      v2 ^= 0xff;
    }
    v3 ^= word;
    for (let round = 0; round < rounds; round++) {
      v0 += v1;
      v1 = rotl(v1, 13) ^ v0;
      v0 = rotl(v0, 32);
      v2 += v3;
      v3 = rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = rotl(v1, 17) ^ v2;
      v2 = rotl(v2, 32);
    }
    v0 ^= word;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
