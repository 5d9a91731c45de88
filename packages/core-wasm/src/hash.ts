// Choosing one of many so that all who know the same list choose alike: Maglev (Eisenbud et al., NSDI 2016; data-plane.md P12),
// rendezvous hashing (Thaler, Ravishankar 1998) and jump hashing (Lamping, Veach 2014). Pure code: the core's tables are built from it, proxies use it as it is.

/** A member of a Maglev table. */
export interface MaglevMember {
  /** Stable id; the order of the list does not matter, the ids do. */
  readonly id: string;
  /** 0 leaves the table; any other weight gets at least one slot. */
  readonly weight: number;
}

/** A slot without a member: only when no member has a weight. */
export const MAGLEV_EMPTY = 0xffff;
const MEMBERS_MAX = 0xffff;
const BUCKETS_MAX = 2 ** 31 - 1;
/** Multiplier of the linear congruential generator in the paper. */
const JUMP_FACTOR = 2862933555777941757n;

/**
 * Slot → index into the members sorted by id (Eisenbud et al., "Maglev", NSDI 2016, 3.4). `slots` is lowered to a prime, because only then
 * does every permutation reach every slot. Members take turns in proportion to their weights, everyone in the first round. All slots are
 * `MAGLEV_EMPTY` when no member has a weight. Throws a RangeError for 65,535 members or more.
 */
export function maglev(members: readonly MaglevMember[], slots: number): Uint16Array {
  if (members.length >= MEMBERS_MAX)
    throw new RangeError(`A group has ${members.length} members; the limit is ${MEMBERS_MAX - 1}`);
  const size = primeAtMost(slots);
  const table = new Uint16Array(size).fill(MAGLEV_EMPTY);
  const sorted = sortedById(members);
  const turns = sorted.map((member, index) => new Turn(member, index, size)).filter((turn) => turn.weight > 0);
  const heaviest = turns.reduce((most, turn) => Math.max(most, turn.weight), 0);
  let filled = 0;
  for (let round = 1; filled < size && turns.length > 0; round++) {
    for (const turn of turns) {
      for (let due = Math.ceil((round * turn.weight) / heaviest) - turn.taken; due > 0 && filled < size; due--) {
        table[turn.next(table)] = turn.index;
        filled++;
      }
    }
  }
  return table;
}

/** One member's walk over its own permutation of the slots. */
class Turn {
  readonly index: number;
  readonly weight: number;
  taken = 0;
  private at: number;
  private readonly skip: number;

  constructor(member: MaglevMember, index: number, size: number) {
    this.index = index;
    this.weight = member.weight;
    this.at = hashText(member.id, 0x6d61676c) % size;
    this.skip = (hashText(member.id, 0x65762e31) % (size - 1)) + 1;
  }

  next(table: Uint16Array): number {
    while (table[this.at] !== MAGLEV_EMPTY) this.at = (this.at + this.skip) % table.length;
    this.taken++;
    return this.at;
  }
}

export function sortedById<M extends { readonly id: string }>(members: readonly M[]): M[] {
  return [...members].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

/**
 * The member that wins for this key: the highest hash of both together (Thaler, Ravishankar, "Using name-based mappings to increase hit
 * rates", 1998). A member that leaves or comes moves its own keys and no other. `weight` (1 when left out; 0 and less never wins) shifts the
 * odds in proportion, by -weight / ln(hash) (draft-ietf-bess-weighted-hrw). Looks at every member, so it suits lists up to some hundred.
 * Undefined for an empty list, or when nobody has a weight. Never throws.
 */
export function rendezvous<M extends { readonly id: string; readonly weight?: number }>(
  members: readonly M[],
  key: string,
): M | undefined {
  let best: M | undefined;
  let bestScore = -1;
  for (const member of members) {
    const weight = member.weight ?? 1;
    if (weight <= 0) continue;
    const unit = (hashText(`${member.id}\0${key}`, 0x72656e64) + 1) / 4294967297;
    const score = -weight / Math.log(unit);
    if (score > bestScore || (score === bestScore && best !== undefined && member.id < best.id)) {
      best = member;
      bestScore = score;
    }
  }
  return best;
}

/**
 * A bucket from 0 to `buckets` - 1 for this key, without a table or a list (Lamping, Veach, "A fast, minimal memory, consistent hash
 * algorithm", 2014). From n to n + 1 buckets 1/(n + 1) of the keys move, all of them into the new one. Only the last bucket may leave, so it
 * suits shards and ordinals that are never given back; members that come and go want `rendezvous` or `maglev`. Buckets weigh the same.
 * Throws a RangeError unless `buckets` is a whole number from 1 to 2^31 - 1.
 */
export function jump(key: string, buckets: number): number {
  if (!Number.isInteger(buckets) || buckets < 1 || buckets > BUCKETS_MAX)
    throw new RangeError(`buckets must be a whole number from 1 to ${BUCKETS_MAX}, not ${buckets}`);
  let state = (BigInt(hashText(key, 0x6a756d70)) << 32n) | BigInt(hashText(key, 0x68617368));
  let bucket = 0;
  for (let next = 0; next < buckets;) {
    bucket = next;
    state = BigInt.asUintN(64, state * JUMP_FACTOR + 1n);
    next = Math.floor((bucket + 1) * (2 ** 31 / (Number(state >> 33n) + 1)));
  }
  return bucket;
}

/** 32-bit hash of a text: MurmurHash3 over its UTF-16 units, stable for ever because tables are built from it. */
export function hashText(text: string, seed = 0): number {
  let hash = seed | 0;
  for (let at = 0; at < text.length; at++) {
    let unit = Math.imul(text.charCodeAt(at), 0xcc9e2d51);
    unit = Math.imul((unit << 15) | (unit >>> 17), 0x1b873593);
    hash ^= unit;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The largest prime that is no larger. */
export function primeAtMost(value: number): number {
  for (let candidate = Math.max(2, Math.floor(value)); ; candidate--) if (isPrime(candidate)) return candidate;
}

function isPrime(value: number): boolean {
  for (let factor = 2; factor * factor <= value; factor++) if (value % factor === 0) return false;
  return true;
}
