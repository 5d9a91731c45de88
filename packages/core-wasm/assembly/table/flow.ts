// The flow table (P4, P5): entries found by forward and reverse key, created, replaced, evicted and ended; slots are counted so that
// no listener or target slot gets a new meaning while a flow refers to it.
import {
  EVICT_TRIES, FlowEntry, FlowFlag, FlowState, ListenerRow, NONE, ONE_WAY_PROVEN, PROBE_MAX, TargetRow, Translation,
} from '../layout.gen';
import { flowsMax, listenerRefs, nowMs, readOnly, state, targetRefs, worker } from '../memory';
import { listenerCounter, targetCounter } from './counter';
import {
  FORWARD, REVERSE, entryOf, findForward, flowAt, homeOf, indexAt, insertIndex, isTagged, nextOf, removeIndex, tagOf,
} from './flow-index';
import { hashFlow, hashWords, mix } from './hash';
import { isHashed, listenerAt, targetAt } from './rows';

/** First half of an IPv4 address that is written as 16 bytes, as it lies in memory. */
const MAPPED_PREFIX: u32 = 0xffff0000;

/** Hash of the forward key, kept by the caller for `createFlow`. */
export function hashForward(listener: u32, client: usize, clientPort: u32): u32 {
  const low = load<u64>(client, 8);
  if (load<u64>(client) == 0 && <u32>low == MAPPED_PREFIX && listener < 0x10000) {
    return hashWords(<u32>(low >> 32), (clientPort << 16) | listener);
  }
  return hashFlow(client, clientPort, listener);
}

export function lookupForward(hash: u32, listener: u32, client: usize, clientPort: u32): u32 {
  return findForward(hash, listener, client, clientPort);
}

/** The reverse key: who answers (net, address, port, protocol), and to whom. NONE or the entry's slot. */
export function lookupReverse(net: u32, address: usize, port: u32, protocol: u32, seen: usize, seenPort: u32): u32 {
  const hash = hashReverse(net, address, port, protocol, seen, seenPort);
  const high = load<u64>(seen);
  const low = load<u64>(seen, 8);
  const tag = tagOf(hash, REVERSE);
  let at = homeOf(hash);
  for (let count: u32 = 0; count < PROBE_MAX; count++) {
    const word = indexAt(at);
    if (word == 0) return NONE;
    if (isTagged(word, tag)) {
      const entry = flowAt(entryOf(word));
      const isSeen = entry.seenLow == low && entry.seenHigh == high && entry.seenPort == <u16>seenPort;
      if (isSeen && entry.protocol == <u8>protocol && answersAs(entry, net, address, port)) return entryOf(word);
    }
    at = nextOf(at);
  }
  return NONE;
}

/** Replies to a flow have the target as their source, or the VIP where nothing is translated. */
function answersAs(entry: FlowEntry, net: u32, address: usize, port: u32): bool {
  const listener = listenerAt(entry.listener);
  const target = targetAt(entry.target);
  const from = replyAddress(listener, target);
  return target.net == net && load<u64>(from, 8) == load<u64>(address, 8) && load<u64>(from) == load<u64>(address)
    && replyPort(listener, target) == port;
}

export function replyAddress(listener: ListenerRow, target: TargetRow): usize {
  return listener.translation == <u8>Translation.None ? listener.vip : target.address;
}

/** Port of the target as packets carry it: the vport where the target has none of its own, or nothing is translated. */
export function replyPort(listener: ListenerRow, target: TargetRow): u32 {
  return target.port == 0 || listener.translation == <u8>Translation.None ? listener.vport : target.port;
}

export function hashReverse(net: u32, address: usize, port: u32, protocol: u32, seen: usize, seenPort: u32): u32 {
  const high = load<u64>(address);
  const low = load<u64>(address, 8);
  const who = mix(<u32>low ^ net * 0x27d4eb2f, <u32>(low >> 32) ^ <u32>high * 0x165667b1 ^ <u32>(high >> 32) ^ (port << 8) ^ protocol);
  return hashFlow(seen, seenPort, who | REVERSE);
}

/**
 * Puts a prepared entry into the index. The caller has filled client, seen, ports, listener, target, protocol, state and flags;
 * false when its reverse key belongs to another flow that is alive (P6) or the index has no room.
 */
