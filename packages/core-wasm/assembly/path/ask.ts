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
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { sendToPeers } from './peer';
import { mayReset, resetSender } from './reset';
import { routeTo, routeToTunnel } from './route';

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

/** A client whose connection nobody has is told so. */
function reset(packet: PacketRecord): void {
  if (!mayReset(packet) || !takeErrorToken()) return;
  resetSender(packet);
  state.midFlowResets += 1;
  const isInside = (packet.flags & <u16>PacketFlag.FromTunnel) != 0;
  const isRouted = isInside
    ? routeToTunnel(packet, packet.outerSource, packet.net)
    : routeTo(packet, packet.destination);
  if (isRouted && encapsulate(packet, Encapsulation.Gre)) emit(packet);
}
