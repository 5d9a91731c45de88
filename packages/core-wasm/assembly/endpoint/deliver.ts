// The last step towards a VM, an inside device, or back where a packet came from: a link header in front of the packet at l3.
// Frames that leave by the uplink go through emit.ts instead.
import { EndpointRow, NO_PORT, PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { drop, forward } from '../verdict';
import { ETHERNET_BYTES, Ethernet } from '../wire/ethernet';
import { bank, portAt } from './bank';
import { headroomOf, isEthernet } from './emit';

/** To the VM of this row, from the gateway's link address. */
export function deliverToVm(packet: PacketRecord, row: EndpointRow): bool {
  return deliver(packet, row.device, row.mac);
}

/** Into the inside device: the kernel of this machine takes it from there. */
export function deliverInside(packet: PacketRecord): bool {
  if (bank.insidePort == NO_PORT) return drop(packet, Reason.UnknownVm);
  return deliver(packet, bank.insidePort, bank.insideMac);
}

/** To whoever sent the packet in hand: the VM behind its port, or this machine. */
export function deliverBack(packet: PacketRecord): bool {
  const port: u32 = packet.portIn;
  return port == bank.insidePort ? deliverInside(packet) : deliver(packet, port, portAt(port).mac);
}

function deliver(packet: PacketRecord, port: u32, mac: usize): bool {
  const linkBytes = isEthernet(port) ? ETHERNET_BYTES : 0;
  if (headroomOf(packet) == 0 && linkBytes != 0) return drop(packet, Reason.NoHeadroom);
  packet.length = packet.l3End - <u32>packet.l3 + linkBytes;
  packet.address = packet.address + <u32>packet.l3 - linkBytes;
  packet.l2Bytes = <u16>linkBytes;
  packet.l3 = <u16>linkBytes;
  packet.l3End = packet.length;
  if (linkBytes != 0) {
    const ethernet = Ethernet.at(slab + packet.address);
    ethernet.setDestination(mac);
    ethernet.setSource(bank.gatewayMac);
    ethernet.setEtherType(packet.etherType);
  }
  return forward(packet, port);
}
