// fit: the packet must fit what is left after the outer headers (P14). SYN and SYN/ACK are clamped, so that TCP never gets here again.
import { PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { drop } from '../verdict';
import { PROTOCOL_TCP } from '../wire/ipv4';
import { TCP_SYN } from '../wire/tcp';
import { ipBytes, tcpOf } from './frame';

const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;

export function fit(packet: PacketRecord): bool {
  const limit = <u32>packet.scratch0;
  if (ipBytes(packet) > limit) return drop(packet, Reason.TooBig);
  if (packet.protocol != <u8>PROTOCOL_TCP || (packet.tcpFlags & <u8>TCP_SYN) == 0) return true;
  const headers = packet.family == 4 ? HEADERS_V4 : HEADERS_V6;
  const clamp = packet.scratch1 == 0 ? limit : min(limit, <u32>packet.scratch1);
  if (clamp > headers && tcpOf(packet).clampMss(clamp - headers)) packet.flags |= <u16>PacketFlag.Clamped;
  return true;
}
