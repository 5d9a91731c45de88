// hop: lowers TTL or hop limit, once in each direction (P17).
import { PacketRecord, Reason } from '../layout.gen';
import { drop } from '../verdict';
import { ipv4Of, ipv6Of } from './frame';

export function hop(packet: PacketRecord): bool {
  if (packet.family == 4) {
    const ip = ipv4Of(packet);
    if (ip.ttl <= 1) return drop(packet, Reason.TtlExceeded);
    ip.lowerTtl();
    return true;
  }
  const ip = ipv6Of(packet);
  if (ip.hopLimit <= 1) return drop(packet, Reason.TtlExceeded);
  ip.setHopLimit(ip.hopLimit - 1);
  return true;
}
