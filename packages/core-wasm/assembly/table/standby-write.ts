// How the main thread keeps the standby table (P9): records are put in by their forward key, the highest (epoch, ordinal) wins, rows end
// with their flow, by idle time, or in a full table to make room. Not part of the core: sync.wasm has it.
import {
  FlowFlag, FlowState, ListenerRow, NONE, RowFlag, STANDBY_ROW_BYTES, STANDBY_WAYS, SYNC_REFRESH_MS, StandbyRow,
} from '../layout.gen';
import { nowMs, standby } from '../memory';
import { replyAddress, replyPort } from './flow';
import { FORWARD, REVERSE, tagOf } from './flow-index';
import { listenerAt, targetAt } from './rows';
import { bucketOf, hashStandbyForward, hashStandbyReverse, isResolved, standbyAt } from './standby';

/** Idle time of rows that are neither established nor answered: what FIN_SEEN_MS is to flows. */
const OTHER_IDLE_MS: u32 = 120000;
const EVICT_TRIES: u32 = 16;

/** Puts a record in, or renews its row. False: what is there has a higher (epoch, ordinal), or there is no table. */
export function putStandby(record: StandbyRow): bool {
  record.forwardHash = hashStandbyForward(record.listener, record.client, record.clientPort);
  record.reverseHash = reverseHashOf(record);
  const known = findRow(record);
  if (known != NONE) return renew(known, record);
  const number = takeRow();
  if (number == NONE) return false;
  write(number, record);
  link(number);
  standby.count += 1;
  standby.stored += 1;
  return true;
}

/** Ends the row of a flow that has ended, unless somebody has taken it over since. */
export function dropStandby(record: StandbyRow): bool {
  record.forwardHash = hashStandbyForward(record.listener, record.client, record.clientPort);
  const known = findRow(record);
  if (known == NONE || isOlder(record, standbyAt(known))) return false;
  freeRow(known);
  standby.deleted += 1;
  return true;
}

/** Looks at the next rows: ends idle ones, finds the slots of those whose ids an image has moved out of. */
export function expireStandby(count: u32): u32 {
  const end = min(standby.fresh, standby.rowsMax);
  let at = standby.expireCursor;
  let ended: u32 = 0;
  for (let looked: u32 = 0; looked < min(count, end); looked++) {
    if (at >= end) at = 0;
    const row = standbyAt(at);
    if (row.state != <u8>FlowState.Free && nowMs - lastSeen(row) > idleOf(row)) {
      freeRow(at);
      ended += 1;
    }
    at += 1;
  }
  standby.expireCursor = at;
  standby.expired += ended;
  return ended;
}

/** True when the first record loses against the second. */
export function isOlder(record: StandbyRow, other: StandbyRow): bool {
  if (record.epoch != other.epoch) return <i32>(record.epoch - other.epoch) < 0;
  return record.ordinal < other.ordinal;
}

export function lastSeen(row: StandbyRow): u32 {
  return <i32>(row.inboundMs - row.outboundMs) > 0 || row.outboundMs == 0 ? row.inboundMs : row.outboundMs;
}

/** How long after the last packet that we know of: a flow is told again at least that much later than it was used. */
function idleOf(row: StandbyRow): u32 {
  const value: u32 = row.state;
  const isLive = value == FlowState.Established || value == FlowState.DatagramReplied;
  if (!isLive || !isResolved(row)) return OTHER_IDLE_MS;
  const idle = listenerAt(row.listenerSlot).idleMs;
  return idle + min(SYNC_REFRESH_MS, idle / 3);
}

/** 0: replies do not pass here, or the ids mean nothing here yet. */
function reverseHashOf(record: StandbyRow): u32 {
  if (!isResolved(record)) return 0;
  const listener = listenerAt(record.listenerSlot);
  if (isOneWay(listener, record)) return 0;
  const target = targetAt(record.targetSlot);
  const from = replyAddress(listener, target);
  return hashStandbyReverse(target.net, from, replyPort(listener, target), record.protocol, record.seen, record.seenPort);
}

function isOneWay(listener: ListenerRow, record: StandbyRow): bool {
  return (listener.flags & <u8>RowFlag.DirectReturn) != 0 || (record.flags & <u16>FlowFlag.OneWay) != 0;
}

