// admit: what must not pass though a listener exists (P8).
import { PacketRecord, Reason, Step } from '../layout.gen';
import { drop } from '../verdict';
import { isSameAddress } from '../wire/ipv6';
import { trace } from './trace';

const MAPPED: u64 = 0xffff0000;

export function admit(packet: PacketRecord): bool {
  if (isSameAddress(packet.source, packet.destination)) return drop(packet, Reason.SourceIsVip);
  if (isMartian(packet.sourceHigh, packet.sourceLow)) return drop(packet, Reason.Martian);
  trace(packet, Step.Admit, 0, 0, 0, 0);
  return true;
}

/** Unspecified, loopback, multicast and class E sources of IPv4; unspecified, loopback and multicast of IPv6. */
function isMartian(high: u64, low: u64): bool {
  if (high != 0) return (high & 0xff) == 0xff;
  if ((low & 0xffffffff) != MAPPED) return low == 0 || low == (<u64>1) << 56;
  const first = <u32>(low >> 32) & 0xff;
  return first == 0 || first == 127 || first >= 224;
}
