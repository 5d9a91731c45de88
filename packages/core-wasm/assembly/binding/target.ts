// Segments of a target whose connection the director opens (P26 (6), (7)): its SYN/ACK fixes what every later segment is translated by.
import {
  FlowFlag,
  FlowState,
  NONE,
  NO_SCALE,
  PROXY_SCALE,
  PacketRecord,
  PendingRow,
  PendingState,
  Reason,
  TcpOption,
  WINDOW_SHIFT_BIT,
  WINDOW_SHIFT_ZERO,
} from '../layout.gen';
import { binding } from '../memory';
import { tcpOf } from '../path/frame';
import { sendToClient } from '../path/outbound';
import { endFlow } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { readOptions } from '../tcp/options';
import { consume, drop } from '../verdict';
import { TCP_ACK, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';
import { deliver, giveUp, handOver } from './connect';
import { findPending, isHandedOver, isStillThere, pendingAt, returnPending } from './pending';
import { clockMs, segmentToTarget, sendToTargetNow } from './send';
import { segmentOf, viewOf } from './work';

const MSS_DEFAULT: u32 = 536;

export function fromTarget(packet: PacketRecord): bool {
  const entry = flowAt(packet.flowSlot);
  if (!isStillThere(packet)) return drop(packet, Reason.NoFlow);
  if (isHandedOver(packet)) return sendToClient(packet);
  const number = findPending(entry.forwardHash, entry.listener, entry.client, entry.clientPort);
  if (number == NONE || pendingAt(number).flow != packet.flowSlot) {
    endFlow(packet.flowSlot);
    return drop(packet, Reason.NoFlow);
  }
  const row = pendingAt(number);
  const flags: u32 = packet.tcpFlags;
  if (row.state == <u8>PendingState.Connecting) return whileConnecting(packet, number, flags);
  const tcp = tcpOf(packet);
  if ((flags & TCP_RST) != 0) {
    entry.flags &= ~(<u16>FlowFlag.Binding);
    returnPending(number);
    return sendToClient(packet);
  }
  if ((flags & TCP_SYN) != 0) {
    // Our ACK was lost.
    deliver(number);
    return consume(packet, Reason.Kept);
  }
  if ((flags & TCP_ACK) != 0) acknowledge(row, tcp);
  if (row.acknowledged >= row.kept) handOver(number);
  return sendToClient(packet);
}

function whileConnecting(packet: PacketRecord, number: u32, flags: u32): bool {
  const row = pendingAt(number);
  const tcp = tcpOf(packet);
  const isOurs = tcp.acknowledgment == row.isn + 1;
  if ((flags & TCP_RST) != 0) {
    if ((flags & TCP_ACK) == 0 || !isOurs) return drop(packet, Reason.MidFlow);
    binding.refused += 1;
    giveUp(number, true);
    return consume(packet, Reason.Kept);
  }
  if ((flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && isOurs) {
    establish(row, tcp);
    deliver(number);
    if (row.kept == 0) handOver(number);
    return consume(packet, Reason.Kept);
  }
  // It remembers an older connection of these ends: what a client in SYN-SENT answers (RFC 9293, 3.10.7.3).
  if ((flags & TCP_ACK) != 0) {
    const segment = segmentOf();
    segmentToTarget(row, segment, 0, TCP_RST);
    segment.sequence = tcp.acknowledgment;
    segment.acknowledgment = 0;
    segment.window = 0;
    sendToTargetNow(row, segment, 0, 0);
  }
  return consume(packet, Reason.Kept);
}

function establish(row: PendingRow, tcp: Tcp): void {
  const view = viewOf();
  readOptions(view, tcp);
  const entry = flowAt(row.flow);
  const hasTimestamp = (view.flags & <u16>TcpOption.Timestamp) != 0;
  const scale: u32 = view.scale == <u8>NO_SCALE ? 0 : view.scale;
  const shift: u32 = row.scale == <u8>NO_SCALE ? WINDOW_SHIFT_ZERO : WINDOW_SHIFT_ZERO + PROXY_SCALE - scale;
  entry.sequenceDelta = row.cookie - tcp.sequence;
  entry.timestampDelta = hasTimestamp && row.hasTimestamp != 0 ? clockMs() - view.tsval : 0;
  entry.flags |= <u16>(FlowFlag.Translated | (shift << WINDOW_SHIFT_BIT));
  entry.state = <u8>FlowState.Established;
  row.targetTimestamp = hasTimestamp ? 1 : 0;
  row.targetTsval = view.tsval;
  row.targetMss = (view.flags & <u16>TcpOption.Mss) != 0 ? view.mss : <u16>MSS_DEFAULT;
  row.state = <u8>PendingState.Delivering;
  row.retries = 0;
}

/** The client's numbers are the target's own, so only their distance counts. */
function acknowledge(row: PendingRow, tcp: Tcp): void {
  const upTo = tcp.acknowledgment - row.isn - 1;
  if (upTo <= row.kept && upTo > row.acknowledged) {
    row.acknowledged = upTo;
    row.retries = 0;
  } else if (upTo > row.kept && upTo < 0x40000000) row.acknowledged = row.kept;
  const timestamp = tcp.timestamp;
  if (timestamp != 0) row.targetTsval = timestamp;
}
