// How a walk ends: one call with a reason. `settle` counts every packet exactly once, whatever the walk did.
import { PacketFlag, PacketRecord, Reason, Verdict } from './layout.gen';
import { reasons, state } from './memory';

/** All three return false, so a step ends with `return drop(packet, Reason.NoTarget)`. */
export function drop(packet: PacketRecord, reason: Reason): bool {
  return end(packet, Verdict.Drop, reason);
}
export function punt(packet: PacketRecord, reason: Reason): bool {
  return end(packet, Verdict.Punt, reason);
}
export function consume(packet: PacketRecord, reason: Reason): bool {
  return end(packet, Verdict.Consumed, reason);
}
export function hold(packet: PacketRecord, reason: Reason): bool {
  return end(packet, Verdict.Held, reason);
}

/** Ready to be sent out of `portOut`. */
export function forward(packet: PacketRecord, portOut: u32): bool {
  packet.portOut = <u8>portOut;
  packet.verdict = <u8>Verdict.Forward;
  packet.reason = <u8>Reason.None;
  return true;
}

function end(packet: PacketRecord, verdict: Verdict, reason: Reason): bool {
  packet.verdict = <u8>verdict;
  packet.reason = <u8>reason;
  return false;
}

/** Last call of every walk: a packet without a verdict is a bug of ours and must show in the counters. */
export function settle(packet: PacketRecord): void {
  if (packet.verdict == <u8>Verdict.None) drop(packet, Reason.WalkBug);
  const verdict: u32 = packet.verdict;
  state.received += 1;
  if (verdict == Verdict.Forward) {
    state.forwarded += 1;
    if (packet.flags & <u16>PacketFlag.Generated) state.generated += 1;
    return;
  }
  if (verdict == Verdict.Drop) state.dropped += 1;
  else if (verdict == Verdict.Punt) state.punted += 1;
  else if (verdict == Verdict.Consumed) state.consumed += 1;
  else state.held += 1;
  const counter = reasons + ((<usize>packet.reason) << 3);
  store<u64>(counter, load<u64>(counter) + 1);
}

/** The same for packets that took the short walk: all are forwarded and none was made here. */
export function settleKnown(count: u32): void {
  state.received += count;
  state.forwarded += count;
}
