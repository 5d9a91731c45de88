// The four moves of a burst between ports and records: receive, transmit, recycle, and send for frames that the core or its host made.
import { BURST_MAX, NONE, PacketRecord, PORT_PACKET, PORT_XDP, PortState, Verdict } from '../layout.gen';
import { receiveCopy, sendCopy, transmitCopy } from './copy';
import { receivePacket, releasePacket, sendPacket, transmitPacket } from './packet';
import { publishXdp, receiveXdp, refill, sendXdp, transmitXdp } from './xdp';
import { clampBurst, isInSlab, portCount, portExists, pushFree, recordAt, slab, stateOf } from './state';

/** Ports from here on share the last bit of the kick mask. */
const MASK_LAST: u32 = 31;
/** 0x8100 as it lies in memory. */
const TPID_8021Q_RAW: u16 = 0x0081;

/** Fills records 0 … n−1 with frames of one port and returns n. */
export function receive(port: u32, max: u32): u32 {
  if (!portExists(port)) return 0;
  const state = stateOf(port);
  const count = min(max, BURST_MAX);
  if (state.kind == <u8>PORT_XDP) return receiveXdp(state, count);
  if (state.kind == <u8>PORT_PACKET) return receivePacket(state, count);
  return receiveCopy(state, count);
}

/**
 * Queues every record whose verdict is Forward on its portOut. Returns the ports to kick: bit n for port n below 31, bit 31 for any
 * port from 31 on. Frames that no port takes are counted at the port that refused them.
 */
export function transmit(count: u32): u32 {
  const n = clampBurst(count);
  let kick: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const packet = recordAt(i);
    if (packet.verdict != <u8>Verdict.Forward) continue;
    const out = <u32>packet.portOut;
    if (!portExists(out) || !isInSlab(packet.address, packet.length)) {
      stateOf(packet.portIn).txMalformed += 1;
      continue;
    }
    enqueue(stateOf(out), packet);
    kick |= (<u32>1) << min(out, MASK_LAST);
  }
  publish(kick);
  return kick;
}

/** A tagged frame may be 4 bytes longer: the tag does not count towards the MTU. */
function isOversize(state: PortState, frame: usize, length: u32): bool {
  if (length <= state.frameBytesMax) return false;
  return state.layer != 2 || length > state.frameBytesMax + 4 || load<u16>(frame, 12) != TPID_8021Q_RAW;
}

function enqueue(state: PortState, packet: PacketRecord): void {
  if (isOversize(state, slab(packet.address), packet.length)) {
    state.txOversize += 1;
  } else if (state.kind == <u8>PORT_XDP) {
    if (transmitXdp(state, packet.address, packet.length)) packet.chunk = NONE;
  } else if (state.kind == <u8>PORT_PACKET) {
    transmitPacket(state, packet.address, packet.length);
  } else {
    transmitCopy(state, packet.address, packet.length);
  }
}

function publish(kick: u32): void {
  const end = (kick & ((<u32>1) << MASK_LAST)) != 0 ? portCount() : MASK_LAST;
  for (let port: u32 = 0; port < end && port < portCount(); port++) {
    const isDue = ((kick >> min(port, MASK_LAST)) & 1) != 0;
    if (isDue && stateOf(port).kind == <u8>PORT_XDP) publishXdp(stateOf(port));
  }
}

/** Gives the chunks of a burst back. Comes after the kicks, because packet and copy ports send frames where they lie. */
export function recycle(count: u32): void {
  const n = clampBurst(count);
  for (let i: u32 = 0; i < n; i++) {
    const packet = recordAt(i);
    const chunk = packet.chunk;
    if (chunk == NONE || !portExists(packet.portIn)) continue;
    packet.chunk = NONE;
    const state = stateOf(packet.portIn);
    if (state.kind == <u8>PORT_PACKET) releasePacket(state, chunk);
    else pushFree(state, chunk);
    if (state.kind == <u8>PORT_XDP && i + 1 == n) refill(state);
  }
}

/** Queues a copy of `length` bytes at a linear address on a port: probes, held packets, answers made outside a burst. Kick afterwards. */
export function send(port: u32, source: usize, length: u32): bool {
  if (!portExists(port)) return false;
  const state = stateOf(port);
  if (isOversize(state, source, length)) {
    state.txOversize += 1;
    return false;
  }
  if (state.kind == <u8>PORT_PACKET) return sendPacket(state, source, length);
  if (state.kind != <u8>PORT_XDP) return sendCopy(state, source, length);
  const isQueued = sendXdp(state, source, length);
  publishXdp(state);
  return isQueued;
}
