// translate: none, destination NAT, full NAT, and back. Which of them is the listener's; the ports are the flow's.
import {
  FlowEntry,
  FlowFlag,
  PacketRecord,
  Step,
  Translation,
  WINDOW_SHIFT_BIT,
  WINDOW_SHIFT_ZERO,
} from '../layout.gen';
import { replyPort } from '../table/flow';
import { flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { translateSegment } from '../tcp/sequence';
import { tcpOf } from './frame';
import { PROTOCOL_TCP } from '../wire/ipv4';
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
    if ((entry.flags & <u16>FlowFlag.Translated) != 0) renumber(packet, entry, true);
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
    if ((entry.flags & <u16>FlowFlag.Translated) != 0) renumber(packet, entry, false);
  }
  trace(packet, Step.Translate, listener.translation, packet.sourcePort, packet.destinationPort, 0);
  return true;
}

/** The client knows the numbers of the director, the target its own (P26). A later fragment has no numbers. */
function renumber(packet: PacketRecord, entry: FlowEntry, isInbound: bool): void {
  if (packet.protocol != <u8>PROTOCOL_TCP) return;
  const sequence = entry.sequenceDelta;
  const timestamp = entry.timestampDelta;
  const shift = <i32>(<u32>entry.flags >> WINDOW_SHIFT_BIT) - <i32>WINDOW_SHIFT_ZERO;
  if (isInbound) translateSegment(tcpOf(packet), 0, 0 - sequence, 0, 0 - timestamp, 0);
  else translateSegment(tcpOf(packet), sequence, 0, timestamp, 0, shift);
}
