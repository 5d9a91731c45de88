// From the proved client to its target (P26 (6)): the SYN with the client's own options, the data that was kept, and what happens when
// the target refuses or is silent.
import { CONNECT_MS, DELIVER_MS, FlowFlag, FlowState, NONE, PendingRow, PendingState } from '../layout.gen';
import { binding, nowMs } from '../memory';
import { flowAt } from '../table/flow-index';
import { listenerAt } from '../table/rows';
import { TCP_ACK, TCP_PSH, TCP_RST, TCP_SYN } from '../wire/tcp';
import { dropFlow, hasFlow, pendingAt, returnPending } from './pending';
import { openFlow, segmentToClient, segmentToTarget, sendToClientNow, sendToTargetNow } from './send';
import { segmentOf } from './work';

const TIMESTAMP_BYTES: u32 = 12;
/** No segment with kept data is larger, whatever a target says: it has to fit a chunk, and the tunnel. */
const DATA_BYTES_MAX: u32 = 1280;
const DATA_BYTES_MIN: u32 = 64;

/** Chooses a target and sends it a SYN. Without a target the client is reset. */
export function connect(number: u32): void {
  const row = pendingAt(number);
  row.state = <u8>PendingState.Connecting;
  row.retries = 0;
  synFor(row);
  if (!openFlow(row, segmentOf(), row.group == NONE ? listenerAt(row.listener).group : row.group)) {
    row.dueMs = nowMs;
    return;
  }
  row.dueMs = nowMs + CONNECT_MS;
  if (row.flow == NONE) giveUp(number, true);
}

/** The SYN once more. */
export function connectAgain(number: u32): void {
  const row = pendingAt(number);
  if (row.flow == NONE) {
    connect(number);
    return;
  }
  if (!hasFlow(row)) {
    giveUp(number, true);
    return;
  }
  synFor(row);
  if (!sendToTargetNow(row, segmentOf(), 0, 0)) return;
  row.retries += 1;
  row.dueMs = nowMs + ((<u32>CONNECT_MS) << row.retries);
}

function synFor(row: PendingRow): void {
  const segment = segmentOf();
  segmentToClient(row, segment, TCP_SYN);
  const port = segment.sourcePort;
  const high = load<u64>(segment.source);
  const low = load<u64>(segment.source, 8);
  memory.copy(segment.source, segment.destination, 16);
  store<u64>(segment.destination, high);
  store<u64>(segment.destination, low, 8);
  segment.sourcePort = segment.destinationPort;
  segment.destinationPort = port;
  segment.sequence = row.isn;
  segment.acknowledgment = 0;
  segment.window = <u16>0xffff;
  segment.mss = row.mss;
  segment.scale = row.scale;
  segment.sackPermitted = row.sackPermitted;
  segment.tsval = row.tsval;
  segment.tsecr = 0;
}

/** What was kept and is not acknowledged yet, or the last ACK of the handshake where nothing was kept. */
export function deliver(number: u32): void {
  const row = pendingAt(number);
  const options = row.targetTimestamp & row.hasTimestamp ? TIMESTAMP_BYTES : 0;
  const most = max(min<u32>(row.targetMss, DATA_BYTES_MAX), DATA_BYTES_MIN) - options;
  row.dueMs = nowMs + ((<u32>DELIVER_MS) << row.retries);
  let offset = row.acknowledged;
  do {
    const bytes = min(row.kept - offset, most);
    segmentToTarget(row, segmentOf(), offset, bytes == 0 ? TCP_ACK : TCP_ACK | TCP_PSH);
    if (!sendToTargetNow(row, segmentOf(), offset, bytes)) {
      row.dueMs = nowMs;
      return;
    }
    offset += bytes;
  } while (offset < row.kept);
}

/** All has reached the target: from now on the walk translates, and nothing else (P26 (7)). */
export function handOver(number: u32): void {
  const row = pendingAt(number);
  const entry = flowAt(row.flow);
  entry.flags &= ~(<u16>FlowFlag.Binding);
  entry.state = <u8>FlowState.Established;
  binding.bound += 1;
  returnPending(number);
}

/** Ends the connection on both sides. `tellsClient`: unless it was the client itself that has ended it. */
export function giveUp(number: u32, tellsClient: bool): void {
  const row = pendingAt(number);
  const segment = segmentOf();
  if (tellsClient) {
    segmentToClient(row, segment, TCP_RST | TCP_ACK);
    sendToClientNow(row, segment);
  }
  if (row.state == <u8>PendingState.Delivering && hasFlow(row)) {
    segmentToTarget(row, segment, row.acknowledged, TCP_RST | TCP_ACK);
    segment.window = 0;
    sendToTargetNow(row, segment, 0, 0);
  }
  dropFlow(row);
  returnPending(number);
}
