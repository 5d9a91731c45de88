// Hashes of flow keys: SipHash-1-3 (Aumasson, Bernstein) with a secret key for the flow table, so nobody can aim at a bucket;
// with a fixed key for Maglev, because all directors must choose alike.
import { standby, state } from '../memory';

const V0: u64 = 0x736f6d6570736575;
const V1: u64 = 0x646f72616e646f6d;
const V2: u64 = 0x6c7967656e657261;
const V3: u64 = 0x7465646279746573;
const MAPPED: u64 = 0xffff0000;
/** Odd, with half of its bits set. */
const MIX: u64 = 0x9e3779b97f4a7c15;
const SCHEDULE_KEY_0: u64 = 0x4f70656e434c4221;
const SCHEDULE_KEY_1: u64 = 0x6d61676c65763132;

/** Keyed hash of an address and two words of the caller's. IPv4 takes one round less. */
export function hashFlow(address: usize, port: u32, context: u32): u32 {
  return sip(state.sipKey0, state.sipKey1, address, (<u64>context << 32) | port);
}

/** Keyed hash for the standby table, which has a key of its own: every worker reads it. */
export function hashStandby(address: usize, port: u32, context: u64): u32 {
  return sip(standby.key0 ^ context, standby.key1, address, port);
}

/** Hash by which all directors choose the same target; `sourceOnly` leaves the ports out. */
export function hashSchedule(client: usize, clientPort: u32, vip: usize, vport: u32, protocol: u32, sourceOnly: bool): u32 {
  const listener = load<u64>(vip) * 0x9e3779b97f4a7c15 + load<u64>(vip, 8) + (<u64>vport << 16) + protocol;
  return sip(SCHEDULE_KEY_0 ^ listener, SCHEDULE_KEY_1, client, sourceOnly ? 0 : <u64>clientPort);
}

/** Cheap mix of two words, for offsets and re-hashing where nobody gains by a collision. */
export function mix(a: u32, b: u32): u32 {
  let hash = a * 0x9e3779b1 + b * 0x85ebca77;
  hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
  return hash ^ (hash >> 16);
}

/**
 * Keyed hash of an IPv4 client and one word of port and context: multilinear (Lemire, Kaser), so two keys collide with the chance of
 * 2^-32 over the secret, and then mixed, so that neighbouring ports do not come to lie in steps. A quarter of the time of SipHash.
 */
export function hashWords(address: u32, word: u32): u32 {
  let sum = state.sipKey0 * address + state.sipKey1 * word;
  sum = (sum ^ (sum >> 32)) * MIX;
  return <u32>(sum >> 32);
}

// The rounds are written out: as a loop they cost half as much again.
function sip(key0: u64, key1: u64, address: usize, word: u64): u32 {
  const high = load<u64>(address);
  const low = load<u64>(address, 8);
  let v0 = V0 ^ key0;
  let v1 = V1 ^ key1;
  let v2 = V2 ^ key0;
  let v3 = V3 ^ key1;
  v3 ^= word;
  v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32);
  v2 += v3; v3 = rotl(v3, 16) ^ v2;
  v0 += v3; v3 = rotl(v3, 21) ^ v0;
  v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  v0 ^= word;
  v3 ^= low;
  v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32);
  v2 += v3; v3 = rotl(v3, 16) ^ v2;
  v0 += v3; v3 = rotl(v3, 21) ^ v0;
  v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  v0 ^= low;
  // IPv6 has one word more. Families differ in v2, so lengths cannot be confused.
  if (high == 0 && (low & 0xffffffff) == MAPPED) {
    v2 ^= 0x34;
  } else {
    v3 ^= high;
    v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32);
    v2 += v3; v3 = rotl(v3, 16) ^ v2;
    v0 += v3; v3 = rotl(v3, 21) ^ v0;
    v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
    v0 ^= high;
  }
  v2 ^= 0xff;
  v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32);
  v2 += v3; v3 = rotl(v3, 16) ^ v2;
  v0 += v3; v3 = rotl(v3, 21) ^ v0;
  v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32);
  v2 += v3; v3 = rotl(v3, 16) ^ v2;
  v0 += v3; v3 = rotl(v3, 21) ^ v0;
  v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32);
  v2 += v3; v3 = rotl(v3, 16) ^ v2;
  v0 += v3; v3 = rotl(v3, 21) ^ v0;
  v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  const hash = v0 ^ v1 ^ v2 ^ v3;
  return <u32>(hash ^ (hash >> 32));
}
