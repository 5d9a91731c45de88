// Traffic counters of listeners, targets and EIPs, one set a worker. Reasons are counted where a walk ends, in verdict.ts.
import { TRAFFIC_COUNTER_BYTES, TrafficCounter } from '../layout.gen';
import { eipCounters, listenerCounters, readOnly, targetCounters } from '../memory';

/** bytesIn lies behind it. */
const PACKETS_IN: usize = offsetof<TrafficCounter>('packetsIn');

export function listenerCounter(slot: u32): TrafficCounter {
  return TrafficCounter.at(listenerCounters + <usize>slot * TRAFFIC_COUNTER_BYTES);
}
export function targetCounter(slot: u32): TrafficCounter {
  return TrafficCounter.at(targetCounters + <usize>slot * TRAFFIC_COUNTER_BYTES);
}
function eipCounter(row: u32): TrafficCounter { return TrafficCounter.at(eipCounters + <usize>row * TRAFFIC_COUNTER_BYTES); }

/** A packet towards the target. */
export function countIn(listener: u32, target: u32, bytes: u32): void {
  if (readOnly) return;
  addIn(listenerCounter(listener), bytes);
  addIn(targetCounter(target), bytes);
}

/** A packet towards the client. */
export function countOut(listener: u32, target: u32, bytes: u32): void {
  if (readOnly) return;
  addOut(listenerCounter(listener), bytes);
  addOut(targetCounter(target), bytes);
}

export function countEip(row: u32, bytes: u32, isInbound: bool): void {
  if (readOnly) return;
  if (isInbound) addIn(eipCounter(row), bytes);
  else addOut(eipCounter(row), bytes);
}

/** The same for who has asked already, both counters at once: packets and bytes lie side by side. */
export function countKnown(listener: u32, target: u32, bytes: u32): void {
  const more = i64x2.replace_lane(i64x2.splat(1), 1, bytes);
  const one = changetype<usize>(listenerCounter(listener));
  const other = changetype<usize>(targetCounter(target));
  v128.store(one, i64x2.add(v128.load(one, PACKETS_IN), more), PACKETS_IN);
  v128.store(other, i64x2.add(v128.load(other, PACKETS_IN), more), PACKETS_IN);
}

function addIn(counter: TrafficCounter, bytes: u32): void {
  counter.packetsIn += 1;
  counter.bytesIn += bytes;
}

function addOut(counter: TrafficCounter, bytes: u32): void {
  counter.packetsOut += 1;
  counter.bytesOut += bytes;
}
