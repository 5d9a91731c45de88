// open: makes the entry of a new flow, with the source that the target will see. The client's own where nothing stands in the way;
// another port when that inner tuple is taken (P6); a local address of this director in full NAT (P18).
import {
  FlowEntry,
  FlowFlag,
  FlowState,
  ListenerRow,
  NONE,
  PORT_TRIES,
  PacketFlag,
  PacketRecord,
  Reason,
  RowFlag,
  Step,
  TargetRow,
  Translation,
} from '../layout.gen';
import { bank, nowMs, readOnly, state } from '../memory';
import { takeConnection } from '../table/service';
import { listenerCounter, targetCounter } from '../table/counter';
import { endFlow, linkFlow, lookupReverse, replyAddress, replyPort, returnFlow, takeFlow } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { firstState, hasHandshake, isClosing } from '../table/flow-state';
import { mix } from '../table/hash';
import { ownPort } from '../table/port-pool';
import { listenerAt, targetAt } from '../table/rows';
import { drop } from '../verdict';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { tcpOf } from './frame';
import { trace } from './trace';

export function open(packet: PacketRecord): bool {
  if (packet.flowSlot != NONE) return true;
  const listener = listenerAt(packet.listenerSlot);
  const target = targetAt(packet.targetSlot);
  if (listener.family != target.family && listener.translation != <u8>Translation.None)
    return drop(packet, Reason.FamilyMismatch);
  if (listener.newFlowsPerSecond != 0 && !takeNewFlow(packet.listenerSlot, listener))
    return drop(packet, Reason.NewFlowLimit);
  if ((listener.flags & <u8>RowFlag.Limited) != 0 && !takeConnection(listener.meter))
    return drop(packet, Reason.LimitConnections);
  const slot = takeFlow();
  if (slot == NONE) return drop(packet, Reason.FlowTableFull);
  const entry = flowAt(slot);
  fill(packet, entry);
  const hasReverse = (listener.flags & <u8>RowFlag.DirectReturn) == 0;
  if (hasReverse && !chooseSource(packet, entry, listener, target)) {
    returnFlow(slot);
    if (!readOnly) targetCounter(packet.targetSlot).dropped += 1;
    return drop(packet, Reason.PortPool);
  }
  if (!linkFlow(slot, packet.flowHash, hasReverse)) {
    returnFlow(slot);
    return drop(packet, Reason.FlowTableFull);
  }
  packet.flowSlot = slot;
  packet.flags |= <u16>PacketFlag.NewFlow;
  if (!readOnly && (entry.flags & <u16>FlowFlag.PickedUp) != 0) state.flowsPickedUp += 1;
  trace(packet, Step.Track, slot, entry.state, entry.flags, entry.seenPort);
  return true;
}

function fill(packet: PacketRecord, entry: FlowEntry): void {
  copyAddress(entry.client, packet.source);
  copyAddress(entry.seen, packet.source);
  if (packet.flags & <u16>PacketFlag.FromTunnel) copyAddress(entry.clientHost, packet.outerSource);
  entry.clientPort = packet.sourcePort;
  entry.seenPort = packet.sourcePort;
  entry.listener = packet.listenerSlot;
  entry.target = packet.targetSlot;
  entry.protocol = packet.protocol;
  entry.state = <u8>firstState(packet.protocol);
  entry.flags = (packet.flags & <u16>PacketFlag.PickedUp) != 0 ? <u16>FlowFlag.PickedUp : 0;
  entry.inboundMs = nowMs;
  entry.packetsIn = 1;
}

/** Leaves seen and seenPort such that the reverse key is ours alone. */
function chooseSource(packet: PacketRecord, entry: FlowEntry, listener: ListenerRow, target: TargetRow): bool {
  const isFullNat = listener.translation == <u8>Translation.FullNat;
  if (!isFullNat && isFree(packet, entry, listener, target, true)) return true;
  const protocol: u32 = packet.protocol;
  const hasPorts =
    hasHandshake(protocol) || protocol == PROTOCOL_UDP || protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6;
  if (!hasPorts || listener.translation == <u8>Translation.None) return false;
  for (let again: u32 = 0; again < PORT_TRIES; again++) {
    const choice = mix(packet.flowHash, again);
    if (isFullNat) setLocalAddress(entry, listener.family, choice >> 16);
    entry.seenPort = <u16>ownPort(choice);
    if (entry.seenPort == 0 || !isFree(packet, entry, listener, target, false)) continue;
    entry.flags |= <u16>FlowFlag.PortRewritten;
    if (!isFullNat && !readOnly) state.portsRewritten += 1;
    return true;
  }
  return false;
}

function setLocalAddress(entry: FlowEntry, family: u32, choice: u32): void {
  copyAddress(entry.seen, family == 4 ? bank.lip4 : bank.lip6);
  store<u8>(entry.seen, <u8>(load<u8>(entry.seen, 15) + 1 + (choice % bank.poolAddresses)), 15);
}

/** New flows above the rate of the listener wait for the next second; as many as in a second may come at once. */
function takeNewFlow(slot: u32, listener: ListenerRow): bool {
  if (readOnly) return true;
  const counter = listenerCounter(slot);
  const rate = listener.newFlowsPerSecond;
  const elapsed = nowMs - counter.newTokensMs;
  const tokens = <u32>min<u64>((<u64>elapsed * rate) / 1000, rate);
  if (tokens != 0) {
    counter.newTokens = min(rate, counter.newTokens + tokens);
    counter.newTokensMs = nowMs;
  }
  if (counter.newTokens == 0) {
    counter.dropped += 1;
    return false;
  }
  counter.newTokens -= 1;
  return true;
}

/**
 * A flow that has ended gives its tuple up; one that is alive keeps it. A client that comes again on its own port may follow itself in
 * TIME_WAIT (RFC 9293, 3.6.1); on a port of the pool it must look to the target like one that follows the last client (P18).
 */
function isFree(
  packet: PacketRecord,
  entry: FlowEntry,
  listener: ListenerRow,
  target: TargetRow,
  isOwnPort: bool,
): bool {
  const other = lookupReverse(
    target.net,
    replyAddress(listener, target),
    replyPort(listener, target),
    entry.protocol,
    entry.seen,
    entry.seenPort,
  );
  if (other == NONE) return true;
  const ended = flowAt(other);
  if (!isClosing(ended)) return false;
  if (!isOwnPort && ended.state == <u8>FlowState.TimeWait && !follows(packet, ended)) return false;
  endFlow(other);
  return true;
}

/**
 * What a target in TIME_WAIT takes for a new connection: a newer timestamp, or a sequence number behind the old connection (RFC 6191;
 * RFC 1122, 4.2.2.13). An older timestamp it refuses whatever the sequence number is (RFC 7323, 5).
 */
function follows(packet: PacketRecord, ended: FlowEntry): bool {
  if (packet.protocol != <u8>PROTOCOL_TCP || ended.endSequence == 0) return false;
  const tcp = tcpOf(packet);
  const timestamp = tcp.timestamp;
  if (timestamp != 0 && ended.endTimestamp != 0) {
    const newer = <i32>(timestamp - ended.endTimestamp);
    if (newer != 0) return newer > 0;
  }
  return <i32>(tcp.sequence - ended.endSequence) > 0;
}
