// The index of the flow table: open addressing over u32 slots, each a 7-bit tag, the direction of the key, and entry + 1.
// One entry stands in it twice, under its forward and its reverse key (P4). Removal shifts back, so there are no tombstones to clean.
import { FLOW_ENTRY_BYTES, FlowEntry, NONE, PROBE_MAX } from '../layout.gen';
import { flowIndex, flowIndexMask, flows } from '../memory';

export const FORWARD: u32 = 0;
export const REVERSE: u32 = 0x80000000;
const ENTRY_MASK: u32 = 0x00ffffff;
const TAG_MASK: u32 = 0x7f000000;

export function flowAt(slot: u32): FlowEntry { return FlowEntry.at(flows + <usize>slot * FLOW_ENTRY_BYTES); }

/** Where a probe for a hash begins. */
export function homeOf(hash: u32): u32 { return hash & flowIndexMask; }
export function nextOf(at: u32): u32 { return (at + 1) & flowIndexMask; }
export function indexAt(at: u32): u32 { return load<u32>(flowIndex + (<usize>at << 2)); }
/** What an index slot of this hash and direction has in its high byte. The low bits of the hash chose the place already. */
export function tagOf(hash: u32, direction: u32): u32 { return (hash & TAG_MASK) | direction; }
export function isTagged(word: u32, tag: u32): bool { return ((word ^ tag) & ~ENTRY_MASK) == 0; }
export function entryOf(word: u32): u32 { return (word & ENTRY_MASK) - 1; }

/** False when the run of occupied slots is longer than a lookup would walk. */
export function insertIndex(hash: u32, direction: u32, slot: u32): bool {
  let at = homeOf(hash);
  for (let count: u32 = 0; count < PROBE_MAX; count++) {
    if (indexAt(at) == 0) {
      store<u32>(flowIndex + (<usize>at << 2), tagOf(hash, direction) | (slot + 1));
      return true;
    }
    at = nextOf(at);
  }
  return false;
}

export function removeIndex(hash: u32, direction: u32, slot: u32): void {
  const word = tagOf(hash, direction) | (slot + 1);
  let at = homeOf(hash);
  for (let count: u32 = 0; count < PROBE_MAX; count++) {
    const found = indexAt(at);
    if (found == 0) return;
    if (found == word) {
      closeGap(at);
      return;
    }
    at = nextOf(at);
  }
}

/** Moves later words of the run into the gap when that brings them no further in front of their home than they may be. */
function closeGap(from: u32): void {
  let gap = from;
  let at = nextOf(from);
  for (let word = indexAt(at); word != 0; word = indexAt(at)) {
    const entry = flowAt(entryOf(word));
    const home = homeOf((word & REVERSE) != 0 ? entry.reverseHash : entry.forwardHash);
    if (((at - home) & flowIndexMask) >= ((at - gap) & flowIndexMask)) {
      store<u32>(flowIndex + (<usize>gap << 2), word);
      gap = at;
    }
    at = nextOf(at);
  }
  store<u32>(flowIndex + (<usize>gap << 2), 0);
}

/** One question instead of four: a branch each would cost more than what it saves. */
function isForward(entry: FlowEntry, high: u64, low: u64, listener: u32, clientPort: u32): bool {
  return ((entry.clientLow ^ low) | (entry.clientHigh ^ high) | (entry.listener ^ listener) | (<u32>entry.clientPort ^ clientPort)) == 0;
}

/** The forward key: NONE or the entry's slot. */
export function findForward(hash: u32, listener: u32, client: usize, clientPort: u32): u32 {
  const high = load<u64>(client);
  const low = load<u64>(client, 8);
  const tag = tagOf(hash, FORWARD);
  let at = homeOf(hash);
  for (let count: u32 = 0; count < PROBE_MAX; count++) {
    const word = indexAt(at);
    if (word == 0) return NONE;
    if (isTagged(word, tag)) {
      const entry = flowAt(entryOf(word));
      if (isForward(entry, high, low, listener, clientPort)) return entryOf(word);
    }
    at = nextOf(at);
  }
  return NONE;
}

/**
 * Touches the index line of a hash, later the entry that it names, so that the lines of a whole burst are fetched side by side.
 * WebAssembly has no prefetch; a load whose value nobody waits for does the same, and as it may trap no compiler leaves it out.
 */
export function touchIndex(hash: u32): void {
  load<u32>(flowIndex + (<usize>homeOf(hash) << 2));
}
export function touchEntry(hash: u32): void {
  const word = indexAt(homeOf(hash));
  if (word != 0) load<u32>(changetype<usize>(flowAt(entryOf(word))));
}
