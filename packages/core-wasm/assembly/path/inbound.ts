// inbound: the steps from client to target, in order. Each is a file; none knows the next.
import { Encapsulation, NONE, PacketFlag, PacketRecord, Reason, Verdict } from '../layout.gen';
import { takeErrorToken } from '../table/bucket';
import { countIn } from '../table/counter';
import { endFlow } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { sequence } from '../table/next-hop';
import { targetAt } from '../table/rows';
import { drop } from '../verdict';
import { admit } from './admit';
import { answer } from './answer';
import { askInbound, askPeers } from './ask';
import { classify } from './classify';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { settleExtra } from './extra';
import { fit } from './fit';
import { ipBytes } from './frame';
import { guard } from './guard';
import { hop } from './hop';
import { matchInboundError, translateInboundError } from './icmp';
import { limit } from './limit';
import { open } from './open';
import { emitPieces, mayBeCut } from './pieces';
import { quoteDestinationPort, quoteProtocol } from './quote';
import { routeTo, routeToTarget, routeToTunnel } from './route';
import { mayReset, resetReceiver, resetSender } from './reset';
import { recompute, schedule } from './schedule';
import { trackInbound } from './track';
import { translateInbound } from './translate';
import { learnWay, takeWay } from './way';

/** Protocol of a packet whose transport header is elsewhere: no rewrite touches its payload. */
const NO_TRANSPORT: u8 = 255;

export function inbound(packet: PacketRecord): void {
  if (walk(packet)) return;
  if (packet.reason == <u8>Reason.Reset && packet.verdict == <u8>Verdict.Drop) {
    resetBoth(packet);
    return;
  }
  askInbound(packet);
  if (mayBeCut(packet)) goInPieces(packet);
  if (answer(packet) && routeBack(packet) && encapsulate(packet, Encapsulation.Gre)) emit(packet);
}

/** An answer to a client inside a VPC goes through the tunnel that its packets come from (P30). */
function routeBack(packet: PacketRecord): bool {
  if ((packet.flags & <u16>PacketFlag.FromTunnel) == 0) return routeTo(packet, packet.destination);
  return routeToTunnel(packet, flowAt(packet.flowSlot).clientHost, packet.net);
}

function walk(packet: PacketRecord): bool {
  return (
    classify(packet) &&
    admit(packet) &&
    limit(packet) &&
    trackInbound(packet) &&
    guard(packet) &&
    schedule(packet) &&
    open(packet) &&
    (takeWay(packet) || longEnd(packet))
  );
}

/** The target was removed with the policy reset: target and client hear of it by this packet of the client. */
function resetBoth(packet: PacketRecord): void {
  const slot = packet.flowSlot;
  if (mayReset(packet)) {
    // Above the rate the flow stays, and its next packet tries again.
    if (!takeErrorToken()) return;
    const other = resetReceiver(packet);
    if (other != null) {
      const target = targetAt(other.targetSlot);
      if (routeToTarget(other, target) && translateInbound(other) && encapsulate(other, target.encapsulation))
        emit(other);
      settleExtra(other);
    }
    resetSender(packet);
    if (routeBack(packet) && encapsulate(packet, Encapsulation.Gre)) emit(packet);
  }
  endFlow(slot);
}

/** The rest of the walk, step by step. What is put in here must hold for way.ts too, or keep packets from it. */
function longEnd(packet: PacketRecord): bool {
  const before = sequence();
  return (
    routeToTarget(packet, targetAt(packet.targetSlot)) &&
    fit(packet) &&
    hop(packet) &&
    countPacket(packet) &&
    translateInbound(packet) &&
    encapsulate(packet, targetAt(packet.targetSlot).encapsulation) &&
    emit(packet) &&
    learnWay(packet, before)
  );
}

/** The end of the walk of a packet whose flow has its target: of delayed binding (assembly/binding). */
export function sendToTarget(packet: PacketRecord): bool {
  return takeWay(packet) || longEnd(packet);
}

/** What fit has refused and may be cut: the rest of the walk. */
function goInPieces(packet: PacketRecord): bool {
  return (
    hop(packet) &&
    countPacket(packet) &&
    translateInbound(packet) &&
    emitPieces(packet, targetAt(packet.targetSlot).encapsulation)
  );
}

/** A fragment behind the first: its flow exists, and its payload is no transport header. Makes nothing, answers nothing. */
export function inboundLater(packet: PacketRecord): void {
  if (!classify(packet) || !limit(packet) || !trackInbound(packet)) return;
  if (packet.flowSlot == NONE) {
    drop(packet, Reason.NoFlow);
    return;
  }
  const target = targetAt(packet.targetSlot);
  packet.protocol = NO_TRANSPORT;
  if (!routeToTarget(packet, target)) return;
  if (!fit(packet)) {
    if (mayBeCut(packet)) goInPieces(packet);
    return;
  }
  if (hop(packet) && countPacket(packet) && translateInbound(packet) && encapsulate(packet, target.encapsulation))
    emit(packet);
}

/** An ICMP error to a VIP goes where the packet that caused it came from. */
export function inboundError(packet: PacketRecord): void {
  if (!matchInboundError(packet)) return;
  if (packet.targetSlot == NONE) {
    if (!recompute(packet, packet.outerDestination, quoteDestinationPort, quoteProtocol)) {
      askPeers(packet);
      return;
    }
  }
  const target = targetAt(packet.targetSlot);
  if (routeToTarget(packet, target) && fit(packet) && hop(packet) && translateInboundError(packet)) {
    if (encapsulate(packet, target.encapsulation)) emit(packet);
  }
}

function countPacket(packet: PacketRecord): bool {
  countIn(packet.listenerSlot, packet.targetSlot, ipBytes(packet));
  return true;
}
