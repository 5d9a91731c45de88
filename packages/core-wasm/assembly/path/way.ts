// way: the short end of the inbound walk. The tunnel to a target is the same for all its packets, so the headers that the long end
// (route, fit, hop, translate, encapsulate, emit) has written once are kept with what they depend on, and copied from then on.
// Whatever is not plain takes the long end: a SYN, whose MSS may need clamping, a packet that does not fit, one about to expire.
import { CHUNK_BYTES, NONE, PacketFlag, PacketRecord, Verdict, WAY_BYTES, Way } from '../layout.gen';
import { readOnly, state, ways } from '../memory';
import { countIn } from '../table/counter';
import { touchNeighbour, sequence } from '../table/next-hop';
import { complement, fold, foldShort } from '../wire/checksum';
import { ETHERNET_BYTES, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6 } from '../wire/ethernet';
import { CHUNK_RESERVED, ipBytes, l3At } from './frame';
import { hop } from './hop';
import { learnedMtu } from './route';
import { translateInbound } from './translate';

const HEADER_BYTES: u32 = 64;
const HEADER: usize = 32;
const SYN: u32 = 2;
/** portIn and flags, in the word of portIn. */
const KEPT: u64 = 0xffff000000ff;
const FORWARDED: u64 = ((<u64>Verdict.Forward) << 16) | ((<u64>PacketFlag.Encapsulated) << 32);
/** l2Bytes and l3, in the word of l2Bytes; l4 and payload are the rest. */
const LINK: u64 = <u64>ETHERNET_BYTES | ((<u64>ETHERNET_BYTES) << 16);
const PAST_LINK: u64 = 0xffffffff00000000;

export function wayTo(target: u32): Way {
  return Way.at(ways + <usize>target * WAY_BYTES);
}

/** True when the headers hold and the packet is one that they fit. */
export function isOpen(packet: PacketRecord, way: Way, bytes: u32): bool {
  // One after the other: as one expression each answer becomes a number before it is looked at.
  if (way.generation != state.adopted || way.sequence != sequence()) return false;
  if (way.innerFamily != packet.family || bytes > way.limit) return false;
  if (bytes + way.overhead > learnedMtu(way.host)) return false;
  return ((packet.address + packet.l3) & (CHUNK_BYTES - 1)) >= CHUNK_RESERVED + HEADER_BYTES;
}

/** False when nothing was done yet and the long end has to do it. Explain wants every step, so it never goes this way. */
export function takeWay(packet: PacketRecord): bool {
  if (TRACE != 0) return false;
  const way = wayTo(packet.targetSlot);
  const bytes = ipBytes(packet);
  if ((packet.tcpFlags & <u8>SYN) != 0 || (packet.flags & <u16>PacketFlag.Tagged) != 0) return false;
  if (!isOpen(packet, way, bytes) || !hop(packet)) return false;
  countIn(packet.listenerSlot, packet.targetSlot, bytes);
  translateInbound(packet);
  writeHeaders(packet, way, bytes);
  return true;
}

/** Puts the headers in front of the packet and sends it off. */
export function writeHeaders(packet: PacketRecord, way: Way, bytes: u32): void {
  const inner = l3At(packet);
  const from = changetype<usize>(way) + HEADER;
  v128.store(inner - 64, v128.load(from));
  v128.store(inner - 48, v128.load(from, 16));
  v128.store(inner - 32, v128.load(from, 32));
  v128.store(inner - 16, v128.load(from, 48));
  const outer = inner - <usize>way.overhead;
  const total = way.overhead + bytes;
  if (way.outerFamily == 4) {
    const trafficClass = packet.family == 4 ? <u32>load<u8>(inner, 1) : (<u32>bswap<u16>(load<u16>(inner)) >> 4) & 0xff;
    const first: u32 = 0x45 | (trafficClass << 8) | ((<u32>bswap<u16>(<u16>total)) << 16);
    store<u32>(outer, first);
    store<u16>(outer, complement(foldShort(way.sum + (first & 0xffff) + (first >> 16))), 10);
  }
  const grown = <u64>way.headerBytes - packet.l3;
  const record = changetype<usize>(packet);
  // Whole words: address and length; then portIn as it is, portOut, verdict, no reason, flags, etherType; then the four offsets.
  const address = packet.address - <u32>grown;
  store<u64>(record, <u64>address | ((<u64>(ETHERNET_BYTES + total)) << 32));
  packet.l3End = ETHERNET_BYTES + total;
  const type: u64 = way.outerFamily == 4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6;
  const kept = load<u64>(record, offsetof<PacketRecord>('portIn')) & KEPT;
  store<u64>(record, kept | FORWARDED | ((<u64>way.port) << 8) | (type << 48), offsetof<PacketRecord>('portIn'));
  const offsets = load<u64>(record, offsetof<PacketRecord>('l2Bytes')) + ((grown << 32) | (grown << 48));
  store<u64>(record, (offsets & PAST_LINK) | LINK, offsetof<PacketRecord>('l2Bytes'));
  touchNeighbour(way.neighbour);
}

/** After the long end, which began under `before`: keeps its headers. Over IPv6 they are left to the long end. */
export function learnWay(packet: PacketRecord, before: u32): bool {
  if (TRACE != 0 || readOnly) return true;
  const isTunnel = (packet.flags & <u16>PacketFlag.Encapsulated) != 0 && packet.hostSlot != NONE;
  if (
    !isTunnel ||
    (before & 1) != 0 ||
    packet.l2Bytes != <u16>ETHERNET_BYTES ||
    packet.etherType != <u16>ETHER_TYPE_IPV4
  )
    return true;
  const way = wayTo(packet.targetSlot);
  if (way.generation == state.adopted && way.sequence == before) return true;
  const outer = l3At(packet);
  way.generation = state.adopted;
  way.sequence = before;
  way.limit = <u32>packet.scratch0;
  way.overhead = packet.outerOverhead;
  way.host = packet.hostSlot;
  way.neighbour = packet.nextHop;
  way.headerBytes = <u8>(ETHERNET_BYTES + packet.outerOverhead);
  way.innerFamily = packet.family;
  way.outerFamily = 4;
  way.port = packet.portOut;
  const third = <u32>load<u16>(outer, 8);
  way.sum = fold(<u64>load<u32>(outer, 4) + third + load<u32>(outer, 12) + load<u32>(outer, 16));
  const inner = outer + <usize>packet.outerOverhead;
  memory.copy(
    changetype<usize>(way) + HEADER + HEADER_BYTES - way.headerBytes,
    inner - way.headerBytes,
    way.headerBytes,
  );
  return true;
}
