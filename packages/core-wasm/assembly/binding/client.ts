// Segments of a client without a target (P26): its SYN is answered from nothing, any segment that returns the cookie proves it, and its
// first data is kept and acknowledged until the target is connected.
import {
  CookieVerdict,
  Handshake,
  KEPT_BYTES_MAX,
  NAME_MS,
  NONE,
  PacketFlag,
  PacketRecord,
  PendingRow,
  PendingState,
  Reason,
  SERVER_FIRST_MS,
  Segment,
  TcpOption,
  TcpView,
} from '../layout.gen';
import { binding, cookies, nowMs } from '../memory';
import { askPeers } from '../path/ask';
import { l3At, l4At, l4Bytes, tcpOf } from '../path/frame';
import { sendToTarget } from '../path/inbound';
import { clampToTarget } from '../path/route';
import { endFlow } from '../table/flow';
import { bindingListenerAt } from '../table/binding';
import { groupAt, listenerAt, memberAt, targetAt } from '../table/rows';
import { checkCookie, makeSynAck } from '../tcp/cookie';
import { readOptions } from '../tcp/options';
import { consume, drop } from '../verdict';
import { sumOfPseudoHeader } from '../wire/checksum';
import { PROTOCOL_TCP } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { TCP_ACK, TCP_RST, TCP_SYN, Tcp } from '../wire/tcp';
import { connect, giveUp } from './connect';
import { NAME_LATER, readName } from './name';
import {
  dropFlow,
  findPending,
  hasFlow,
  isHandedOver,
  isStillThere,
  keep,
  pendingAt,
  returnPending,
  takePending,
} from './pending';
import { answerInPlace, replyInPlace, roomAt, segmentToClient } from './send';
import { segmentOf, viewOf } from './work';

const MSS_MAX_V4: u32 = 1460;
const MSS_MAX_V6: u32 = 1440;
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;
const MSS_MIN: u32 = 536;

/** A packet of a client that the walk has left to delayed binding. */
export function fromClient(packet: PacketRecord): bool {
  const flags: u32 = packet.tcpFlags;
  const number = findPending(packet.flowHash, packet.listenerSlot, packet.source, packet.sourcePort);
  if (packet.flowSlot != NONE && !isStillThere(packet)) return drop(packet, Reason.NoFlow);
  if (packet.flowSlot != NONE && isHandedOver(packet) && (flags & TCP_SYN) == 0) return sendToTarget(packet);
  if (packet.flowSlot != NONE && (number == NONE || pendingAt(number).flow != packet.flowSlot)) {
    // The entry of a connection that this worker has forgotten, as after a restart of it.
    endFlow(packet.flowSlot);
    return drop(packet, Reason.NoFlow);
  }
  if ((flags & TCP_SYN) != 0)
    return (flags & (TCP_ACK | TCP_RST)) == 0 ? fromNewClient(packet, number) : drop(packet, Reason.MidFlow);
  if ((flags & TCP_RST) != 0) return resetByClient(packet, number);
  if (number != NONE) return fromProvedClient(packet, number);
  const verdict = checkCookie(l3At(packet), tcpOf(packet), cookies, viewOf(), segmentOf(), packet.net);
  if (verdict != CookieVerdict.Valid) {
    binding.invalid += 1;
    // Another director may have its flow (P8). Never a reset: where ACK and first data were lost, what follows them comes here
    // first, and the client is about to send them again.
    drop(packet, Reason.MidFlow);
    askPeers(packet);
    return false;
  }
  const proved = takePending(packet.flowHash);
  if (proved == NONE) {
    binding.full += 1;
    return drop(packet, Reason.PendingFull);
  }
  fill(pendingAt(proved), packet, segmentOf());
  binding.valid += 1;
  return fromProvedClient(packet, proved);
}

/** A SYN that comes again while its connection goes on says nothing new; one of another connection ends the old one. */
function fromNewClient(packet: PacketRecord, number: u32): bool {
  if (number != NONE) {
    const row = pendingAt(number);
    if (row.isn == tcpOf(packet).sequence && row.state != <u8>PendingState.Proved) return consume(packet, Reason.Kept);
    dropFlow(row);
    returnPending(number);
    binding.ended += 1;
  }
  const view = viewOf();
  const mss = ownMss(packet);
  const bytes = makeSynAck(
    l3At(packet),
    tcpOf(packet),
    roomAt(packet),
    cookies,
    view,
    segmentOf(),
    packet.net,
    mss,
    nowMs,
  );
  if (bytes == 0) return drop(packet, Reason.NoCookie);
  binding.answered += 1;
  bindingListenerAt(packet.listenerSlot).answered += 1;
  return answerInPlace(packet, bytes);
}

