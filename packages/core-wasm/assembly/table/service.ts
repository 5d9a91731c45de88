// The meter of a service: one row a worker, shared by the listener rows of all its VIPs (data-plane.md P33).
import { METER_ROW_BYTES, Meter, MeterVerdict, Reason } from '../layout.gen';
import { meters, nowMs, readOnly } from '../memory';
import { meterConnection, meterPacket } from './bucket';

export function meterAt(index: u32): Meter { return Meter.at(meters + <usize>index * METER_ROW_BYTES); }

/** A packet of so many bytes: Reason.None when the tokens are taken. Explain takes none. */
export function takePacket(index: u32, bytes: u32): Reason {
  if (readOnly) return Reason.None;
  const answer = meterPacket(meterAt(index), bytes << 3, nowMs);
  if (answer == MeterVerdict.Passed) return Reason.None;
  return answer == MeterVerdict.Packets ? Reason.LimitPackets : Reason.LimitBits;
}

/** A new flow, whose packet has passed. */
export function takeConnection(index: u32): bool {
  return readOnly || meterConnection(meterAt(index), nowMs) == MeterVerdict.Passed;
}

export function countDenied(index: u32): void {
  if (!readOnly) meterAt(index).denied += 1;
}
