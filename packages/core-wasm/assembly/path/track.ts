// track: the flow of a packet, by forward key inbound and by reverse key outbound (P4), and what a miss means (P8).
import {
  AddressKind,
  Direction,
  FlowEntry,
  FlowFlag,
  FlowState,
  FlowSync,
  Handshake,
  Health,
  ListenerRow,
  NONE,
  OnRemove,
  PacketFlag,
  PacketRecord,
  Reason,
  RowFlag,
  Step,
  Translation,
} from '../layout.gen';
import { health, readOnly, state } from '../memory';
import { findAddress } from '../table/address';
import { endFlow, hashForward, linkFlow, lookupForward, lookupReverse, returnFlow, takeFlow } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { hasHandshake, isClosing, seenInbound, seenOutbound } from '../table/flow-state';
import { isHashed, listenerAt, targetAt } from '../table/rows';
import { findStandbyForward, findStandbyReverse, takeOver } from '../table/standby';
import { bindsItself } from '../table/binding';
import { drop, punt } from '../verdict';
import { PROTOCOL_TCP } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp';
import { l4Bytes, tcpOf } from './frame';
import { trace } from './trace';

/** Leaves flowHash of a packet to a listener. Comes long before `trackInbound`, so that the table can be fetched meanwhile. */
export function expectInbound(packet: PacketRecord): void {
  if (packet.direction != <u8>Direction.Inbound) return;
  packet.flowHash = hashForward(packet.listenerSlot, packet.source, packet.sourcePort);
}

/** Leaves flowSlot and targetSlot; both NONE for a new flow, which schedule and open go on with. */
export function trackInbound(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  packet.targetSlot = NONE;
  packet.flowSlot = lookupForward(packet.flowHash, packet.listenerSlot, packet.source, packet.sourcePort);
  if (packet.flowSlot == NONE) packet.flowSlot = recallInbound(packet);
  if (packet.flowSlot == NONE) return missInbound(packet, listener);
  const entry = flowAt(packet.flowSlot);
  if (isOver(packet, entry)) return packet.verdict == 0 && missInbound(packet, listener);
  if ((packet.flags & <u16>PacketFlag.FromPeer) != 0) answerAsk(entry);
  packet.targetSlot = entry.target;
  seenInbound(entry, packet.tcpFlags, (listener.flags & <u8>RowFlag.DirectReturn) != 0);
  if ((entry.flags & <u16>FlowFlag.FinInbound) != 0) rememberEnd(packet, entry);
  trace(packet, Step.Track, packet.flowSlot, entry.state, entry.flags, packet.flowHash);
  return (entry.flags & <u16>FlowFlag.Binding) == 0 || leaveToBinding(packet, listener);
}

/**
 * Ends a flow that this packet must not join: a new connection on old ports, a target that is gone, or one that died before it ever
 * answered, where nothing is lost by another choice.
 */
function isOver(packet: PacketRecord, entry: FlowEntry): bool {
  const isTcp = hasHandshake(packet.protocol);
  const isSyn = isTcp && (packet.tcpFlags & <u8>(TCP_SYN | TCP_ACK)) == <u8>TCP_SYN;
  const isGone = (targetAt(entry.target).flags & <u8>RowFlag.Tombstone) != 0;
  const isDead = load<u8>(health + <usize>entry.target) == <u8>Health.Dead;
  const isUnanswered = entry.state == <u8>FlowState.SynSeen && (isGone || isDead);
  const isFresh = isSyn && (isClosing(entry) || isUnanswered);
  if (!isFresh && !isGone && (isTcp || !isDead)) return false;
  if (isGone && isTcp && !isFresh) {
    const policy: u32 = listenerAt(entry.listener).onRemove;
    if (policy == OnRemove.Run) return false;
    if (policy == OnRemove.Reset) {
      // The walk ends it when both ends have heard of it.
      packet.targetSlot = entry.target;
      drop(packet, Reason.Reset);
      return true;
    }
  }
  endFlow(packet.flowSlot);
  packet.flowSlot = NONE;
  return true;
}

/** Where the client has ended: by it a connection of another client may follow on the same source port (P18). */
function rememberEnd(packet: PacketRecord, entry: FlowEntry): void {
  if (readOnly || packet.protocol != <u8>PROTOCOL_TCP || (packet.tcpFlags & <u8>(TCP_FIN | TCP_ACK)) == 0) return;
  const tcp = tcpOf(packet);
  const end = tcp.sequence + l4Bytes(packet) - tcp.headerBytes + (packet.tcpFlags & <u8>TCP_FIN);
  if (entry.endSequence == 0 || <i32>(end - entry.endSequence) > 0) entry.endSequence = end;
  const timestamp = tcp.timestamp;
  if (timestamp != 0) entry.endTimestamp = timestamp;
}

/** The peer that asked hears of the flow by the next sweep, and is its owner from its next packet on (P9). */
function answerAsk(entry: FlowEntry): void {
  if (readOnly) return;
  entry.sync = <u8>FlowSync.Due;
  state.asksAnswered += 1;
}

