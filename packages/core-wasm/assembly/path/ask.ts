// ask: what becomes of a packet in mid-flow that nobody here knows (P8, P9). It goes itself to all peers: whoever has its flow forwards it
// and tells the flow, so the next ones stay here. A client whom nobody has answered for is told by RST that its connection is gone.
import {
  ASKS_PER_SECOND,
  ASK_ANSWER_MS,
  ASK_LIFE_MS,
  ASK_ROWS,
  ASK_ROW_BYTES,
  AskRow,
  Encapsulation,
  OnUnknown,
  PacketFlag,
  PacketRecord,
  Reason,
  Verdict,
} from '../layout.gen';
import { asks, bank, nowMs, readOnly, state } from '../memory';
import { takeErrorToken } from '../table/bucket';
import { listenerAt } from '../table/rows';
import { consume, drop } from '../verdict';
import { IPV4_BYTES } from '../wire/ipv4';
import { IPV6_BYTES, copyAddress } from '../wire/ipv6';
import { PROTOCOL_TCP } from '../wire/ipv4';
import { sumOfPseudoHeader } from '../wire/checksum';
import { TCP_ACK, TCP_BYTES, TCP_RST } from '../wire/tcp';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { ipv4Of, ipv6Of, l3At, l4At, tcpOf } from './frame';
import { sendToPeers } from './peer';
import { routeTo, routeToTunnel } from './route';

const RESET_TTL: u32 = 64;

/** A client's packet that track has refused. */
export function askInbound(packet: PacketRecord): void {
  if (packet.verdict != <u8>Verdict.Drop || packet.reason != <u8>Reason.MidFlow) return;
  if (isUnanswered(packet.flowHash)) {
    if (listenerAt(packet.listenerSlot).onUnknown == <u8>OnUnknown.Reset) reset(packet);
    return;
  }
  askPeers(packet);
}

/** Any packet that was refused because nobody here knows it. Without peers its verdict stays. */
export function askPeers(packet: PacketRecord): void {
  if ((packet.flags & <u16>PacketFlag.FromPeer) != 0) {
    drop(packet, Reason.PeerUnknown);
    return;
  }
  if (bank.peers == 0) return;
  if (readOnly) {
    consume(packet, Reason.Asked);
    return;
  }
  if (!takeAskToken() || !sendToPeers(packet)) {
    state.asksLimited += 1;
    drop(packet, Reason.AskLimited);
    return;
  }
  state.asks += 1;
  consume(packet, Reason.Asked);
}

/** True when the peers have had their time since the first packet of this flow. Rows are shared by hash: a stranger only begins anew. */
function isUnanswered(hash: u32): bool {
  if (readOnly) return false;
  const row = AskRow.at(asks + <usize>(hash & (ASK_ROWS - 1)) * ASK_ROW_BYTES);
  const since = nowMs - row.atMs;
  if (row.hash == hash && since < ASK_LIFE_MS) return since >= ASK_ANSWER_MS;
  row.hash = hash;
  row.atMs = nowMs;
  return false;
}

function takeAskToken(): bool {
  const elapsed = nowMs - state.askTokensMs;
  const tokens = <u32>min<u64>((<u64>elapsed * ASKS_PER_SECOND) / 1000, ASKS_PER_SECOND);
  if (tokens != 0) {
    state.askTokensMs = nowMs;
    state.askTokens = min<u32>(ASKS_PER_SECOND, state.askTokens + tokens);
  }
  if (state.askTokens == 0) return false;
  state.askTokens -= 1;
  return true;
}

/** The packet becomes the reset that answers it (RFC 9293, 3.5.2): of a segment with ACK, so its sequence number is the one expected. */
function reset(packet: PacketRecord): void {
  if (packet.protocol != <u8>PROTOCOL_TCP || (packet.tcpFlags & <u8>(TCP_ACK | TCP_RST)) != <u8>TCP_ACK) return;
  if (!takeErrorToken()) return;
  const tcp = tcpOf(packet);
  const client = tcp.sourcePort;
  const sequence = tcp.acknowledgment;
  tcp.setSourcePort(tcp.destinationPort);
  tcp.setDestinationPort(client);
  tcp.setSequence(sequence);
  tcp.setAcknowledgment(0);
  tcp.setHeaderBytes(TCP_BYTES);
  tcp.setFlags(TCP_RST);
  tcp.setWindow(0);
  tcp.setUrgent(0);
  // Options and extension headers stay behind.
  const header = packet.family == 4 ? IPV4_BYTES : IPV6_BYTES;
  const at = l3At(packet) + <usize>header;
  memory.copy(at, l4At(packet), <usize>TCP_BYTES);
  packet.l4 = <u16>(packet.l3 + header);
  packet.payload = <u16>(packet.l4 + TCP_BYTES);
  packet.l3End = packet.l4 + TCP_BYTES;
  packet.length = packet.l3End;
  turn(packet);
  tcpOf(packet).setChecksum(sumOfPseudoHeader(packet.source, packet.destination, PROTOCOL_TCP, TCP_BYTES), TCP_BYTES);
  packet.flags =
    (packet.flags & ~(<u16>(PacketFlag.PartialChecksum | PacketFlag.Encapsulated))) | <u16>PacketFlag.Generated;
  packet.verdict = <u8>Verdict.None;
  packet.reason = <u8>Reason.None;
  state.midFlowResets += 1;
  const isInside = (packet.flags & <u16>PacketFlag.FromTunnel) != 0;
  const isRouted = isInside
    ? routeToTunnel(packet, packet.outerSource, packet.net)
    : routeTo(packet, packet.destination);
  if (isRouted && encapsulate(packet, Encapsulation.Gre)) emit(packet);
}

/** From the VIP to the client, with a header of its own. */
function turn(packet: PacketRecord): void {
  const high = packet.sourceHigh;
  const low = packet.sourceLow;
  copyAddress(packet.source, packet.destination);
  packet.destinationHigh = high;
  packet.destinationLow = low;
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
