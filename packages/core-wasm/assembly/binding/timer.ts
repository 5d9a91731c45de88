// What delayed binding does between bursts: servers that speak first, SYNs and data again, names that do not come, and the rates by
// which `auto` listeners change their mind (P26).
import {
  BINDING_STEP,
  COOKIE_LIFE_MS,
  CONNECT_RETRIES,
  DELIVER_RETRIES,
  Handshake,
  PendingState,
  SYN_RATE_LOOK_MS,
  SYN_RATE_QUIET_MS,
} from '../layout.gen';
import { bank, binding, map, nowMs } from '../memory';
import { hasRoom } from '../path/extra';
import { ACTIVE, INACTIVE, LEFT, bindingListenerAt } from '../table/binding';
import { listenerCounter } from '../table/counter';
import { listenerAt } from '../table/rows';
import { connect, connectAgain, deliver, giveUp } from './connect';
import { hasFlow, pendingAt } from './pending';

/** The most that one row can add to a burst: what 16 KiB make in segments, and a reset. */
const ROOM: u32 = 16;

/** Looks at the next rows. */
export function runTimers(): void {
  const end = min(binding.fresh, binding.rowsMax);
  let at = binding.cursor;
  for (let count: u32 = 0; count < min<u32>(BINDING_STEP, end) && hasRoom(ROOM); count++) {
    if (at >= end) at = 0;
    const row = pendingAt(at);
    if (row.state != <u8>PendingState.Free && <i32>(nowMs - row.dueMs) >= 0) run(at);
    at++;
  }
  binding.cursor = at;
}

function run(number: u32): void {
  const row = pendingAt(number);
  const state: u32 = row.state;
  if (state == PendingState.Proved) {
    if (listenerAt(row.listener).handshake == <u8>Handshake.Domain) binding.noName += 1;
    connect(number);
    return;
  }
  const limit = state == PendingState.Connecting ? CONNECT_RETRIES : DELIVER_RETRIES;
  if (row.retries >= <u8>limit || (state == PendingState.Delivering && !hasFlow(row))) {
    binding.noAnswer += 1;
    giveUp(number, true);
  } else if (state == PendingState.Connecting) connectAgain(number);
  else {
    row.retries += 1;
    deliver(number);
  }
}

/** Each worker counts with its share of the rate of the director. */
export function lookAtRates(): void {
  const elapsed = nowMs - binding.lookedMs;
  if (elapsed < SYN_RATE_LOOK_MS) return;
  binding.lookedMs = nowMs;
  for (let slot: u32 = 0; slot < bank.listeners; slot++) {
    if (listenerAt(slot).handshake == <u8>Handshake.Auto) lookAt(slot, elapsed);
  }
}

function lookAt(slot: u32, elapsed: u32): void {
  const row = bindingListenerAt(slot);
  const counter = listenerCounter(slot);
  const created = <u32>counter.flowsCreated;
  const dropped = <u32>counter.dropped;
  const isFirst = row.busyMs == 0;
  // Of a connection that the director has answered the flow comes later and is no SYN.
  const opened = row.active == ACTIVE ? 0 : created - row.created + (dropped - row.dropped);
  const count = opened + row.answered;
  row.created = created;
  row.dropped = dropped;
  row.answered = 0;
  if (isFirst) {
    row.busyMs = nowMs | 1;
    return;
  }
  const rate = <u32>((<u64>count * 1000) / elapsed) * map.workers;
  if (rate >= row.rate / 2) row.busyMs = nowMs | 1;
  if (rate >= row.rate) row.active = ACTIVE;
  else if (row.active == ACTIVE && nowMs - row.busyMs > SYN_RATE_QUIET_MS) {
    row.active = LEFT;
    row.leftMs = nowMs;
  } else if (row.active == LEFT && nowMs - row.leftMs > COOKIE_LIFE_MS) row.active = INACTIVE;
}
