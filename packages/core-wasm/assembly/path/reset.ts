// reset: the packet in hand becomes a TCP reset (RFC 9293, 3.5.2): for a client whose connection nobody knows (P8), and for both ends of a
// connection whose target was removed with the policy reset (DeregisterTargetRst). Its sequence number is the one that the receiver
// expects, so no challenge comes back (RFC 5961, 3.2). Options and extension headers stay behind. No step: inbound, outbound and ask use it.
import { PacketFlag, PacketRecord, Verdict } from '../layout.gen';
import { readOnly } from '../memory';
import { sumOfPseudoHeader } from '../wire/checksum';
import { IPV4_BYTES, PROTOCOL_TCP } from '../wire/ipv4';
import { IPV6_BYTES, copyAddress } from '../wire/ipv6';
import { TCP_ACK, TCP_BYTES, TCP_RST, Tcp } from '../wire/tcp';
import { addExtra, hasRoom } from './extra';
import { ipv4Of, ipv6Of, l3At, tcpOf } from './frame';

const RESET_TTL: u32 = 64;

/** Of a segment with ACK, which tells the sequence numbers, and never of a reset. */
export function mayReset(packet: PacketRecord): bool {
  return packet.protocol == <u8>PROTOCOL_TCP && (packet.tcpFlags & <u8>(TCP_ACK | TCP_RST)) == <u8>TCP_ACK;
}

/** A reset that goes on where this packet was going to, as an added packet; or null where there is no room. */
export function resetReceiver(packet: PacketRecord): PacketRecord | null {
  if (readOnly || !hasRoom(1)) return null;
  const tcp = tcpOf(packet);
  const extra = addExtra(packet);
  write(extra, tcp.sourcePort, tcp.destinationPort, tcp.sequence);
  extra.flags &= ~(<u16>PacketFlag.Generated);
  return extra;
}

/** The packet itself goes back to who has sent it. */
export function resetSender(packet: PacketRecord): void {
  const tcp = tcpOf(packet);
  const high = packet.sourceHigh;
  const low = packet.sourceLow;
  copyAddress(packet.source, packet.destination);
  packet.destinationHigh = high;
  packet.destinationLow = low;
  write(packet, tcp.destinationPort, tcp.sourcePort, tcp.acknowledgment);
}

function write(packet: PacketRecord, sourcePort: u32, destinationPort: u32, sequence: u32): void {
  const header = packet.family == 4 ? IPV4_BYTES : IPV6_BYTES;
  packet.l4 = <u16>(packet.l3 + header);
  packet.payload = <u16>(packet.l4 + TCP_BYTES);
  packet.l3End = packet.payload;
  packet.length = packet.payload;
  packet.sourcePort = <u16>sourcePort;
  packet.destinationPort = <u16>destinationPort;
  packet.tcpFlags = <u8>TCP_RST;
  writeIp(packet);
  const at = l3At(packet) + <usize>header;
  memory.fill(at, 0, <usize>TCP_BYTES);
  const tcp = Tcp.at(at);
  tcp.setSourcePort(sourcePort);
  tcp.setDestinationPort(destinationPort);
  tcp.setSequence(sequence);
  tcp.setHeaderBytes(TCP_BYTES);
  tcp.setFlags(TCP_RST);
  tcp.setChecksum(sumOfPseudoHeader(packet.source, packet.destination, PROTOCOL_TCP, TCP_BYTES), TCP_BYTES);
  packet.flags =
    (packet.flags & ~(<u16>(PacketFlag.PartialChecksum | PacketFlag.Encapsulated))) | <u16>PacketFlag.Generated;
  packet.verdict = <u8>Verdict.None;
  packet.reason = 0;
}

function writeIp(packet: PacketRecord): void {
  if (packet.family == 4) {
    const ip = ipv4Of(packet);
    ip.setOuter(0, IPV4_BYTES + TCP_BYTES, RESET_TTL, PROTOCOL_TCP, packet.source, packet.destination);
    return;
  }
  const ip = ipv6Of(packet);
  ip.setVersionClassAndLabel(0, 0);
  ip.setPayloadLength(TCP_BYTES);
  ip.setNextHeader(PROTOCOL_TCP);
  ip.setHopLimit(RESET_TTL);
  ip.setSource(packet.source);
  ip.setDestination(packet.destination);
}
