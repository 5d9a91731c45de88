// Packets that delayed binding makes itself: in place of the one in hand, or added to the burst.
import {
  CHUNK_BYTES,
  Encapsulation,
  FlowFlag,
  NO_SCALE,
  NONE,
  PROXY_SCALE,
  KEPT_BYTES_MAX,
  PacketFlag,
  PacketRecord,
  PendingRow,
  Reason,
  Segment,
  Verdict,
} from '../layout.gen';
import { cookies, nowMs, slab } from '../memory';
import { encapsulate } from '../path/encapsulate';
import { emit } from '../path/emit';
import { EXTRA_BYTES_MAX, addEmpty, hasRoom, settleExtra } from '../path/extra';
import { l3At, prepend } from '../path/frame';
import { sendToTarget } from '../path/inbound';
import { open } from '../path/open';
import { parse } from '../path/parse';
import { routeTo, routeToTunnel } from '../path/route';
import { scheduleIn } from '../path/schedule';
import { flowAt } from '../table/flow-index';
import { isZero, listenerAt } from '../table/rows';
import { segmentBytes, writeSegment } from '../tcp/segment';
import { drop } from '../verdict';
import { sumOfPseudoHeader } from '../wire/checksum';
import { Ipv4, PROTOCOL_TCP } from '../wire/ipv4';
import { Ipv6, copyAddress } from '../wire/ipv6';
import { TCP_RST, Tcp } from '../wire/tcp';
import { copyKept } from './pending';

/** As segments say it: of the director's window scale when there is one. */
function windowOf(row: PendingRow): u32 {
  const room = KEPT_BYTES_MAX - min(row.kept, <u32>KEPT_BYTES_MAX);
  return max<u32>(row.scale != <u8>NO_SCALE ? room >> PROXY_SCALE : room, 1);
}

/** The clock of our timestamps. */
export function clockMs(): u32 {
  return nowMs + cookies.clockMs;
}

/** A segment to the client: what the director says before there is a target. */
export function segmentToClient(row: PendingRow, segment: Segment, flags: u32): void {
  const listener = listenerAt(row.listener);
  copyAddress(segment.source, listener.vip);
  copyAddress(segment.destination, row.client);
  segment.sourcePort = listener.vport;
  segment.destinationPort = row.clientPort;
  segment.sequence = row.cookie + 1;
  segment.acknowledgment = row.isn + 1 + row.kept;
  segment.flags = <u8>flags;
  segment.window = <u16>((flags & TCP_RST) != 0 ? 0 : windowOf(row));
  segment.mss = 0;
  segment.scale = <u8>NO_SCALE;
  segment.sackPermitted = 0;
  segment.hasTimestamp = (flags & TCP_RST) != 0 ? 0 : row.hasTimestamp;
  segment.tsval = clockMs();
  segment.tsecr = row.tsval;
}

/** A segment to the target, as the client would have sent it: the rest of the walk translates it. */
export function segmentToTarget(row: PendingRow, segment: Segment, offset: u32, flags: u32): void {
  segmentToClient(row, segment, flags);
  const port = segment.sourcePort;
  copyAddress(segment.destination, listenerAt(row.listener).vip);
  copyAddress(segment.source, row.client);
  segment.sourcePort = segment.destinationPort;
  segment.destinationPort = port;
  segment.sequence = row.isn + 1 + offset;
  segment.acknowledgment = row.cookie + 1;
  segment.window = row.window;
  segment.tsval = row.tsval;
  segment.tsecr = row.targetTsval + flowAt(row.flow).timestampDelta;
  segment.hasTimestamp = (flags & TCP_RST) != 0 ? 0 : row.hasTimestamp & row.targetTimestamp;
}

/** Turns the packet in hand, one of the client, into an answer of `bytes` bytes that lies in its place. */
export function answerInPlace(packet: PacketRecord, bytes: u32): bool {
  packet.l3End = packet.l3 + bytes;
  packet.payload = <u16>packet.l3End;
  if ((packet.address & (CHUNK_BYTES - 1)) + packet.l3End > CHUNK_BYTES) return drop(packet, Reason.NoHeadroom);
  packet.length = packet.l3End;
  const high = packet.sourceHigh;
  const low = packet.sourceLow;
  copyAddress(packet.source, packet.destination);
  packet.destinationHigh = high;
  packet.destinationLow = low;
  const port = packet.sourcePort;
  packet.sourcePort = packet.destinationPort;
  packet.destinationPort = port;
  const isInside = (packet.flags & <u16>PacketFlag.FromTunnel) != 0;
  packet.flags |= <u16>PacketFlag.Generated;
  packet.flowSlot = NONE;
  const isRouted = isInside
    ? routeToTunnel(packet, packet.outerSource, packet.net)
    : routeTo(packet, packet.destination);
  return isRouted && encapsulate(packet, Encapsulation.Gre) && emit(packet);
}

