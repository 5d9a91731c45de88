// Traffic counters of listeners, targets and EIPs, one set a worker. Reasons are counted where a walk ends, in verdict.ts.
import { TRAFFIC_COUNTER_BYTES, TrafficCounter } from '../layout.gen';
import { eipCounters, listenerCounters, readOnly, targetCounters } from '../memory';

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

function addIn(counter: TrafficCounter, bytes: u32): void {
  counter.packetsIn += 1;
  counter.bytesIn += bytes;
}

function addOut(counter: TrafficCounter, bytes: u32): void {
  counter.packetsOut += 1;
  counter.bytesOut += bytes;
}
