// The fragment table (P15): datagrams that come in fragments, by (source, destination, protocol, identification, net), and the fragments
// that came before their first one. Sets of four entries by a keyed hash; the oldest of a set gives way. Nothing is allocated.
import {
  CHUNK_BYTES,
  FRAGMENT_ENTRY_BYTES,
  FRAGMENT_EXPIRE_STEP,
  FRAGMENT_HOLDS,
  FRAGMENT_HOLDS_SOURCE,
  FRAGMENT_HOLD_BYTES,
  FRAGMENT_HOLD_BYTES_SOURCE,
  FRAGMENT_LIFE_MS,
  FRAGMENT_RANGES,
  FRAGMENT_SOURCES,
  FRAGMENT_SOURCE_BYTES,
  FRAGMENT_WAYS,
  FragmentEntry,
  FragmentHold,
  FragmentProgress,
  FragmentSource,
  FragmentState,
  NONE,
  PacketRecord,
} from '../layout.gen';
import { nowMs, readOnly, state, workerMap } from '../memory';
import { copyAddress, isSameAddress } from '../wire/ipv6';
import { hashFlow } from './hash';

/** What `noteRange` says about a stretch of a datagram. */
export const RANGE_NEW: u32 = 0;
export const RANGE_SEEN: u32 = 1;
export const RANGE_OVERLAPS: u32 = 2;
export const RANGE_FULL: u32 = 3;

export function hasFragments(): bool {
  return workerMap.fragments != 0;
}

function head(): FragmentState {
  return FragmentState.at(workerMap.fragments);
}
export function entryAt(number: u32): FragmentEntry {
  return FragmentEntry.at(<usize>head().entries + <usize>number * FRAGMENT_ENTRY_BYTES);
}
export function holdAt(number: u32): FragmentHold {
  return FragmentHold.at(<usize>head().holds + <usize>number * FRAGMENT_HOLD_BYTES);
}
export function heldBytes(number: u32): usize {
  return <usize>head().data + <usize>number * CHUNK_BYTES;
}
function sourceAt(number: u32): FragmentSource {
  return FragmentSource.at(<usize>head().sources + <usize>number * FRAGMENT_SOURCE_BYTES);
}

/** Protocol of the key: in IPv6 only the first fragment tells what it is (RFC 8200, 4.5). */
function keyProtocol(packet: PacketRecord): u32 {
  return packet.family == 4 ? packet.protocol : 0;
}

/** Number of the datagram's entry, made when it is new; NONE for the explaining instance when there is none. */
export function findFragment(packet: PacketRecord, identification: u32): u32 {
  const protocol = keyProtocol(packet);
  const context = <u32>packet.destinationLow ^ <u32>(packet.destinationLow >> 32) ^ (packet.net * 0x9e3779b1) ^ protocol;
  const bucket = (hashFlow(packet.source, identification, context) & head().bucketMask) * FRAGMENT_WAYS;
  let oldest = bucket;
  let age: u32 = 0;
  for (let way: u32 = 0; way < FRAGMENT_WAYS; way++) {
    const entry = entryAt(bucket + way);
    const isLive = isAlive(entry);
    const isSame =
      isLive && entry.identification == identification && entry.net == packet.net && isSameAddress(entry.source, packet.source) &&
      isSameAddress(entry.destination, packet.destination) && (packet.family == 6 || entry.protocol == <u8>protocol);
    if (isSame) return bucket + way;
    const own = isLive ? nowMs - entry.atMs : NONE;
    if (own < age || (own == age && way != 0)) continue;
    age = own;
    oldest = bucket + way;
  }
  if (readOnly) return NONE;
  take(packet, oldest, identification);
  return oldest;
}

function take(packet: PacketRecord, number: u32, identification: u32): void {
  const entry = entryAt(number);
  if (isAlive(entry)) state.fragmentsEvicted += 1;
  forgetHolds(entry);
  memory.fill(changetype<usize>(entry), 0, <usize>FRAGMENT_ENTRY_BYTES);
  copyAddress(entry.source, packet.source);
  copyAddress(entry.destination, packet.destination);
  entry.identification = identification;
  entry.net = packet.net;
  entry.atMs = nowMs;
  entry.protocol = <u8>keyProtocol(packet);
  entry.family = packet.family;
  entry.state = <u8>FragmentProgress.Waiting;
}

function isAlive(entry: FragmentEntry): bool {
  return entry.state != <u8>FragmentProgress.Free && nowMs - entry.atMs <= FRAGMENT_LIFE_MS;
}

function rangeAt(entry: FragmentEntry, index: u32): usize {
  return changetype<usize>(entry) + offsetof<FragmentEntry>('range0') + ((<usize>index) << 2);
}

