// burst: the loop over the records of one burst. Every packet leaves with a verdict and is counted once.
import {
  BURST_MAX,
  CHUNK_BYTES,
  Direction,
  Encapsulation,
  NONE,
  PACKET_RECORD_BYTES,
  PacketFlag,
  PacketRecord,
  Reason,
  Step,
  Verdict,
} from '../layout.gen';
import { bank, burst as records, setNow, slabBytes } from '../memory';
import { touchEntry, touchIndex } from '../table/flow-index';
import { targetAt } from '../table/rows';
import { drop, settle, settleKnown } from '../verdict';
import { decapsulate } from './decapsulate';
import { dispatch, dispatchInner } from './dispatch';
import { eipInbound, eipOutbound } from './eip';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { allRecords, beginExtras } from './extra';
import { fit } from './fit';
import { fragment } from './fragment';
import { echo, isIcmpError, learnTunnel } from './icmp';
import { inbound, inboundError } from './inbound';
import { known } from './known';
import { outbound } from './outbound';
import { parse } from './parse';
import { parseCommon } from './parse-common';
import { emitPieces, mayBeCut } from './pieces';
import { routeTo, routeToTarget, routeToTunnel } from './route';
import { trace, traceAfresh } from './trace';
import { expectInbound } from './track';

/** portIn and the flags that a port sets, as they lie in the word of portIn. */
const PORT_BITS: u64 = 0xff | ((<u64>(PacketFlag.Layer3 | PacketFlag.PartialChecksum)) << 32);
/** Packets that go side by side; one where the trace of a packet has to stay in one piece. */
const GROUP: u32 = TRACE == 0 ? 16 : 1;

/** The director's walks. Returns how many records there are now: pieces and held fragments follow the received packets. */
export function forwardBurst(count: u32, nowMs: u32): u32 {
  setNow(nowMs);
  const end = min(count, BURST_MAX);
  beginExtras(end);
  for (let from: u32 = 0; from < end; from += GROUP) walkGroup(from, min(from + GROUP, end));
  return allRecords();
}

/**
 * Some packets side by side up to their flows, then each to its end. Short loops keep many packets under way at once where one long one
 * would wait for each hash and each cache miss. Up to the flow a walk reads the image alone, so no packet changes another's outcome.
 */
function walkGroup(from: u32, to: u32): void {
  for (let index = from; index < to; index++) {
    const packet = recordAt(index);
    read(packet);
    direct(packet);
    expectInbound(packet);
  }
  for (let index = from; index < to; index++) touchIndex(recordAt(index).flowHash);
  for (let index = from; index < to; index++) touchEntry(recordAt(index).flowHash);
  let sent: u32 = 0;
  for (let index = from; index < to; index++) {
    const packet = recordAt(index);
    if (packet.verdict != <u8>Verdict.None) fragment(packet);
    else if (known(packet)) {
      sent++;
      continue;
    } else walk(packet);
    finish(packet);
  }
  settleKnown(sent);
}

/** Complete IP packets that only lack their way out: held packets, answers of the main program. Endpoints use it too: no image needed. */
export function emitBurst(count: u32, nowMs: u32): void {
  setNow(nowMs);
  const end = min(count, BURST_MAX);
  for (let index: u32 = 0; index < end; index++) {
    const packet = recordAt(index);
    packet.flags |= <u16>PacketFlag.Layer3;
    if (begin(packet) && parse(packet) && routeTo(packet, packet.destination)) emit(packet);
    finish(packet);
  }
}

/** IP packets for the target in `targetSlot`, by its own tunnel: probes (P24). */
export function probeBurst(count: u32, nowMs: u32): void {
  setNow(nowMs);
  const end = min(count, BURST_MAX);
  for (let index: u32 = 0; index < end; index++) {
    const packet = recordAt(index);
    const slot = packet.targetSlot;
    packet.flags |= <u16>PacketFlag.Layer3;
    if (begin(packet) && hasImage(packet) && slot < bank.targets && parse(packet)) {
      packet.targetSlot = slot;
      const target = targetAt(slot);
      if (routeToTarget(packet, target) && encapsulate(packet, target.encapsulation)) emit(packet);
    }
    finish(packet);
  }
}

