// translate: none, destination NAT, full NAT, and back. Which of them is the listener's; the ports are the flow's.
import { PacketRecord, Step, Translation } from '../layout.gen';
import { replyPort } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { rewriteDestination, rewriteDestinationPort, rewriteSource, rewriteSourcePort } from './rewrite';
import { trace } from './trace';

/** The destination becomes the target; in full NAT the source becomes ours. */
export function translateInbound(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  if (listener.translation != <u8>Translation.None) {
    const target = targetAt(packet.targetSlot);
    const entry = flowAt(packet.flowSlot);
    rewriteDestination(packet, target.address);
    rewriteDestinationPort(packet, replyPort(listener, target));
    if (listener.translation == <u8>Translation.FullNat) rewriteSource(packet, entry.seen);
    rewriteSourcePort(packet, entry.seenPort);
  }
  trace(packet, Step.Translate, listener.translation, packet.sourcePort, packet.destinationPort, 0);
  return true;
}

/** The source becomes the VIP again; in full NAT the destination becomes the client. */
export function translateOutbound(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  if (listener.translation != <u8>Translation.None) {
    const entry = flowAt(packet.flowSlot);
    rewriteSource(packet, listener.vip);
    rewriteSourcePort(packet, listener.vport);
    if (listener.translation == <u8>Translation.FullNat) rewriteDestination(packet, entry.client);
    rewriteDestinationPort(packet, entry.clientPort);
  }
  trace(packet, Step.Translate, listener.translation, packet.sourcePort, packet.destinationPort, 0);
  return true;
}
