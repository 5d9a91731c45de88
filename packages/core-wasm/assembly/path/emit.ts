// emit: the link header of the next hop in front of the packet. An unresolved next hop holds the packet, complete but for that (P36).
import { LinkKind, NONE, PacketFlag, PacketRecord, PortRow, Reason, Step } from '../layout.gen';
import { reportUnresolved, copyNeighbour } from '../table/next-hop';
import { portAt } from '../table/rows';
import { drop, forward, hold } from '../verdict';
import { ETHERNET_BYTES, Ethernet } from '../wire/ethernet';
import { VLAN_BYTES, Vlan } from '../wire/vlan';
import { frameAt, prepend } from './frame';
import { trace } from './trace';

const TAG: usize = 12;

export function emit(packet: PacketRecord): bool {
  const port = portAt(packet.portOut);
  trace(packet, Step.Emit, packet.portOut, packet.nextHop, port.kind, 0);
  if (port.kind == <u16>LinkKind.Ip) {
    return prepend(packet, 0) ? forward(packet, packet.portOut) : drop(packet, Reason.NoHeadroom);
  }
  if (port.kind != <u16>LinkKind.Ethernet) return drop(packet, Reason.NoRoute);
  if (packet.nextHop == NONE) return wait(packet);
  if ((packet.flags & <u16>PacketFlag.Tagged) != 0 && packet.portIn == packet.portOut) return emitTagged(packet, port);
  if (!prepend(packet, ETHERNET_BYTES)) return drop(packet, Reason.NoHeadroom);
  packet.l2Bytes = <u16>ETHERNET_BYTES;
  packet.l3 = <u16>ETHERNET_BYTES;
  const ethernet = Ethernet.at(frameAt(packet));
  if (!copyNeighbour(packet.nextHop, ethernet.destinationAt)) return wait(packet);
  ethernet.setSource(port.mac);
  ethernet.setEtherType(packet.etherType);
  return forward(packet, packet.portOut);
}

/** What came tagged goes out of its port with the same tag, priority included: a port is one 802.1Q network (IEEE 802.1Q, 9.6). */
function emitTagged(packet: PacketRecord, port: PortRow): bool {
  if (!prepend(packet, ETHERNET_BYTES + VLAN_BYTES)) return drop(packet, Reason.NoHeadroom);
  packet.l2Bytes = <u16>(ETHERNET_BYTES + VLAN_BYTES);
  packet.l3 = <u16>(ETHERNET_BYTES + VLAN_BYTES);
  const ethernet = Ethernet.at(frameAt(packet));
  if (!copyNeighbour(packet.nextHop, ethernet.destinationAt)) return wait(packet);
  ethernet.setSource(port.mac);
  store<u32>(frameAt(packet), packet.spare0, TAG);
  Vlan.at(frameAt(packet) + <usize>ETHERNET_BYTES).setEtherType(packet.etherType);
  return forward(packet, packet.portOut);
}

function wait(packet: PacketRecord): bool {
  prepend(packet, 0);
  reportUnresolved();
  return hold(packet, Reason.Unresolved);
}
