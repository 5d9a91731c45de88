// inbound: the steps from client to target, in order. Each is a file; none knows the next.
import { PacketRecord } from '../layout.gen';
import { countIn } from '../table/counter';
import { targetAt } from '../table/rows';
import { admit } from './admit';
import { answer } from './answer';
import { classify } from './classify';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { fit } from './fit';
import { ipBytes } from './frame';
import { hop } from './hop';
import { matchInboundError, translateInboundError } from './icmp';
import { open } from './open';
import { routeTo, routeToTarget } from './route';
import { schedule } from './schedule';
import { trackInbound } from './track';
import { translateInbound } from './translate';

export function inbound(packet: PacketRecord): void {
  if (walk(packet)) return;
  if (answer(packet) && routeTo(packet, packet.destination)) emit(packet);
}

function walk(packet: PacketRecord): bool {
  return (
    classify(packet) &&
    admit(packet) &&
    trackInbound(packet) &&
    schedule(packet) &&
    open(packet) &&
    routeToTarget(packet, targetAt(packet.targetSlot)) &&
    fit(packet) &&
    hop(packet) &&
    countPacket(packet) &&
    translateInbound(packet) &&
    encapsulate(packet, targetAt(packet.targetSlot).encapsulation) &&
    emit(packet)
  );
}

/** An ICMP error to a VIP goes where the packet that caused it came from. */
export function inboundError(packet: PacketRecord): void {
  if (!matchInboundError(packet)) return;
  const target = targetAt(packet.targetSlot);
  if (routeToTarget(packet, target) && fit(packet) && hop(packet) && translateInboundError(packet)) {
    if (encapsulate(packet, target.encapsulation)) emit(packet);
  }
}

function countPacket(packet: PacketRecord): bool {
  countIn(packet.listenerSlot, packet.targetSlot, ipBytes(packet));
  return true;
}
