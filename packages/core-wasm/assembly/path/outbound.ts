// outbound: the steps from target to client, in order. The packet has been decapsulated and parsed again by then.
import { Encapsulation, NONE, PacketRecord, Reason, Verdict } from '../layout.gen';
import { takeErrorToken } from '../table/bucket';
import { countOut } from '../table/counter';
import { endFlow } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { copyAddress } from '../wire/ipv6';
import { answer } from './answer';
import { askPeers } from './ask';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { settleExtra } from './extra';
import { fit } from './fit';
import { ipBytes } from './frame';
import { hop } from './hop';
import { isIcmpError, matchOutboundError, translateOutboundError } from './icmp';
import { limit } from './limit';
import { emitPieces, mayBeCut } from './pieces';
import { mayReset, resetReceiver, resetSender } from './reset';
import { clampToTarget, routeTo, routeToTarget, routeToTunnel } from './route';
import { trackOutbound } from './track';
import { translateOutbound } from './translate';

/** Protocol of a packet whose transport header is elsewhere: no rewrite touches its payload. */
const NO_TRANSPORT: u8 = 255;

export function outbound(packet: PacketRecord): void {
  packet.hostSlot = NONE;
  if (isIcmpError(packet)) {
    if (!outboundError(packet) && packet.reason == <u8>Reason.IcmpUnmatched) askPeers(packet);
    return;
  }
  if (walk(packet) || packet.verdict != <u8>Verdict.Drop) return;
  if (packet.reason == <u8>Reason.NoFlow) {
    askPeers(packet);
    return;
  }
  if (packet.reason == <u8>Reason.Reset) {
    resetBoth(packet);
    return;
  }
  if (mayBeCut(packet)) goInPieces(packet);
  tellTarget(packet);
}

function walk(packet: PacketRecord): bool {
  return trackOutbound(packet) && limit(packet) && sendToClient(packet);
}

/** The end of the walk of a packet whose flow is known: also of delayed binding (assembly/binding). */
export function sendToClient(packet: PacketRecord): bool {
  return (
    clampToTarget(packet, targetAt(packet.targetSlot)) &&
    routeToClient(packet) &&
    fit(packet) &&
    hop(packet) &&
    countPacket(packet) &&
    translateOutbound(packet) &&
    encapsulate(packet, Encapsulation.Gre) &&
    emit(packet)
  );
}

/** The target was removed with the policy reset: client and target hear of it by this packet of the target. */
function resetBoth(packet: PacketRecord): void {
  const slot = packet.flowSlot;
  if (mayReset(packet)) {
    if (!takeErrorToken()) return;
    const other = resetReceiver(packet);
    if (other != null) {
      if (routeToClient(other) && translateOutbound(other) && encapsulate(other, Encapsulation.Gre)) emit(other);
      settleExtra(other);
    }
    resetSender(packet);
    const target = targetAt(packet.targetSlot);
    if (routeToTarget(packet, target) && encapsulate(packet, target.encapsulation)) emit(packet);
  }
  endFlow(slot);
}

function goInPieces(packet: PacketRecord): bool {
  return hop(packet) && countPacket(packet) && translateOutbound(packet) && emitPieces(packet, Encapsulation.Gre);
}

/**
 * Too large or at the end of its hops: its target hears it from the VIP, the address that stands on this hop (P17), by its own tunnel
 * and about the packet as it has sent it.
 */
function tellTarget(packet: PacketRecord): void {
  const isTold = packet.reason == <u8>Reason.TooBig || packet.reason == <u8>Reason.TtlExceeded;
  if (!isTold || packet.flowSlot == NONE || packet.targetSlot == NONE) return;
  copyAddress(packet.destination, listenerAt(packet.listenerSlot).vip);
  if (!answer(packet)) return;
  const target = targetAt(packet.targetSlot);
  if (routeToTarget(packet, target) && encapsulate(packet, target.encapsulation)) emit(packet);
}

/** A fragment behind the first: its payload is no transport header. Answers nothing. */
export function outboundLater(packet: PacketRecord): void {
  packet.hostSlot = NONE;
  if (!trackOutbound(packet) || !limit(packet) || !routeToClient(packet)) return;
  packet.protocol = NO_TRANSPORT;
  if (!fit(packet)) {
    if (mayBeCut(packet)) goInPieces(packet);
    return;
  }
  if (hop(packet) && countPacket(packet) && translateOutbound(packet) && encapsulate(packet, Encapsulation.Gre))
    emit(packet);
}

function outboundError(packet: PacketRecord): bool {
  return (
    matchOutboundError(packet) &&
    routeToClient(packet) &&
    fit(packet) &&
    hop(packet) &&
    translateOutboundError(packet) &&
    encapsulate(packet, Encapsulation.Gre) &&
    emit(packet)
  );
}

/** A public client is routed to; a client inside a VPC is behind the host that its packets came from (P30). */
function routeToClient(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  const entry = flowAt(packet.flowSlot);
  if (listener.net == 0) return routeTo(packet, entry.client);
  return routeToTunnel(packet, entry.clientHost, listener.net);
}

function countPacket(packet: PacketRecord): bool {
  countOut(packet.listenerSlot, packet.targetSlot, ipBytes(packet));
  return true;
}
