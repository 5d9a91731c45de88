// pieces: an IPv4 packet without DF that is larger than its tunnel takes goes in fragments of its own (RFC 791, 3.2; P14). It is the inner
// packet that is cut, never the outer, so the host's endpoint needs no reassembly. It comes after translate: the transport checksum is true
// for the whole datagram then, and no piece needs another.
import { Encapsulation, PacketFlag, PacketRecord, Reason, Verdict } from '../layout.gen';
import { slab, state } from '../memory';
import { drop } from '../verdict';
import { IPV4_BYTES, Ipv4, MORE_FRAGMENTS, OFFSET_MASK } from '../wire/ipv4';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { EXTRA_BYTES_MAX, addExtra, extraAt, extras, hasRoom, settleExtra } from './extra';
import { ipBytes, ipv4Of, l3At } from './frame';

const OPTION_END: u32 = 0;
const OPTION_NOTHING: u32 = 1;
/** Options with this bit stand in every fragment (RFC 791, 3.1). */
const COPIED: u32 = 0x80;
const UNIT: u32 = 8;

/** True when fit has refused the packet and it may be cut; the refusal is taken back. */
export function mayBeCut(packet: PacketRecord): bool {
  if (packet.verdict != <u8>Verdict.Drop || packet.reason != <u8>Reason.TooBig) return false;
  if (packet.family != 4 || ipv4Of(packet).dontFragment) return false;
  packet.verdict = <u8>Verdict.None;
  packet.reason = <u8>Reason.None;
  return true;
}

/** Cuts the current packet to what route has found, and sends every piece through the same tunnel. */
export function emitPieces(packet: PacketRecord, encapsulation: Encapsulation): bool {
  const before = extras;
  if (!cut(packet, <u32>packet.scratch0)) return false;
  state.fragmented += 1;
  const isSent = encapsulate(packet, encapsulation) && emit(packet);
  for (let index = before; index < extras; index++) {
    const piece = extraAt(index);
    if (encapsulate(piece, encapsulation)) emit(piece);
    settleExtra(piece);
  }
  return isSent;
}

/** The record keeps the first piece; the others become records of their own. */
function cut(packet: PacketRecord, limit: u32): bool {
  const ip = ipv4Of(packet);
  const header = ip.headerBytes;
  if (limit < header + UNIT || limit > EXTRA_BYTES_MAX) return drop(packet, Reason.TooBig);
  const body = ipBytes(packet) - header;
  const room = (limit - header) & ~(UNIT - 1);
  const later = laterHeaderBytes(ip, header);
  const laterRoom = (limit - later) & ~(UNIT - 1);
  const count = (body - room + laterRoom - 1) / laterRoom;
  if (!hasRoom(count)) return drop(packet, Reason.BurstFull);
  const offset = ip.fragmentField & OFFSET_MASK;
  const isMore = (ip.fragmentField & MORE_FRAGMENTS) != 0;
  for (let at = room; at < body; at += laterRoom) {
    const bytes = min(laterRoom, body - at);
    const isLast = at + bytes == body;
    const more = isLast && !isMore ? 0 : MORE_FRAGMENTS;
    addPiece(packet, header, later, at, bytes, (offset + at / UNIT) | more);
  }
  ip.setTotalLength(header + room);
  ip.setFragmentField(offset | MORE_FRAGMENTS);
  ip.setChecksum();
  packet.l3End = packet.l3 + header + room;
  packet.length = packet.l3End;
  return true;
}

function addPiece(packet: PacketRecord, header: u32, later: u32, at: u32, bytes: u32, field: u32): void {
  const piece = addExtra(packet);
  const to = slab + <usize>piece.address;
  const from = l3At(packet);
  memory.copy(to, from, <usize>IPV4_BYTES);
  writeLaterOptions(Ipv4.at(from), header, to);
  memory.copy(to + <usize>later, from + <usize>(header + at), <usize>bytes);
  store<u8>(to, <u8>(0x40 | (later >> 2)));
  const ip = Ipv4.at(to);
  ip.setTotalLength(later + bytes);
  ip.setFragmentField(field);
  ip.setChecksum();
  piece.l3End = later + bytes;
  piece.length = later + bytes;
  piece.l4 = <u16>later;
  piece.payload = <u16>later;
  piece.flags |= <u16>(packet.flags & <u16>PacketFlag.Encapsulated);
}

/** Bytes of the header of a later piece: only options marked as copied stand in it, padded to whole words. */
function laterHeaderBytes(ip: Ipv4, header: u32): u32 {
  return (writeOptions(ip, header, 0) + IPV4_BYTES + 3) & ~3;
}

function writeLaterOptions(ip: Ipv4, header: u32, to: usize): void {
  const used = writeOptions(ip, header, to + <usize>IPV4_BYTES);
  for (let at = used; (at & 3) != 0; at++) store<u8>(to + <usize>(IPV4_BYTES + at), <u8>OPTION_END);
}

/** Copies the options that every piece carries to `to`, or only counts them when it is 0. A list that runs past the header ends. */
function writeOptions(ip: Ipv4, header: u32, to: usize): u32 {
  const start = changetype<usize>(ip);
  let written: u32 = 0;
  for (let at = IPV4_BYTES; at < header;) {
    const kind = <u32>load<u8>(start + <usize>at);
    if (kind == OPTION_END) break;
    if (kind == OPTION_NOTHING) {
      at += 1;
      continue;
    }
    const length = at + 1 < header ? <u32>load<u8>(start + <usize>at, 1) : 0;
    if (length < 2 || at + length > header) break;
    if ((kind & COPIED) != 0) {
      if (to != 0) memory.copy(to + <usize>written, start + <usize>at, <usize>length);
      written += length;
    }
    at += length;
  }
  return written;
}