function read(packet: PacketRecord): void {
  clear(packet);
  // What the common case writes needs no clearing, and dispatch sets net.
  if (!isInside(packet) || changetype<usize>(bank) == 0 || !parseCommon(packet)) {
    clearHeaders(packet);
    if ((!isInside(packet) && !refuse(packet)) || !hasImage(packet) || !parse(packet)) return;
  }
  trace(packet, Step.Parse, packet.protocol, packet.sourcePort, packet.destinationPort, packet.tcpFlags);
}

function direct(packet: PacketRecord): void {
  if (packet.verdict != <u8>Verdict.None || !dispatch(packet)) return;
  trace(packet, Step.Dispatch, packet.direction, packet.net, 0, 0);
}

function walk(packet: PacketRecord): void {
  const direction: u32 = packet.direction;
  if (direction == Direction.Inbound) inbound(packet);
  else if (direction == Direction.Tunnel || direction == Direction.EipOutbound) walkTunnel(packet);
  else if (direction == Direction.EipInbound) eipInbound(packet);
  else if (direction == Direction.Outbound) outbound(packet);
  else walkIcmp(packet);
}

function walkTunnel(packet: PacketRecord): void {
  if (!decapsulate(packet)) {
    fragment(packet);
    return;
  }
  if (!dispatchInner(packet)) return;
  const direction: u32 = packet.direction;
  trace(packet, Step.Dispatch, direction, packet.net, 0, 0);
  if (direction == Direction.Inbound) {
    expectInbound(packet);
    inbound(packet);
  } else if (direction == Direction.EipOutbound) eipOutbound(packet);
  else if (direction == Direction.Icmp) walkIcmp(packet);
  else outbound(packet);
}

/** To a VIP or to a tunnel address of ours. */
function walkIcmp(packet: PacketRecord): void {
  if (packet.direction == <u8>Direction.TunnelIcmp) {
    learnTunnel(packet);
    return;
  }
  if (isIcmpError(packet)) inboundError(packet);
  else if (echo(packet) && routeBack(packet)) {
    if (fit(packet) && encapsulate(packet, Encapsulation.Gre)) emit(packet);
    else if (mayBeCut(packet)) emitPieces(packet, Encapsulation.Gre);
  }
}

/** Who asked from inside a VPC is answered through the same tunnel. */
function routeBack(packet: PacketRecord): bool {
  if ((packet.flags & <u16>PacketFlag.FromTunnel) == 0) return routeTo(packet, packet.destination);
  return routeToTunnel(packet, packet.outerSource, packet.net);
}

/** Clears what an earlier burst has left, and trusts no address: a frame lies inside one chunk of the slab or nowhere. */
function begin(packet: PacketRecord): bool {
  clear(packet);
  clearHeaders(packet);
  return isInside(packet) ? true : refuse(packet);
}

function clear(packet: PacketRecord): void {
  const at = changetype<usize>(packet);
  // Whole words. portIn stays, and what the port says in the flags; portOut, verdict, reason and etherType go.
  store<u64>(at, load<u64>(at, offsetof<PacketRecord>('portIn')) & PORT_BITS, offsetof<PacketRecord>('portIn'));
  // Listener, flow, target and host slot.
  v128.store(at, i64x2.splat(-1), offsetof<PacketRecord>('listenerSlot'));
  packet.nextHop = NONE;
  packet.scratch1 = 0;
  traceAfresh();
}

/** What parseCommon and dispatch write in any case: the four offsets; protocol, family, TCP flags and direction; net. */
function clearHeaders(packet: PacketRecord): void {
  const at = changetype<usize>(packet);
  store<u64>(at, 0, offsetof<PacketRecord>('l2Bytes'));
  store<u32>(at, 0, offsetof<PacketRecord>('protocol'));
  packet.net = 0;
}

function isInside(packet: PacketRecord): bool {
  const length = packet.length;
  // One question after the other, here and where else it is hot: as one expression each answer becomes a number first.
  if (packet.address >= slabBytes || length > CHUNK_BYTES) return false;
  return (packet.address & (CHUNK_BYTES - 1)) + length <= CHUNK_BYTES;
}

function refuse(packet: PacketRecord): bool {
  packet.length = 0;
  return drop(packet, Reason.BadAddress);
}

function hasImage(packet: PacketRecord): bool {
  return changetype<usize>(bank) != 0 ? true : drop(packet, Reason.NoImage);
}

function finish(packet: PacketRecord): void {
  settle(packet);
  trace(packet, Step.Verdict, packet.verdict, packet.reason, 0, 0);
}

function recordAt(index: u32): PacketRecord {
  return PacketRecord.at(records + <usize>index * PACKET_RECORD_BYTES);
}
