// limit: the tokens of a service whose meter is on (P33), taken from packets of both directions before anything else is done for them.
import { PacketRecord, Reason, RowFlag } from '../layout.gen';
import { listenerAt } from '../table/rows';
import { takePacket } from '../table/service';
import { drop } from '../verdict';
import { ipBytes } from './frame';

export function limit(packet: PacketRecord): bool {
  const listener = listenerAt(packet.listenerSlot);
  if ((listener.flags & <u8>RowFlag.Limited) == 0) return true;
  const reason = takePacket(listener.meter, ipBytes(packet));
  return reason == Reason.None ? true : drop(packet, reason);
}
