// parse, the common case: Ethernet II, IPv4 without options, whole, with TCP or UDP. The same checks as parse makes, in one piece and on
// locals, because nearly every packet is one of these.
import { PacketFlag, PacketRecord } from '../layout.gen';
import { ETHERNET_BYTES, ETHER_TYPE_IPV4 } from '../wire/ethernet';
import { IPV4_BYTES, Ipv4, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { TCP_BYTES, Tcp } from '../wire/tcp';
import { UDP_BYTES, Udp } from '../wire/udp';
import { frameAt } from './frame';

const HEADERS: u32 = ETHERNET_BYTES + IPV4_BYTES;
/** l2Bytes, l3 and l4. */
const OFFSETS: u64 = <u64>ETHERNET_BYTES | ((<u64>ETHERNET_BYTES) << 16) | ((<u64>HEADERS) << 32);
const ETHER_TYPE_RAW: u16 = 0x0008;
const NO_OPTIONS: u8 = 0x45;
/** More fragments and the offset, raw. */
const FRAGMENT_RAW: u16 = 0xff3f;

/** False when it is another packet or a broken one: nothing is decided then, and parse looks at it field by field. */
export function parseCommon(packet: PacketRecord): bool {
  const length = packet.length;
  if (length < HEADERS + UDP_BYTES || (packet.flags & <u16>PacketFlag.Layer3) != 0) return false;
  const frame = frameAt(packet);
  const at = frame + ETHERNET_BYTES;
  const ip = Ipv4.at(at);
  const total = ip.totalLength;
  if (load<u16>(frame, 12) != ETHER_TYPE_RAW || load<u8>(at) != NO_OPTIONS) return false;
  if ((load<u16>(at, 6) & FRAGMENT_RAW) != 0 || total < IPV4_BYTES || total > length - ETHERNET_BYTES) return false;
  if (!ip.isPlainChecksumValid) return false;
  const protocol = ip.protocol;
  const bytes = total - IPV4_BYTES;
  const tcp = Tcp.at(at + IPV4_BYTES);
  let headerBytes = UDP_BYTES;
  let flags: u32 = 0;
  if (protocol == PROTOCOL_TCP) {
    if (!tcp.isWellFormed(bytes)) return false;
    headerBytes = tcp.headerBytes;
    flags = tcp.flags;
  } else if (protocol != PROTOCOL_UDP || !Udp.at(at + IPV4_BYTES).isWellFormed(bytes)) return false;
  const record = changetype<usize>(packet);
  packet.etherType = <u16>ETHER_TYPE_IPV4;
  packet.l3End = ETHERNET_BYTES + total;
  // Four offsets in one word, from l2Bytes to payload; protocol, family, TCP flags and no direction in another.
  store<u64>(record, OFFSETS | ((<u64>(HEADERS + headerBytes)) << 48), offsetof<PacketRecord>('l2Bytes'));
  store<u32>(record, protocol | (4 << 8) | (flags << 16), offsetof<PacketRecord>('protocol'));
  packet.sourcePort = <u16>tcp.sourcePort;
  packet.destinationPort = <u16>tcp.destinationPort;
  ip.copySourceTo(packet.source);
  ip.copyDestinationTo(packet.destination);
  return true;
}
