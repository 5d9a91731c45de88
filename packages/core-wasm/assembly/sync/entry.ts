// What the main thread calls of cluster state (P9): sync.wasm, on the memory of the data path, one instance a worker. It looks through a
// worker's flow table for flows that the peers must hear of, and takes in what the peers say. Only the fields `epoch`, `ordinal`, `sync` and
// `syncedMs` of a flow are written here, and the state of one that has ended elsewhere; everything else of it is the worker's.
import {
  ControlBlock,
  FlowEntry,
  FlowFlag,
  FlowState,
  FlowSync,
  NONE,
  ONE_WAY_PROVEN,
  STANDBY_ROW_BYTES,
  SYNC_AFTER_MS,
  SYNC_CLAIM_MS,
  SYNC_REFRESH_MS,
  SYNC_ROWS,
  StandbyRow,
} from '../layout.gen';
import { bank, control, flowsMax, nowMs, setBank, setNow, standby, state } from '../memory';
import { hashForward, lookupForward } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { lastSeen, dropStandby, expireStandby, putStandby } from '../table/standby-write';
import { needsPeers, standbyAt } from '../table/standby';

export { init } from '../memory';

const HASTE_NONE: u32 = 1;
const HASTE_ALL: u32 = 2;

/** Where the next call of `sweep` or `copyFlows` goes on. */
let cursor: u32 = 0;
export function cursorAfter(): u32 {
  return cursor;
}

/** Before anything else in a turn: the time, and the newest bank, which the main thread itself has written. False without an image. */
export function begin(now: u32): bool {
  setNow(now);
  setBank(atomic.load<u32>(changetype<usize>(control), offsetof<ControlBlock>('generation')));
  return changetype<usize>(bank) != 0;
}

/** Entries that may be in use. */
export function flowsEnd(): u32 {
  return min(state.flowFresh, flowsMax);
}

/**
 * Looks at `count` entries from `from` on and writes a record for each that the peers must hear of now, at most SYNC_ROWS. Returns how
 * many; `cursorAfter` says where to go on. `haste` is 0; 1: what should go at once waits like the rest (P9); 2: nothing waits.
 */
export function sweep(from: u32, count: u32, haste: u32): u32 {
  const end = min(from + count, flowsEnd());
  let records: u32 = 0;
  let at = from;
  for (; at < end && records < SYNC_ROWS; at++) {
    const entry = flowAt(at);
    if (!isProven(entry)) continue;
    if (isOver(entry)) {
      if (entry.sync != <u8>FlowSync.Sent || entry.ordinal != bank.ordinal) continue;
      tell(entry, records++);
      recordAt(records - 1).sequence = 1;
      entry.sync = <u8>FlowSync.Ended;
      continue;
    }
    if (!isDue(entry, haste)) continue;
    if (entry.sync == <u8>FlowSync.Sent && entry.ordinal != bank.ordinal) entry.epoch += 1;
    entry.ordinal = <u16>bank.ordinal;
    tell(entry, records++);
    entry.sync = <u8>FlowSync.Sent;
    entry.syncedMs = nowMs;
    // A row of a flow that is here now would bring it back after its end.
    dropStandby(recordAt(records - 1));
  }
  cursor = at;
  return records;
}

/** Like `sweep`, but every flow of ours that is worth it: for a director that joins. `youngest` is the least age in milliseconds. */
export function copyFlows(from: u32, count: u32, youngest: u32): u32 {
  const end = min(from + count, flowsEnd());
  let records: u32 = 0;
  let at = from;
  for (; at < end && records < SYNC_ROWS; at++) {
    const entry = flowAt(at);
    if (!isProven(entry) || isOver(entry) || nowMs - entry.createdMs < youngest) continue;
    if (entry.sync == <u8>FlowSync.Sent && entry.ordinal != bank.ordinal) continue;
    entry.ordinal = <u16>bank.ordinal;
    tell(entry, records++);
    // The asker alone hears of it now: the others do with the next sweep, or at the refresh that was due anyway.
    if (entry.sync == <u8>FlowSync.Fresh) entry.sync = <u8>FlowSync.Due;
  }
  cursor = at;
  return records;
}

/** Rows of the standby table as records, from row `from` on. */
export function copyStandby(from: u32, count: u32): u32 {
  const end = min(from + count, min(standby.fresh, standby.rowsMax));
  let records: u32 = 0;
  let at = from;
  for (; at < end && records < SYNC_ROWS; at++) {
    const row = standbyAt(at);
    if (row.state == <u8>FlowState.Free) continue;
    const record = recordAt(records++);
    memory.copy(changetype<usize>(record), changetype<usize>(row), <usize>STANDBY_ROW_BYTES);
    record.sequence = 0;
  }
  cursor = at;
  return records;
}

