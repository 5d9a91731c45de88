// ECN on decapsulation (RFC 6040, figure 4): congestion that the tunnel met must reach the inner packet.
import { PacketRecord } from '../layout.gen';
import { slab } from '../memory';
import { Ipv4 } from '../wire/ipv4';
import { Ipv6 } from '../wire/ipv6';

const NOT_CAPABLE: u32 = 0;
const CAPABLE_1: u32 = 1;
const CAPABLE_0: u32 = 2;
const CONGESTION: u32 = 3;

/** Expects the inner packet parsed. False: the inner packet cannot carry the mark, so it must be dropped instead. */
export function mergeEcn(packet: PacketRecord, outer: u32): bool {
  const at = slab + packet.address + packet.l3;
  const inner = packet.family == 4 ? Ipv4.at(at).ecn : Ipv6.at(at).ecn;
  if (inner == NOT_CAPABLE) return outer != CONGESTION;
  if (outer == CONGESTION && inner != CONGESTION) setEcn(packet, CONGESTION);
  else if (outer == CAPABLE_1 && inner == CAPABLE_0) setEcn(packet, CAPABLE_1);
  return true;
}

function setEcn(packet: PacketRecord, value: u32): void {
  const at = slab + packet.address + packet.l3;
  if (packet.family == 4) Ipv4.at(at).rewriteEcn(value);
  else Ipv6.at(at).rewriteEcn(value);
}
