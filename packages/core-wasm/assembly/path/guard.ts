// guard: the access list of a load balancer, asked for the first packet of a flow. Flows that are there pass; when lists have changed, the
// sweep over old flows (table/flow.ts) ends those that are no longer let in.
import { NONE, PacketRecord, Reason, RowFlag, Step } from '../layout.gen';
import { isLetIn } from '../table/access';
import { listenerAt } from '../table/rows';
import { countDenied } from '../table/service';
import { drop } from '../verdict';
import { trace } from './trace';

export function guard(packet: PacketRecord): bool {
  if (packet.flowSlot != NONE) return true;
  const listener = listenerAt(packet.listenerSlot);
  if ((listener.flags & <u8>RowFlag.Guarded) == 0) return true;
  const isIn = isLetIn(listener.access, packet.source, packet.protocol, listener.vport);
  trace(packet, Step.Guard, isIn ? 1 : 0, 0, 0, 0);
  if (isIn) return true;
  countDenied(listener.meter);
  return drop(packet, Reason.AccessDenied);
}
