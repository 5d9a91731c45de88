// The last step towards the underlay: next hop (P36) and link header in front of a finished IP packet.
import { CHUNK_BYTES, LinkKind, NONE, PacketRecord, Reason } from '../layout.gen';
import { slab } from '../memory';
import { findNeighbour, findRoute, reportUnresolved, routePort, useNeighbour } from '../table/next-hop';
import { portAt } from '../table/rows';
import { drop, forward, hold } from '../verdict';
import { ETHERNET_BYTES, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Ethernet } from '../wire/ethernet';

/** Largest IP packet that a port takes. */
export function mtuOf(port: u32): u32 {
  return portAt(port).mtu;
}

export function isEthernet(port: u32): bool {
  return portAt(port).kind == <u16>LinkKind.Ethernet;
}

/** Bytes free in front of the packet at l3, less those of the link header that every packet gets in the end. */
export function headroomOf(packet: PacketRecord): u32 {
  const inChunk = (packet.address + <u32>packet.l3) & (CHUNK_BYTES - 1);
  return inChunk > ETHERNET_BYTES ? inChunk - ETHERNET_BYTES : 0;
}

/** Sends the packet that begins at `l3` of the record towards an address of the underlay. */
export function emit(packet: PacketRecord, destination: usize): bool {
  stripLink(packet);
  if (!findRoute(destination)) return drop(packet, Reason.NoRoute);
  if (!isEthernet(routePort)) return forward(packet, routePort);
  const row = findNeighbour();
  if (row == NONE) {
    reportUnresolved();
    return hold(packet, Reason.Unresolved);
  }
  if ((packet.address & (CHUNK_BYTES - 1)) < ETHERNET_BYTES) return drop(packet, Reason.NoHeadroom);
  packet.address -= ETHERNET_BYTES;
  packet.length += ETHERNET_BYTES;
  packet.l2Bytes = <u16>ETHERNET_BYTES;
  const ethernet = Ethernet.at(slab + packet.address);
  ethernet.setDestination(useNeighbour(row).mac);
  ethernet.setSource(portAt(routePort).mac);
  ethernet.setEtherType(outerEtherType(packet));
  return forward(packet, routePort);
}

/** The record becomes the IP packet alone, without its old link header and without padding. */
function stripLink(packet: PacketRecord): void {
  packet.address += packet.l3;
  packet.length = packet.l3End - <u32>packet.l3;
  packet.l3 = 0;
  packet.l3End = packet.length;
  packet.l2Bytes = 0;
}

function outerEtherType(packet: PacketRecord): u32 {
  return load<u8>(slab + packet.address + ETHERNET_BYTES) >> 4 == 4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6;
}
