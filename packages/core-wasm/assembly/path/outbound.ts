// outbound: the steps from target to client, in order. The packet has been decapsulated and parsed again by then.
import { Encapsulation, NONE, PacketRecord } from '../layout.gen';
import { countOut } from '../table/counter';
import { flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { fit } from './fit';
import { ipBytes } from './frame';
import { hop } from './hop';
import { isIcmpError, matchOutboundError, translateOutboundError } from './icmp';
import { clampToTarget, routeTo, routeToTunnel } from './route';
import { trackOutbound } from './track';
import { translateOutbound } from './translate';

export function outbound(packet: PacketRecord): bool {
  packet.hostSlot = NONE;
  if (isIcmpError(packet)) return outboundError(packet);
  return (
    trackOutbound(packet) &&
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
