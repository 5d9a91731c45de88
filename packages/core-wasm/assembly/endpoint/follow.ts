// What still arrives for a VM that has left goes after it for a minute (P7.6): the tunnel as it came, with its outer source, so that the
// new host trusts it like any other and remembers the right tunnel address; only the outer destination and the hop limit change.
import { EndpointKind, LEFT_MS, PacketRecord, Reason, UPLINK } from '../layout.gen';
import { nowMs, slab } from '../memory';
import { drop } from '../verdict';
import { Ipv4, isMapped } from '../wire/ipv4';
import { Ipv6, copyAddress, isSameAddress } from '../wire/ipv6';
import { find, isKnown, isNone, state } from './bank';
import { emit, mtuOf } from './emit';

/** Expects the tunnel taken off and trusted. Between two hosts that each believe in the other, the hop limit ends it. */
export function follow(packet: PacketRecord): bool {
  const left = find(EndpointKind.Left, packet.net, packet.destination, 0, 0);
  if (isNone(left) || nowMs - left.link > LEFT_MS) return drop(packet, Reason.UnknownVm);
  const place = find(EndpointKind.Place, packet.net, packet.destination, 0, 0);
  if (isNone(place) || isKnown(EndpointKind.Underlay, place.value)) return drop(packet, Reason.UnknownVm);
  if (isSameAddress(place.value, packet.outerSource)) return drop(packet, Reason.TunnelLoop);
  if (isMapped(place.value) != isMapped(packet.outerSource)) return drop(packet, Reason.NoHost);
  packet.l3 = packet.l2Bytes;
  packet.l3End = packet.length;
  if (packet.l3End - <u32>packet.l3 > mtuOf(UPLINK)) return drop(packet, Reason.TooBig);
  copyAddress(packet.outerDestination, place.value);
  if (!redirect(slab + packet.address + packet.l3, packet.outerDestination)) return drop(packet, Reason.TtlExceeded);
  state.followed += 1;
  return emit(packet, packet.outerDestination);
}

/** False when the hop limit has run out. */
function redirect(at: usize, destination: usize): bool {
  if (isMapped(destination)) {
    const ip = Ipv4.at(at);
    if (ip.ttl <= 1) return false;
    ip.lowerTtl();
    ip.rewriteDestination(destination);
    return true;
  }
  const ip = Ipv6.at(at);
  if (ip.hopLimit <= 1) return false;
  ip.setHopLimit(ip.hopLimit - 1);
  ip.setDestination(destination);
  return true;
}
