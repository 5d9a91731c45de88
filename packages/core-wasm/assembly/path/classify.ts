// classify: the listener that dispatch found, and what it says about the packet. Leaves net; keeps a direct-return listener's flag.
import { PacketRecord, Reason, RowFlag, Step } from '../layout.gen';
import { listenerAt } from '../table/rows';
import { drop } from '../verdict';
import { trace } from './trace';

export function classify(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  if ((listener.flags & <u8>RowFlag.Present) == 0) return drop(packet, Reason.NoListener);
  trace(packet, Step.Classify, packet.listenerSlot, listener.scheduler, listener.translation, listener.group);
  return true;
}