/** What may come towards the targets of the listener: the smaller of the way back and the way to one of them (P14). */
function ownMss(packet: PacketRecord): u32 {
  const isV4 = packet.family == 4;
  const group = groupAt(listenerAt(packet.listenerSlot).group);
  const headers = isV4 ? HEADERS_V4 : HEADERS_V6;
  let mss = isV4 ? MSS_MAX_V4 : MSS_MAX_V6;
  if (group.memberCount != 0) {
    clampToTarget(packet, targetAt(memberAt(group.members).target));
    const room = <u32>packet.scratch1;
    if (room > headers) mss = min(mss, room - headers);
  }
  return max(mss, MSS_MIN);
}

/** A reset is believed where it stands exactly behind what has come (RFC 5961, 3.2). */
function resetByClient(packet: PacketRecord, number: u32): bool {
  if (number == NONE) return drop(packet, Reason.MidFlow);
  const row = pendingAt(number);
  if (tcpOf(packet).sequence != row.isn + 1 + row.kept) return drop(packet, Reason.MidFlow);
  binding.ended += 1;
  giveUp(number, false);
  return consume(packet, Reason.Kept);
}

function fill(row: PendingRow, packet: PacketRecord, proved: Segment): void {
  const isByName = listenerAt(packet.listenerSlot).handshake == <u8>Handshake.Domain;
  copyAddress(row.client, packet.source);
  if ((packet.flags & <u16>PacketFlag.FromTunnel) != 0) copyAddress(row.clientHost, packet.outerSource);
  row.listener = packet.listenerSlot;
  row.clientPort = packet.sourcePort;
  row.state = <u8>PendingState.Proved;
  row.cookie = proved.acknowledgment;
  row.isn = proved.sequence;
  row.tsval = proved.tsval;
  row.mss = proved.mss;
  row.scale = proved.scale;
  row.hasTimestamp = proved.hasTimestamp;
  row.sackPermitted = proved.sackPermitted;
  row.startedMs = nowMs;
  row.dueMs = nowMs + (isByName ? NAME_MS : SERVER_FIRST_MS);
}

function fromProvedClient(packet: PacketRecord, number: u32): bool {
  const row = pendingAt(number);
  const tcp = tcpOf(packet);
  if (!isIntact(packet, tcp)) return drop(packet, Reason.BadChecksum);
  if (row.state == <u8>PendingState.Delivering) return pass(packet, row);
  const offset = <i32>(tcp.sequence - row.isn - 1);
  const isAnswer = tcp.acknowledgment == row.cookie + 1;
  if (!isAnswer || offset < 0 || <u32>offset > 2 * KEPT_BYTES_MAX) return drop(packet, Reason.MidFlow);
  const data = l4Bytes(packet) - tcp.headerBytes;
  learn(row, tcp, <u32>offset);
  // A bare acknowledgment, or a FIN alone, which comes again when there is a target.
  if (data == 0) return consume(packet, Reason.Kept);
  take(row, l4At(packet) + tcp.headerBytes, <u32>offset, data);
  segmentToClient(row, segmentOf(), TCP_ACK);
  const isAnswered = replyInPlace(packet, segmentOf());
  if (row.state == <u8>PendingState.Proved && row.kept != 0) decide(number);
  return isAnswered;
}

/** What is acknowledged here nobody sends again, so it must have come whole. */
function isIntact(packet: PacketRecord, tcp: Tcp): bool {
  if ((packet.flags & <u16>PacketFlag.PartialChecksum) != 0) return true;
  const bytes = l4Bytes(packet);
  return tcp.isChecksumValid(sumOfPseudoHeader(packet.source, packet.destination, PROTOCOL_TCP, bytes), bytes);
}

function learn(row: PendingRow, tcp: Tcp, offset: u32): void {
  if (offset > row.kept) return;
  const view = viewOf();
  readOptions(view, tcp);
  row.window = <u16>tcp.window;
  if ((view.flags & <u16>TcpOption.Timestamp) != 0 && <i32>(view.tsval - row.tsval) > 0) row.tsval = view.tsval;
}

/** Keeps what stands behind the data that is kept already. */
function take(row: PendingRow, from: usize, offset: u32, data: u32): void {
  const old = row.kept - offset;
  if (offset > row.kept || old >= data) return;
  const fresh = data - old;
  const room = KEPT_BYTES_MAX - row.kept;
  const kept = keep(row, from + old, min(fresh, room));
  if (kept < fresh) binding.tooLarge += 1;
}

function decide(number: u32): void {
  const row = pendingAt(number);
  if (listenerAt(row.listener).handshake == <u8>Handshake.Domain) {
    const group = readName(row);
    if (group == NAME_LATER && row.kept < KEPT_BYTES_MAX) return;
    if (group < NAME_LATER) {
      binding.byName += 1;
      row.group = group;
    } else binding.noName += 1;
  }
  connect(number);
}

/** The target is connected: it has what comes now, and sorts it itself. */
function pass(packet: PacketRecord, row: PendingRow): bool {
  if (!hasFlow(row) || packet.flowSlot != row.flow) return drop(packet, Reason.NoFlow);
  row.window = <u16>tcpOf(packet).window;
  return sendToTarget(packet);
}
