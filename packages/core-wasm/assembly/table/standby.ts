// The standby table (P9, P11): flows of other directors, kept ready. Written by the main thread alone (standby-write.ts), read by every
// worker on a flow miss. A row has a sequence word, odd while it is written; who sees it odd or changed has found nothing.
import {
  FlowEntry, FlowFlag, FlowState, FlowSync, ListenerRow, NONE, OnRemove, RowFlag, STANDBY_ROW_BYTES, STANDBY_WAYS, StandbyRow, TargetRow,
  Translation,
} from '../layout.gen';
import { bank, readOnly, standby, state } from '../memory';
import { hashForward, linkFlow, lookupForward, lookupReverse, replyAddress, replyPort, returnFlow, takeFlow } from './flow';
import { FORWARD, REVERSE, entryOf, flowAt, isTagged, tagOf } from './flow-index';
import { hashStandby, mix } from './hash';
import { listenerAt, targetAt } from './rows';

export function standbyAt(row: u32): StandbyRow { return StandbyRow.at(<usize>standby.rows + <usize>row * STANDBY_ROW_BYTES); }

/** Address of the bucket of a hash: STANDBY_WAYS index words, in no order. A word that goes leaves a hole and moves no other. */
export function bucketOf(hash: u32): usize { return <usize>standby.index + <usize>(hash & standby.bucketMask) * (STANDBY_WAYS << 2); }

export function hashStandbyForward(listener: u64, client: usize, clientPort: u32): u32 { return hashStandby(client, clientPort, listener); }

export function hashStandbyReverse(net: u32, address: usize, port: u32, protocol: u32, seen: usize, seenPort: u32): u32 {
  const who = mix(<u32>load<u64>(address, 8) ^ net * 0x27d4eb2f, <u32>(load<u64>(address, 8) >> 32) ^ <u32>load<u64>(address) ^ (port << 8) ^ protocol);
  // Never 0, which is a row that is not found by this key.
  return hashStandby(seen, seenPort, who) | 1;
}

/** The row of a client's packet, or NONE. */
export function findStandbyForward(slot: u32, client: usize, clientPort: u32): u32 {
  if (standby.count == 0) return NONE;
  const id = listenerAt(slot).id;
  const hash = hashStandbyForward(id, client, clientPort);
  const at = bucketOf(hash);
  const tag = tagOf(hash, FORWARD);
  for (let way: u32 = 0; way < STANDBY_WAYS; way++) {
    const word = load<u32>(at + (<usize>way << 2));
    if (word == 0 || !isTagged(word, tag)) continue;
    const row = standbyAt(entryOf(word));
    if (row.listener == id && row.clientPort == <u16>clientPort && isEqual(row.client, client)) return entryOf(word);
  }
  return NONE;
}

/** The row of a reply, or NONE. */
export function findStandbyReverse(net: u32, address: usize, port: u32, protocol: u32, seen: usize, seenPort: u32): u32 {
  if (standby.count == 0) return NONE;
  const hash = hashStandbyReverse(net, address, port, protocol, seen, seenPort);
  const at = bucketOf(hash);
  const tag = tagOf(hash, REVERSE);
  for (let way: u32 = 0; way < STANDBY_WAYS; way++) {
    const word = load<u32>(at + (<usize>way << 2));
    if (word == 0 || !isTagged(word, tag)) continue;
    const row = standbyAt(entryOf(word));
    if (row.protocol != <u8>protocol || row.seenPort != <u16>seenPort || !isEqual(row.seen, seen) || !isResolved(row)) continue;
    const listener = listenerAt(row.listenerSlot);
    const target = targetAt(row.targetSlot);
    if (target.net == net && replyPort(listener, target) == port && isEqual(replyAddress(listener, target), address)) return entryOf(word);
  }
  return NONE;
}

