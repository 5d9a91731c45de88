// States and idle times of flows: what a TCP flag does to an entry, and when an entry is forgotten (P4, P20).
import {
  CLOSED_MS, DATAGRAM_MS, DIRECT_CLOSED_MS, EXPIRE_STEP, FIN_SEEN_MS, FlowEntry, FlowFlag, FlowState, ListenerRow, RowFlag, SYN_ACK_SEEN_MS,
  SYN_SEEN_MS, TIME_WAIT_MS,
} from '../layout.gen';
import { control, flowsMax, nowMs, readOnly, state } from '../memory';
import { isLetIn } from './access';
import { endFlow } from './flow';
import { flowAt } from './flow-index';
import { PROTOCOL_SCTP, PROTOCOL_TCP } from '../wire/ipv4';
import { listenerAt } from './rows';

const FIN: u32 = 1;
const SYN: u32 = 2;
const RST: u32 = 4;
const ACK: u32 = 16;

/**
 * State of a flow that its first packet makes. One that is picked up in mid-flow is half-open as well until its target has answered:
 * forged ACKs must not fill the table with flows that nothing may evict.
 */
export function firstState(protocol: u32): u32 {
  return hasHandshake(protocol) ? FlowState.SynSeen : FlowState.Datagram;
}

/** Connections open and end by themselves. parse has put the chunks of SCTP into the words of TCP. */
export function hasHandshake(protocol: u32): bool { return protocol == PROTOCOL_TCP || protocol == PROTOCOL_SCTP; }

/** A packet of the client. */
export function seenInbound(entry: FlowEntry, flags: u32, isDirectReturn: bool): void {
  if (readOnly) return;
  entry.inboundMs = nowMs;
  entry.packetsIn += 1;
  if (!hasHandshake(entry.protocol)) return;
  const before: u32 = entry.state;
  if (flags & RST) reset(entry);
  else if (before == FlowState.Closed) revive(entry, flags);
  else if (flags & FIN) {
    // Before the handshake is over a FIN proves nothing: the flow stays half-open.
    if (before != FlowState.SynSeen && before != FlowState.SynAckSeen) close(entry, FlowFlag.FinInbound);
  } else if ((flags & (SYN | ACK)) == ACK && (before == FlowState.SynAckSeen || (isDirectReturn && before == FlowState.SynSeen))) {
    entry.state = <u8>FlowState.Established;
  }
}

/** A packet of the target. */
export function seenOutbound(entry: FlowEntry, flags: u32): void {
  if (readOnly) return;
  entry.outboundMs = nowMs;
  entry.packetsOut += 1;
  const before: u32 = entry.state;
  if (!hasHandshake(entry.protocol)) {
    if (before == FlowState.Datagram) entry.state = <u8>FlowState.DatagramReplied;
    return;
  }
  if (flags & RST) entry.state = <u8>FlowState.Closed;
  else if (flags & FIN) close(entry, FlowFlag.FinOutbound);
  else if (before == FlowState.SynSeen) {
    entry.state = <u8>((flags & SYN) != 0 ? FlowState.SynAckSeen : FlowState.Established);
  }
}

/** A reset of the client may be forged. */
function reset(entry: FlowEntry): void {
  if (entry.state == <u8>FlowState.Established) entry.flags |= <u16>FlowFlag.WasEstablished;
  entry.state = <u8>FlowState.Closed;
}

/** Who goes on speaking has not sent that reset, and the target has ignored it (RFC 5961): the flow goes on as well. */
function revive(entry: FlowEntry, flags: u32): void {
  if ((flags & (SYN | ACK)) != ACK || (entry.flags & <u16>FlowFlag.WasEstablished) == 0) return;
  entry.flags &= ~(<u16>FlowFlag.WasEstablished);
  entry.state = <u8>FlowState.Established;
}

function close(entry: FlowEntry, side: FlowFlag): void {
  entry.flags |= <u16>side;
  const both: u32 = FlowFlag.FinInbound | FlowFlag.FinOutbound;
  entry.state = <u8>((<u32>entry.flags & both) == both ? FlowState.TimeWait : FlowState.FinSeen);
}

/** A new SYN in these states opens a new connection on the old ports: it is scheduled afresh (RFC 9293, 3.10.7.4). */
export function isClosing(entry: FlowEntry): bool { return entry.state == <u8>FlowState.TimeWait || entry.state == <u8>FlowState.Closed; }

export function idleMsOf(entry: FlowEntry, listener: ListenerRow): u32 {
  const value: u32 = entry.state;
  const isDirectReturn = (listener.flags & <u8>RowFlag.DirectReturn) != 0;
  if (value == FlowState.Established || value == FlowState.DatagramReplied) return listener.idleMs;
  if (isDirectReturn && (value == FlowState.FinSeen || value == FlowState.Closed)) return orElse(control.directClosedMs, DIRECT_CLOSED_MS);
  if (value == FlowState.SynSeen) return orElse(control.synSeenMs, SYN_SEEN_MS);
  if (value == FlowState.SynAckSeen) return orElse(control.synAckSeenMs, SYN_ACK_SEEN_MS);
  if (value == FlowState.FinSeen) return orElse(control.finSeenMs, FIN_SEEN_MS);
  if (value == FlowState.TimeWait) return orElse(control.timeWaitMs, TIME_WAIT_MS);
  if (value == FlowState.Closed) return orElse(control.closedMs, CLOSED_MS);
  return isDirectReturn ? listener.idleMs : min(listener.idleMs, orElse(control.datagramMs, DATAGRAM_MS));
}

function orElse(set: u32, otherwise: u32): u32 { return set == 0 ? otherwise : set; }

/** Looks at the next EXPIRE_STEP entries and ends those that were idle for too long. Returns how many. */
export function expireFlows(): u32 {
  const end = min(state.flowFresh, flowsMax);
  if (end == 0) return 0;
  let at = state.expireCursor;
  let ended: u32 = 0;
  for (let count: u32 = 0; count < min(EXPIRE_STEP, end); count++) {
    if (at >= end) at = 0;
    const entry = flowAt(at);
    if (entry.state != <u8>FlowState.Free && (isIdle(entry) || (state.accessLeft != 0 && isShutOut(entry)))) {
      endFlow(at);
      ended++;
    }
    at++;
  }
  state.expireCursor = at;
  state.accessLeft -= min(state.accessLeft, EXPIRE_STEP);
  state.flowsExpired += ended;
  return ended;
}

function isIdle(entry: FlowEntry): bool {
  const last = <i32>(entry.inboundMs - entry.outboundMs) > 0 || entry.outboundMs == 0 ? entry.inboundMs : entry.outboundMs;
  return nowMs - last > idleMsOf(entry, listenerAt(entry.listener));
}

/** A flow that the access list of its listener does not let in any more. */
function isShutOut(entry: FlowEntry): bool {
  const listener = listenerAt(entry.listener);
  if ((listener.flags & <u8>RowFlag.Guarded) == 0) return false;
  return !isLetIn(listener.access, entry.client, entry.protocol, listener.vport);
}
