// known: the inbound walk of nearly every packet, in one piece: IPv4 with TCP or UDP from the wire, of a flow that is there and stays
// in its state, through a tunnel whose headers are known. It does what the steps of inbound.ts do one by one, and first asks for all that
// makes a packet special: then nothing was touched, and the steps have it. A feature that these questions do not see must add its own.
import {
  Direction,
  FlowEntry,
  FlowFlag,
  FlowState,
  Health,
  NONE,
  PacketFlag,
  PacketRecord,
  RowFlag,
  TargetRow,
  Translation,
} from '../layout.gen';
import { health, nowMs, readOnly } from '../memory';
import { countKnown } from '../table/counter';
import { replyPort } from '../table/flow';
import { findForward, flowAt } from '../table/flow-index';
import { listenerAt, targetAt } from '../table/rows';
import { halves, update, updateBy } from '../wire/checksum';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp';
import { ipBytes, l3At, l4At } from './frame';
import { isOpen, wayTo, writeHeaders } from './way';

const PLAIN_ENTRY: u32 =
  FlowFlag.PickedUp | FlowFlag.PortRewritten | FlowFlag.Rescheduled | FlowFlag.OneWay | FlowFlag.Promoted;
/** What says nothing about the packets of a known flow. A limited listener has its tokens taken by the steps. */
const UNASKED: u32 = RowFlag.DirectReturn | RowFlag.Guarded;
const TTL: usize = 8;
const IP_CHECKSUM: usize = 10;
const DESTINATION: usize = 16;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/** True when the packet is on its way; false when nothing was done. */
export function known(packet: PacketRecord): bool {
  if (TRACE != 0 || readOnly || packet.direction != <u8>Direction.Inbound) return false;
  if (packet.family != 4 || (packet.flags & ~(<u16>PacketFlag.PartialChecksum)) != 0) return false;
  const listener = listenerAt(packet.listenerSlot);
  if ((listener.flags & ~(<u8>UNASKED)) != <u8>RowFlag.Present) return false;
  if (isOddSource(packet)) return false;
  const slot = findForward(packet.flowHash, packet.listenerSlot, packet.source, packet.sourcePort);
  if (slot == NONE) return false;
  const entry = flowAt(slot);
  if (!isSteady(packet, entry)) return false;
  const target = targetAt(entry.target);
  if (target.flags != <u8>RowFlag.Present) return false;
  const way = wayTo(entry.target);
  const bytes = ipBytes(packet);
  if (!isOpen(packet, way, bytes)) return false;
  if (load<u8>(l3At(packet), TTL) <= 1) return false;
  const translation: u32 = listener.translation;
  if (translation != Translation.None) {
    if (translation != Translation.Dnat) return false;
  }
  entry.inboundMs = nowMs;
  entry.packetsIn += 1;
  packet.flowSlot = slot;
  packet.targetSlot = entry.target;
  countKnown(packet.listenerSlot, entry.target, bytes);
  if (translation == Translation.None) lowerTtl(l3At(packet));
  else rewrite(packet, target, entry.seenPort, replyPort(listener, target));
  writeHeaders(packet, way, bytes);
  return true;
}

/** Multicast, loopback, unspecified, or the VIP itself. */
function isOddSource(packet: PacketRecord): bool {
  const source = load<u32>(packet.source, 12);
  const first = source & 0xff;
  if (source == load<u32>(packet.destination, 12) || first == 127) return true;
  return first - 1 >= 223;
}

/** No packet that makes, changes or ends a flow, and no target that is lost. */
function isSteady(packet: PacketRecord, entry: FlowEntry): bool {
  if ((<u32>entry.flags & ~PLAIN_ENTRY) != 0) return false;
  if (packet.protocol == <u8>PROTOCOL_TCP) {
    if ((packet.tcpFlags & <u8>(TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) != <u8>TCP_ACK) return false;
    if (entry.state == <u8>FlowState.Established) return true;
    return entry.state == <u8>FlowState.SynSeen && (entry.flags & <u16>FlowFlag.OneWay) == 0;
  }
  return packet.protocol == <u8>PROTOCOL_UDP && load<u8>(health + <usize>entry.target) != <u8>Health.Dead;
}

function lowerTtl(ip: usize): void {
  const before = load<u16>(ip, TTL);
  store<u16>(ip, before - 1, TTL);
  store<u16>(ip, update(load<u16>(ip, IP_CHECKSUM), before, before - 1), IP_CHECKSUM);
}

/** Destination NAT and TTL: all changes of a checksum are summed up before it is touched. */
function rewrite(packet: PacketRecord, target: TargetRow, sourcePort: u32, destinationPort: u32): void {
  const ip = l3At(packet);
  const l4 = l4At(packet);
  const address = load<u32>(target.address, 12);
  const ports = <u32>bswap<u16>(<u16>sourcePort) | ((<u32>bswap<u16>(<u16>destinationPort)) << 16);
  const change = halves(~load<u32>(ip, DESTINATION)) + halves(address);
  const hops = load<u16>(ip, TTL);
  const ipChange = change + (~(<u32>hops) & 0xffff) + (<u32>hops - 1);
  const l4Change = change + halves(~load<u32>(l4)) + halves(ports);
  store<u16>(ip, hops - 1, TTL);
  store<u16>(ip, updateBy(load<u16>(ip, IP_CHECKSUM), ipChange), IP_CHECKSUM);
  store<u32>(ip, address, DESTINATION);
  store<u32>(l4, ports);
  if (packet.protocol == <u8>PROTOCOL_TCP) {
    store<u16>(l4, updateBy(load<u16>(l4, TCP_CHECKSUM), l4Change), TCP_CHECKSUM);
    return;
  }
  const before = load<u16>(l4, UDP_CHECKSUM);
  if (before == 0) return;
  const after = updateBy(before, l4Change);
  store<u16>(l4, after == 0 ? 0xffff : after, UDP_CHECKSUM);
}