/**
 * What a peer's record in the buffer means for a flow of this worker. False: our own claim is higher, so the record is not to be kept; the
 * peers hear ours again, at most every SYNC_CLAIM_MS.
 */
export function meetFlow(index: u32): bool {
  const record = recordAt(index);
  if (record.listenerSlot >= bank.listeners) return true;
  const hash = hashForward(record.listenerSlot, record.client, record.clientPort);
  const slot = lookupForward(hash, record.listenerSlot, record.client, record.clientPort);
  if (slot == NONE) return true;
  const entry = flowAt(slot);
  if (isHigher(entry, record)) {
    if (entry.sync == <u8>FlowSync.Sent && nowMs - entry.syncedMs > SYNC_CLAIM_MS) entry.sync = <u8>FlowSync.Due;
    return false;
  }
  if (entry.ordinal == bank.ordinal || entry.sync == <u8>FlowSync.Fresh) standby.yielded += 1;
  entry.epoch = record.epoch;
  entry.ordinal = <u16>record.ordinal;
  entry.sync = <u8>FlowSync.Sent;
  entry.syncedMs = nowMs;
  if (record.sequence == 1) entry.state = <u8>FlowState.TimeWait;
  return true;
}

/** Takes the record in the buffer into the table, or ends its row. */
export function take(index: u32): bool {
  const record = recordAt(index);
  return record.sequence == 1 ? dropStandby(record) : putStandby(record);
}

export function expire(count: u32): u32 {
  return expireStandby(count);
}

function recordAt(index: u32): StandbyRow {
  return StandbyRow.at(<usize>standby.buffer + <usize>min(index, SYNC_ROWS - 1) * STANDBY_ROW_BYTES);
}

/** Both sides have spoken, or what stands for it: nobody makes the peers keep half-open flows. */
function isProven(entry: FlowEntry): bool {
  const value: u32 = entry.state;
  if (
    value == FlowState.Free ||
    value == FlowState.SynSeen ||
    value == FlowState.SynAckSeen ||
    value == FlowState.Datagram
  )
    return false;
  return (entry.flags & <u16>FlowFlag.OneWay) == 0 || entry.packetsIn >= ONE_WAY_PROVEN;
}

function isOver(entry: FlowEntry): bool {
  return entry.state == <u8>FlowState.TimeWait || entry.state == <u8>FlowState.Closed;
}

function isDue(entry: FlowEntry, haste: u32): bool {
  if (entry.sync == <u8>FlowSync.Due) return true;
  const listener = listenerAt(entry.listener);
  if (entry.sync == <u8>FlowSync.Fresh) {
    const after: u32 = needsPeers(listener, entry.flags) ? 0 : listener.syncAfterMs;
    return (
      haste == HASTE_ALL || nowMs - entry.createdMs >= (haste == HASTE_NONE ? max<u32>(after, SYNC_AFTER_MS) : after)
    );
  }
  if (entry.sync != <u8>FlowSync.Sent) return false;
  const interval = entry.ordinal == bank.ordinal ? min(SYNC_REFRESH_MS, listener.idleMs / 3) : SYNC_CLAIM_MS;
  if (nowMs - entry.syncedMs < interval) return false;
  const last =
    <i32>(entry.inboundMs - entry.outboundMs) > 0 || entry.outboundMs == 0 ? entry.inboundMs : entry.outboundMs;
  return <i32>(last - entry.syncedMs) > 0;
}

/** (epoch, ordinal) of a flow that was never told is (0, ours). */
function isHigher(entry: FlowEntry, record: StandbyRow): bool {
  if (entry.epoch != record.epoch) return <i32>(entry.epoch - record.epoch) > 0;
  const ordinal = entry.sync == <u8>FlowSync.Fresh ? bank.ordinal : <u32>entry.ordinal;
  return ordinal > record.ordinal;
}

function tell(entry: FlowEntry, index: u32): void {
  const record = recordAt(index);
  record.clientHigh = entry.clientHigh;
  record.clientLow = entry.clientLow;
  record.seenHigh = entry.seenHigh;
  record.seenLow = entry.seenLow;
  record.clientHostHigh = entry.clientHostHigh;
  record.clientHostLow = entry.clientHostLow;
  record.listener = listenerAt(entry.listener).id;
  record.target = targetAt(entry.target).id;
  record.clientPort = entry.clientPort;
  record.seenPort = entry.seenPort;
  record.protocol = entry.protocol;
  record.state = entry.state;
  record.flags = entry.flags;
  record.inboundMs = entry.inboundMs;
  record.outboundMs = entry.outboundMs;
  record.createdMs = entry.createdMs;
  record.epoch = entry.epoch;
  record.ordinal = bank.ordinal;
  record.sequenceDelta = entry.sequenceDelta;
  record.timestampDelta = entry.timestampDelta;
  record.sequence = 0;
}