/** Adds the stretch of `bytes` from `offset` on to what has come. `isLast`: it ends the datagram. */
export function noteRange(entry: FragmentEntry, offset: u32, bytes: u32, isLast: bool): u32 {
  const from = offset >> 3;
  const to = (offset + bytes + 7) >> 3;
  const end = offset + bytes;
  // The end is said once: what lies behind it, or another end, contradicts it.
  if (entry.end != 0 && (end > entry.end || (isLast && end != entry.end))) return RANGE_OVERLAPS;
  let behind: u32 = 0;
  let before = NONE;
  let after = NONE;
  for (let index: u32 = 0; index < entry.rangeCount; index++) {
    const range = load<u32>(rangeAt(entry, index));
    const first = range & 0xffff;
    const next = range >> 16;
    if (from >= first && to <= next) return RANGE_SEEN;
    if (from < next && to > first) return RANGE_OVERLAPS;
    behind = max(behind, next);
    if (next == from) before = index;
    if (first == to) after = index;
  }
  if (isLast && behind > to) return RANGE_OVERLAPS;
  if (before == NONE && after == NONE && entry.rangeCount >= FRAGMENT_RANGES) return RANGE_FULL;
  if (!readOnly) addRange(entry, from, to, before, after);
  if (isLast && !readOnly) entry.end = end;
  return RANGE_NEW;
}

/** Grows the neighbours of a stretch, or makes it one of its own. */
function addRange(entry: FragmentEntry, from: u32, to: u32, before: u32, after: u32): void {
  const first = before == NONE ? from : load<u32>(rangeAt(entry, before)) & 0xffff;
  const next = after == NONE ? to : load<u32>(rangeAt(entry, after)) >> 16;
  const into = before != NONE ? before : after != NONE ? after : <u32>entry.rangeCount;
  store<u32>(rangeAt(entry, into), first | (next << 16));
  if (before == NONE && after == NONE) entry.rangeCount += 1;
  if (before == NONE || after == NONE) return;
  const last = <u32>entry.rangeCount - 1;
  store<u32>(rangeAt(entry, after), load<u32>(rangeAt(entry, last)));
  entry.rangeCount = <u8>last;
}

/** Keeps a copy of `bytes` from `from` on for the entry. NONE when its source, or all of them, hold too much. */
export function hold(number: u32, packet: PacketRecord, from: usize, bytes: u32): u32 {
  const place = hashFlow(packet.source, 0, 0) & (FRAGMENT_SOURCES - 1);
  const source = sourceAt(place);
  if (source.count >= FRAGMENT_HOLDS_SOURCE || source.bytes + bytes > FRAGMENT_HOLD_BYTES_SOURCE || bytes > CHUNK_BYTES) return NONE;
  const table = head();
  let own = table.freeHold;
  if (own != 0) table.freeHold = holdAt(own - 1).next;
  else {
    if (table.freshHold >= FRAGMENT_HOLDS) return NONE;
    table.freshHold += 1;
    own = table.freshHold;
  }
  const entry = entryAt(number);
  const held = holdAt(own - 1);
  held.entry = number + 1;
  held.next = entry.hold;
  held.bytes = bytes;
  held.source = place;
  entry.hold = own;
  source.count += 1;
  source.bytes += bytes;
  memory.copy(heldBytes(own - 1), from, <usize>bytes);
  state.fragmentsHeld += 1;
  return own - 1;
}

/** Gives a hold back. Returns the next of its datagram + 1, or 0. The caller has cut the list. */
export function freeHold(number: u32): u32 {
  const table = head();
  const held = holdAt(number);
  const next = held.next;
  const source = sourceAt(held.source);
  source.count -= 1;
  source.bytes -= held.bytes;
  held.entry = 0;
  held.next = table.freeHold;
  table.freeHold = number + 1;
  return next;
}

/** Forgets what waits for the first fragment of a datagram. */
export function forgetHolds(entry: FragmentEntry): void {
  let at = entry.hold;
  entry.hold = 0;
  while (at != 0) {
    at = freeHold(at - 1);
    state.fragmentsExpired += 1;
  }
}

/** Looks at the next few holds and forgets those whose datagram has taken too long. */
export function expireFragments(): void {
  if (!hasFragments() || head().freshHold == 0) return;
  const table = head();
  let at = table.cursor;
  for (let count: u32 = 0; count < FRAGMENT_EXPIRE_STEP; count++) {
    at = at + 1 >= table.freshHold ? 0 : at + 1;
    const held = holdAt(at);
    if (held.entry == 0) continue;
    const entry = entryAt(held.entry - 1);
    if (isAlive(entry)) continue;
    entry.state = <u8>FragmentProgress.Free;
    forgetHolds(entry);
  }
  table.cursor = at;
}