/** Makes a flow of ours of a row: its slot, or NONE. The peers hear of it at once, by the next sweep. */
export function takeOver(number: u32): u32 {
  const slot = takeFlow();
  if (slot == NONE) return NONE;
  const entry = flowAt(slot);
  if (!readStandby(number, entry)) {
    returnFlow(slot);
    return NONE;
  }
  const createdMs = standbyAt(number).createdMs;
  const hash = hashForward(entry.listener, entry.client, entry.clientPort);
  const hasReverse = (listenerAt(entry.listener).flags & <u8>RowFlag.DirectReturn) == 0;
  if (!isFree(entry, hash, hasReverse) || !linkFlow(slot, hash, hasReverse)) {
    returnFlow(slot);
    return NONE;
  }
  entry.createdMs = createdMs;
  entry.sync = <u8>FlowSync.Due;
  if (!readOnly) state.flowsPromoted += 1;
  return slot;
}

/** Neither of its keys belongs to a flow that is here. */
function isFree(entry: FlowEntry, hash: u32, hasReverse: bool): bool {
  if (lookupForward(hash, entry.listener, entry.client, entry.clientPort) != NONE) return false;
  if (!hasReverse) return true;
  const listener = listenerAt(entry.listener);
  const target = targetAt(entry.target);
  const from = replyAddress(listener, target);
  return lookupReverse(target.net, from, replyPort(listener, target), entry.protocol, entry.seen, entry.seenPort) == NONE;
}

/**
 * Fills a fresh flow entry from a row. False when the row changed meanwhile, its ids mean nothing here, or its flow must not go on:
 * its target was removed and its listener's policy is another than to let flows run.
 */
function readStandby(number: u32, entry: FlowEntry): bool {
  const row = standbyAt(number);
  const before = atomic.load<u32>(changetype<usize>(row), offsetof<StandbyRow>('sequence'));
  if ((before & 1) != 0 || row.state == <u8>FlowState.Free || !isResolved(row)) return false;
  const listener = listenerAt(row.listenerSlot);
  const target = targetAt(row.targetSlot);
  const isServed = (listener.flags & <u8>RowFlag.Present) != 0 && isStillTarget(listener, target);
  if (!isServed) return false;
  entry.clientHigh = row.clientHigh;
  entry.clientLow = row.clientLow;
  entry.seenHigh = row.seenHigh;
  entry.seenLow = row.seenLow;
  entry.clientHostHigh = row.clientHostHigh;
  entry.clientHostLow = row.clientHostLow;
  entry.clientPort = row.clientPort;
  entry.seenPort = row.seenPort;
  entry.listener = row.listenerSlot;
  entry.target = row.targetSlot;
  entry.protocol = row.protocol;
  entry.state = row.state;
  entry.flags = <u16>((row.flags & ~(<u16>(FlowFlag.OneWay | FlowFlag.Binding))) | <u16>FlowFlag.Promoted);
  entry.inboundMs = row.inboundMs;
  entry.outboundMs = row.outboundMs;
  entry.sequenceDelta = row.sequenceDelta;
  entry.timestampDelta = row.timestampDelta;
  entry.epoch = row.epoch + 1;
  entry.ordinal = <u16>bank.ordinal;
  return atomic.load<u32>(changetype<usize>(row), offsetof<StandbyRow>('sequence')) == before;
}

/** Slots are what the ids meant when the record came; an image may have changed that. */
export function isResolved(row: StandbyRow): bool {
  if (row.listenerSlot >= bank.listeners || row.targetSlot >= bank.targets) return false;
  return listenerAt(row.listenerSlot).id == row.listener && targetAt(row.targetSlot).id == row.target;
}

/** Full NAT is the only translation in which the target sees another source than the client; numbers of the director are its own. */
export function needsPeers(listener: ListenerRow, flags: u32): bool {
  return listener.translation == <u8>Translation.FullNat || (flags & (FlowFlag.PortRewritten | FlowFlag.Translated)) != 0;
}

function isStillTarget(listener: ListenerRow, target: TargetRow): bool {
  if ((target.flags & <u8>RowFlag.Present) != 0) return true;
  return (target.flags & <u8>RowFlag.Tombstone) != 0 && listener.onRemove == <u8>OnRemove.Run;
}

function isEqual(a: usize, b: usize): bool { return load<u64>(a, 8) == load<u64>(b, 8) && load<u64>(a) == load<u64>(b); }