export function linkFlow(slot: u32, forwardHash: u32, hasReverse: bool): bool {
  const entry = flowAt(slot);
  const listener = listenerAt(entry.listener);
  const target = targetAt(entry.target);
  entry.forwardHash = forwardHash;
  entry.reverseHash = 0;
  if (hasReverse) {
    const from = replyAddress(listener, target);
    entry.reverseHash = hashReverse(target.net, from, replyPort(listener, target), entry.protocol, entry.seen, entry.seenPort);
  }
  if (readOnly) return true;
  if (!insertIndex(forwardHash, FORWARD, slot)) return false;
  if (hasReverse && !insertIndex(entry.reverseHash, REVERSE, slot)) {
    removeIndex(forwardHash, FORWARD, slot);
    return false;
  }
  if (!hasReverse) entry.flags |= <u16>FlowFlag.OneWay;
  count(entry, 1);
  return true;
}

/** Takes an entry for a new flow, evicting a half-open one when the table is full. NONE when nothing may be evicted. */
export function takeFlow(): u32 {
  // The explaining instance works in the entry behind the last one, which no index names.
  if (readOnly) return flowsMax;
  let slot = state.flowFree;
  if (slot == 0) {
    slot = state.flowFresh;
    if (slot >= flowsMax && !evict()) return NONE;
  }
  if (state.flowFree != 0) {
    slot = state.flowFree - 1;
    state.flowFree = flowAt(slot).next;
  } else {
    state.flowFresh = slot + 1;
  }
  memory.fill(changetype<usize>(flowAt(slot)), 0, sizeofFlow());
  flowAt(slot).worker = worker;
  return slot;
}

/** Gives back an entry that was never linked. */
export function returnFlow(slot: u32): void {
  if (readOnly) return;
  const entry = flowAt(slot);
  entry.state = <u8>FlowState.Free;
  entry.next = state.flowFree;
  state.flowFree = slot + 1;
}

/** Takes a flow out of the index and gives its entry back. */
export function endFlow(slot: u32): void {
  if (readOnly) return;
  const entry = flowAt(slot);
  removeIndex(entry.forwardHash, FORWARD, slot);
  if ((entry.flags & <u16>FlowFlag.OneWay) == 0) removeIndex(entry.reverseHash, REVERSE, slot);
  count(entry, -1);
  returnFlow(slot);
}

/**
 * Looks at a few entries for one that nobody has proved: a flood pushes itself out, never an established connection. With none in sight
 * a direct-return flow goes whose next packet finds the same target by Maglev; a flow that only its entry knows never goes.
 */
function evict(): bool {
  let at = state.evictCursor;
  let spare = NONE;
  for (let tries: u32 = 0; tries < EVICT_TRIES; tries++) {
    at = at + 1 >= flowsMax ? 0 : at + 1;
    const entry = flowAt(at);
    if (isUnproved(entry)) return evictAt(at);
    const isComputed = (entry.flags & <u16>FlowFlag.OneWay) != 0 && isHashed(listenerAt(entry.listener));
    if (spare == NONE && isComputed) spare = at;
  }
  state.evictCursor = at;
  return spare != NONE && evictAt(spare);
}

function evictAt(at: u32): bool {
  state.evictCursor = at;
  state.flowsEvicted += 1;
  endFlow(at);
  return true;
}

/**
 * Half-open, over, or of a client that may be forged. A target that answers a forged SYN proves nothing, and neither does an answered
 * datagram that was not followed by another; where replies do not pass here, nothing but a few more packets speaks for the client.
 */
function isUnproved(entry: FlowEntry): bool {
  const value: u32 = entry.state;
  if (value == FlowState.SynSeen || value == FlowState.SynAckSeen || value == FlowState.Datagram) return true;
  if (value == FlowState.Closed || value == FlowState.TimeWait) return true;
  if (value == FlowState.DatagramReplied) return entry.packetsIn < 2;
  return (entry.flags & <u16>FlowFlag.OneWay) != 0 && entry.packetsIn < ONE_WAY_PROVEN;
}

function count(entry: FlowEntry, by: i32): void {
  addTo(listenerRefs + (<usize>entry.listener << 2), by);
  addTo(targetRefs + (<usize>entry.target << 2), by);
  state.flowCount += by;
  const listener = listenerCounter(entry.listener);
  const target = targetCounter(entry.target);
  listener.flowsActive += <i64>by;
  target.flowsActive += <i64>by;
  if (by < 0) return;
  listener.flowsCreated += 1;
  target.flowsCreated += 1;
  state.flowsCreated += 1;
  entry.createdMs = nowMs;
}

function addTo(counter: usize, by: i32): void { store<u32>(counter, load<u32>(counter) + by); }
function sizeofFlow(): usize { return offsetof<FlowEntry>(); }
