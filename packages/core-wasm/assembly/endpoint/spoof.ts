// Whose address is it? A VM may send from its own addresses only (P38), and the gateway answers for every address but those.
import { EndpointKind, PacketRecord } from '../layout.gen';
import { bank, find, isNone, portAt } from './bank';

/** The address belongs to whatever is behind the port that the packet came from. */
export function isOwn(packet: PacketRecord, address: usize): bool {
  if (<u32>packet.portIn == bank.insidePort) return isOwnOfMachine(address);
  const row = find(EndpointKind.Vm, portAt(packet.portIn).net, address, 0, 0);
  return !isNone(row) && row.device == <u16>packet.portIn;
}

/** Behind the inside device is this machine: a proxy's sources by VPC, the VIPs it terminates, a physical server's addresses. */
function isOwnOfMachine(address: usize): bool {
  return (
    !isNone(find(EndpointKind.Source, 0, address, 0, 0)) ||
    !isNone(find(EndpointKind.Physical, 0, address, 0, 0)) ||
    !isNone(find(EndpointKind.LocalVip, 0, address, 0, 0))
  );
}
