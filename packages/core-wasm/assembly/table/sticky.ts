// Stickiness by source (P34): which target a client of a listener had last, until a time. Bounded: a set has four places, and the entry
// that ends first gives way, so a flood of sources costs other clients their stickiness and nothing else. Keyed hash.
import { NONE, STICKY_ENTRY_BYTES, STICKY_ROWS, STICKY_WAYS, StickyEntry } from '../layout.gen';
import { nowMs, readOnly, workerMap } from '../memory';
import { hashFlow } from './hash';
import { copyAddress, isSameAddress } from '../wire/ipv6';

/** First entry of the set of this key. */
function setOf(listener: u32, client: usize): usize {
  const set = hashFlow(client, 0, listener) & (STICKY_ROWS / STICKY_WAYS - 1);
  return <usize>workerMap.sticky + <usize>set * (STICKY_WAYS * STICKY_ENTRY_BYTES);
}

function isOf(entry: StickyEntry, listener: u32, client: usize): bool {
  return entry.listener == listener && isSameAddress(entry.client, client);
}

/** How long an entry still holds; below 0 when it has ended, or was never used. */
function left(entry: StickyEntry): i32 { return entry.isUsed == 0 ? i32.MIN_VALUE : <i32>(entry.untilMs - nowMs); }

/** The target slot, or NONE. */
export function findSticky(listener: u32, client: usize): u32 {
  const set = setOf(listener, client);
  for (let way: usize = 0; way < STICKY_WAYS; way++) {
    const entry = StickyEntry.at(set + way * STICKY_ENTRY_BYTES);
    if (isOf(entry, listener, client) && left(entry) > 0) return entry.target;
  }
  return NONE;
}

/** The client has this target from now on for so many seconds. */
export function keepSticky(listener: u32, client: usize, target: u32, seconds: u32): void {
  if (readOnly) return;
  const set = setOf(listener, client);
  let entry = StickyEntry.at(set);
  for (let way: usize = 0; way < STICKY_WAYS; way++) {
    const other = StickyEntry.at(set + way * STICKY_ENTRY_BYTES);
    if (isOf(other, listener, client)) {
      entry = other;
      break;
    }
    if (left(other) < left(entry)) entry = other;
  }
  copyAddress(entry.client, client);
  entry.listener = listener;
  entry.target = target;
  entry.untilMs = nowMs + seconds * 1000;
  entry.isUsed = 1;
}