function findRow(record: StandbyRow): u32 {
  const at = bucketOf(record.forwardHash);
  const tag = tagOf(record.forwardHash, FORWARD);
  for (let way: u32 = 0; way < STANDBY_WAYS; way++) {
    const word = load<u32>(at + (<usize>way << 2));
    if (word == 0 || ((word ^ tag) & 0xff000000) != 0) continue;
    const number = (word & 0x00ffffff) - 1;
    if (isSameFlow(standbyAt(number), record)) return number;
  }
  return NONE;
}

function isSameFlow(row: StandbyRow, record: StandbyRow): bool {
  return row.listener == record.listener && row.clientPort == record.clientPort && row.clientLow == record.clientLow
    && row.clientHigh == record.clientHigh;
}

function renew(number: u32, record: StandbyRow): bool {
  const row = standbyAt(number);
  if (isOlder(record, row)) {
    standby.older += 1;
    return false;
  }
  // The same owner again: what a full copy says may be older than what we know.
  const isSameOwner = record.epoch == row.epoch && record.ordinal == row.ordinal;
  if (isSameOwner && <i32>(lastSeen(record) - lastSeen(row)) < 0) return true;
  if (row.reverseHash == record.reverseHash) write(number, record);
  else {
    unlink(number);
    write(number, record);
    link(number);
  }
  standby.refreshed += 1;
  return true;
}

function takeRow(): u32 {
  if (standby.rowsMax == 0) return NONE;
  if (standby.free == 0 && standby.fresh >= standby.rowsMax) evict();
  if (standby.free != 0) {
    const number = standby.free - 1;
    standby.free = standbyAt(number).next;
    return number;
  }
  const fresh = standby.fresh;
  standby.fresh = fresh + 1;
  return fresh;
}

/** The longest unused of a few makes room: a table that is full keeps what is used. */
function evict(): void {
  let oldest: u32 = NONE;
  let at = standby.expireCursor;
  for (let tries: u32 = 0; tries < min(EVICT_TRIES, standby.rowsMax); tries++) {
    at = at + 1 >= standby.rowsMax ? 0 : at + 1;
    if (oldest == NONE || <i32>(lastSeen(standbyAt(at)) - lastSeen(standbyAt(oldest))) < 0) oldest = at;
  }
  standby.expireCursor = at;
  freeRow(oldest);
  standby.evicted += 1;
}

function freeRow(number: u32): void {
  unlink(number);
  const row = standbyAt(number);
  begin(row);
  row.state = <u8>FlowState.Free;
  end(row);
  row.next = standby.free;
  standby.free = number + 1;
  standby.count -= 1;
}

function write(number: u32, record: StandbyRow): void {
  const row = standbyAt(number);
  const sequence = begin(row);
  memory.copy(changetype<usize>(row), changetype<usize>(record), <usize>STANDBY_ROW_BYTES);
  row.sequence = sequence;
  end(row);
}

/** Odd from here on; the copy of the record must not undo it. */
function begin(row: StandbyRow): u32 {
  const sequence = row.sequence | 1;
  atomic.store<u32>(changetype<usize>(row), sequence, offsetof<StandbyRow>('sequence'));
  return sequence;
}

function end(row: StandbyRow): void {
  atomic.store<u32>(changetype<usize>(row), row.sequence + 1, offsetof<StandbyRow>('sequence'));
}

function link(number: u32): void {
  const row = standbyAt(number);
  addWord(row.forwardHash, FORWARD, number);
  if (row.reverseHash != 0) addWord(row.reverseHash, REVERSE, number);
}

function unlink(number: u32): void {
  const row = standbyAt(number);
  removeWord(row.forwardHash, FORWARD, number);
  if (row.reverseHash != 0) removeWord(row.reverseHash, REVERSE, number);
}

/** A bucket that is full loses its first word: that row is not found by this key any more, which a keyed hash makes rare. */
function addWord(hash: u32, direction: u32, number: u32): void {
  const at = bucketOf(hash);
  let free: usize = at;
  for (let way: u32 = 0; way < STANDBY_WAYS; way++) {
    const place = at + (<usize>way << 2);
    if (load<u32>(place) != 0) continue;
    free = place;
    break;
  }
  atomic.store<u32>(free, tagOf(hash, direction) | (number + 1));
}

function removeWord(hash: u32, direction: u32, number: u32): void {
  const at = bucketOf(hash);
  const word = tagOf(hash, direction) | (number + 1);
  for (let way: u32 = 0; way < STANDBY_WAYS; way++) {
    const place = at + (<usize>way << 2);
    if (load<u32>(place) == word) atomic.store<u32>(place, 0);
  }
}