/** Bytes that a packet may have which is written where `packet` lies. */
export function roomAt(packet: PacketRecord): u32 {
  return CHUNK_BYTES - ((packet.address + packet.l3) & (CHUNK_BYTES - 1));
}

/** Writes the segment in place of the packet in hand and sends it back. */
export function replyInPlace(packet: PacketRecord, segment: Segment): bool {
  if (segmentBytes(segment) > roomAt(packet)) {
    // The headers of a frame that lies at the end of its chunk: move it to the front.
    if (!prepend(packet, 0)) return drop(packet, Reason.NoHeadroom);
  }
  const bytes = writeSegment(l3At(packet), roomAt(packet), segment);
  return bytes != 0 ? answerInPlace(packet, bytes) : drop(packet, Reason.NoHeadroom);
}

/** The segment, and `bytes` kept bytes from `offset` on behind it, as a packet of its own. Null: no room in the burst. */
function make(row: PendingRow, segment: Segment, offset: u32, bytes: u32): PacketRecord {
  if (!hasRoom(1)) return changetype<PacketRecord>(0);
  const packet = addEmpty();
  const ip = slab + <usize>packet.address;
  const length = writeSegment(ip, EXTRA_BYTES_MAX, segment);
  packet.length = length + bytes;
  packet.flags = <u16>PacketFlag.Layer3;
  if (bytes != 0) appendKept(row, ip, length, segment, offset, bytes);
  parse(packet);
  packet.flags |= <u16>PacketFlag.Generated;
  packet.listenerSlot = row.listener;
  packet.net = listenerAt(row.listener).net;
  packet.flowHash = row.hash;
  return packet;
}

function appendKept(row: PendingRow, ip: usize, length: u32, segment: Segment, offset: u32, bytes: u32): void {
  copyKept(row, offset, ip + length, bytes);
  let header: u32 = 40;
  if (load<u8>(ip) >> 4 == 4) {
    Ipv4.at(ip).setTotalLength(length + bytes);
    Ipv4.at(ip).setChecksum();
    header = 20;
  } else Ipv6.at(ip).setPayloadLength(length + bytes - header);
  const l4 = length + bytes - header;
  Tcp.at(ip + header).setChecksum(sumOfPseudoHeader(segment.source, segment.destination, PROTOCOL_TCP, l4), l4);
}

/** To the client. False when there was no room, and nothing was sent. */
export function sendToClientNow(row: PendingRow, segment: Segment): bool {
  const packet = make(row, segment, 0, 0);
  if (changetype<usize>(packet) == 0) return false;
  if (packet.verdict == <u8>Verdict.None) {
    const isRouted =
      packet.net == 0 ? routeTo(packet, packet.destination) : routeToTunnel(packet, row.clientHost, packet.net);
    if (isRouted && encapsulate(packet, Encapsulation.Gre)) emit(packet);
  }
  settleExtra(packet);
  return true;
}

/** To the target of the row's flow. False when there was no room, and nothing was sent. */
export function sendToTargetNow(row: PendingRow, segment: Segment, offset: u32, bytes: u32): bool {
  const packet = make(row, segment, offset, bytes);
  if (changetype<usize>(packet) == 0) return false;
  packet.flowSlot = row.flow;
  packet.targetSlot = flowAt(row.flow).target;
  if (packet.verdict == <u8>Verdict.None) sendToTarget(packet);
  settleExtra(packet);
  return true;
}

/** The first SYN to a target: chooses it and makes the flow. False when there was no room; row.flow stays NONE when there is no target. */
export function openFlow(row: PendingRow, segment: Segment, group: u32): bool {
  const packet = make(row, segment, 0, 0);
  if (changetype<usize>(packet) == 0) return false;
  if (!isZero(row.clientHost)) {
    packet.flags |= <u16>PacketFlag.FromTunnel;
    copyAddress(packet.outerSource, row.clientHost);
  }
  if (packet.verdict == <u8>Verdict.None && scheduleIn(packet, group) && open(packet)) {
    row.flow = packet.flowSlot;
    flowAt(row.flow).flags |= <u16>FlowFlag.Binding;
    sendToTarget(packet);
  }
  settleExtra(packet);
  return true;
}
