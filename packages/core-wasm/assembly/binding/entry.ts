// Delayed binding (data-plane.md P26, P27): binding.wasm, beside the core on the memory of its worker and driven by the same thread. The
// walk leaves it what belongs to no flow of a listener with SYN proxy or domains, and the flows whose target is not connected yet;
// everything else never comes here, so the core stays small.
import { BURST_MAX, Direction, PACKET_RECORD_BYTES, PacketRecord, Reason, Verdict } from '../layout.gen';
import { bank, binding, burst, reasons, setBank, setNow, state } from '../memory';
import { allRecords, resumeExtras } from '../path/extra';
import { ipv4Of, ipv6Of, l4Bytes, tcpOf } from '../path/frame';
import { guard } from '../path/guard';
import { drop, settle } from '../verdict';
import { PROTOCOL_TCP } from '../wire/ipv4';
import { fromClient } from './client';
import { fromTarget } from './target';
import { lookAtRates, runTimers } from './timer';

export { init } from '../memory';

const V6_FRAGMENT: u32 = 44;

let adopted: u32 = 0;

/** The bank that the core of this worker has adopted. False when nothing in it binds late and nothing waits. */
function begin(now: u32): bool {
  setNow(now);
  if (changetype<usize>(binding) == 0) return false;
  if (adopted != state.adopted) {
    adopted = state.adopted;
    setBank(adopted);
  }
  return changetype<usize>(bank) != 0 && (bank.handshakes != 0 || binding.count != 0);
}

/** After forwardBurst: `received` packets, `all` records. Returns how many records there are now. */
export function bindBurst(received: u32, all: u32, now: u32): u32 {
  if (!begin(now)) return all;
  const count = min(received, BURST_MAX);
  resumeExtras(count, all > count ? all - count : 0);
  for (let index: u32 = 0; index < all; index++) {
    const packet = PacketRecord.at(burst + <usize>index * PACKET_RECORD_BYTES);
    if (packet.verdict == <u8>Verdict.Punt && packet.reason == <u8>Reason.Handshake) bind(packet, index >= count);
  }
  return allRecords();
}

/** Between bursts, once a millisecond. Returns how many records wait to be transmitted. */
export function bindTick(now: u32): u32 {
  if (!begin(now)) return 0;
  resumeExtras(0, 0);
  lookAtRates();
  if (binding.count != 0) runTimers();
  return allRecords();
}

/** The walk has counted the packet as handed over; it is counted once, by what becomes of it here. */
function bind(packet: PacketRecord, isAdded: bool): void {
  const counter = reasons + ((<usize>Reason.Handshake) << 3);
  store<u64>(counter, load<u64>(counter) - 1);
  state.punted -= 1;
  if (!isAdded) state.received -= 1;
  packet.verdict = <u8>Verdict.None;
  packet.reason = <u8>Reason.None;
  if (!isWhole(packet)) drop(packet, Reason.NoFlow);
  else if (packet.direction != <u8>Direction.Inbound) fromTarget(packet);
  else if (guard(packet)) fromClient(packet);
  settle(packet);
  // A fragment that was held is no received packet.
  if (isAdded) state.received -= 1;
}

/** Connections are bound by whole segments; a fragment of one comes again, whole or not at all. */
function isWhole(packet: PacketRecord): bool {
  if (packet.protocol != <u8>PROTOCOL_TCP || packet.l3End < packet.l4) return false;
  if (!tcpOf(packet).isWellFormed(l4Bytes(packet))) return false;
  return packet.family == 4 ? !ipv4Of(packet).isFragment : ipv6Of(packet).nextHeader != V6_FRAGMENT;
}