/** A flow that another director had (P9). A SYN opens a connection of its own, whatever was there. */
function recallInbound(packet: PacketRecord): u32 {
  const isOpening = hasHandshake(packet.protocol) && (packet.tcpFlags & <u8>(TCP_SYN | TCP_ACK)) == <u8>TCP_SYN;
  if (isOpening || (packet.flags & <u16>PacketFlag.FromPeer) != 0) return NONE;
  const row = findStandbyForward(packet.listenerSlot, packet.source, packet.sourcePort);
  return row == NONE ? NONE : takeOver(row);
}

function recallOutbound(packet: PacketRecord): u32 {
  if ((packet.flags & <u16>PacketFlag.FromPeer) != 0) return NONE;
  const row = findStandbyReverse(
    packet.net,
    packet.source,
    packet.sourcePort,
    packet.protocol,
    packet.destination,
    packet.destinationPort,
  );
  return row == NONE ? NONE : takeOver(row);
}

/** A SYN or a datagram opens a flow. Other TCP is picked up where every director computes the same target. */
function missInbound(packet: PacketRecord, listener: ListenerRow): bool {
  trace(packet, Step.Track, NONE, 0, 0, packet.flowHash);
  if ((packet.flags & <u16>PacketFlag.FromPeer) != 0) return drop(packet, Reason.PeerUnknown);
  if (!hasHandshake(packet.protocol)) return true;
  const flags: u32 = packet.tcpFlags;
  if (listener.handshake != <u8>Handshake.Target && bindsItself(packet.listenerSlot, listener, flags))
    return leaveToBinding(packet, listener);
  if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) return true;
  const isComputed = isHashed(listener) && listener.translation != <u8>Translation.FullNat;
  if (!isComputed || (flags & (TCP_SYN | TCP_RST)) != 0) return drop(packet, Reason.MidFlow);
  packet.flags |= <u16>PacketFlag.PickedUp;
  return true;
}

/** The target of this connection is not chosen, or not connected yet: assembly/binding has it (P26, P27). */
function leaveToBinding(packet: PacketRecord, listener: ListenerRow): bool {
  trace(packet, Step.Handshake, listener.handshake, packet.flowSlot == NONE ? 0 : 1, 0, 0);
  return punt(packet, Reason.Handshake);
}

/** Leaves flowSlot, listenerSlot and targetSlot. */
export function trackOutbound(packet: PacketRecord): bool {
  packet.flowSlot = lookupReverse(
    packet.net,
    packet.source,
    packet.sourcePort,
    packet.protocol,
    packet.destination,
    packet.destinationPort,
  );
  if (packet.flowSlot == NONE) packet.flowSlot = recallOutbound(packet);
  const isAsked = (packet.flags & <u16>PacketFlag.FromPeer) != 0;
  if (packet.flowSlot == NONE && (isAsked || !rebuild(packet))) return drop(packet, Reason.NoFlow);
  const entry = flowAt(packet.flowSlot);
  if (isAsked) answerAsk(entry);
  packet.listenerSlot = entry.listener;
  packet.targetSlot = entry.target;
  const isGone = (targetAt(entry.target).flags & <u8>RowFlag.Tombstone) != 0;
  if (isGone && listenerAt(entry.listener).onRemove == <u8>OnRemove.Reset) return drop(packet, Reason.Reset);
  seenOutbound(entry, packet.tcpFlags);
  trace(packet, Step.Track, packet.flowSlot, entry.state, entry.flags, entry.reverseHash);
  return (entry.flags & <u16>FlowFlag.Binding) == 0 || leaveToBinding(packet, listenerAt(entry.listener));
}

/**
 * A reply without a flow: made again when exactly one listener has this target and its VM has no EIP, from which such a packet
 * must never leave (P8).
 */
function rebuild(packet: PacketRecord): bool {
  const isOpening = hasHandshake(packet.protocol) && (packet.tcpFlags & <u8>(TCP_SYN | TCP_ACK)) == <u8>TCP_SYN;
  if (isOpening || findAddress(AddressKind.EipPrivate, packet.net, packet.source, 0, 0) != NONE) return false;
  const listener = findAddress(AddressKind.Rebuild, packet.net, packet.source, packet.sourcePort, packet.protocol);
  const target = findAddress(AddressKind.Target, packet.net, packet.source, packet.sourcePort, packet.protocol);
  if (listener == NONE || target == NONE) return false;
  // Nothing here translates between families, so such a listener has never sent this target a packet.
  if (listenerAt(listener).family != packet.family) return false;
  // Nobody but its own entry knows the numbers of a translated connection.
  if (listenerAt(listener).handshake != <u8>Handshake.Target) return false;
  const slot = takeFlow();
  if (slot == NONE) return false;
  const entry = flowAt(slot);
  copyAddress(entry.client, packet.destination);
  copyAddress(entry.seen, packet.destination);
  entry.clientPort = packet.destinationPort;
  entry.seenPort = packet.destinationPort;
  entry.listener = listener;
  entry.target = target;
  entry.protocol = packet.protocol;
  entry.flags = <u16>FlowFlag.PickedUp;
  entry.state = <u8>(hasHandshake(packet.protocol) ? FlowState.Established : FlowState.DatagramReplied);
  if (!linkFlow(slot, hashForward(listener, packet.destination, packet.destinationPort), true)) {
    returnFlow(slot);
    return false;
  }
  packet.flags |= <u16>PacketFlag.PickedUp;
  packet.flowSlot = slot;
  state.flowsPickedUp += 1;
  return true;
}
