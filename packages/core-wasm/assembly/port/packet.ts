// AF_PACKET receive slots (TPACKET_V2, Documentation/networking/packet_mmap.rst) and the iovec list for one sendmmsg a burst.
// A slot belongs to the kernel while its status word is 0 and to us while bit 0 is set; frames are worked on inside their slot.
import { CHUNK_BYTES, NONE, PORT_HEADROOM_BYTES, PortState } from '../layout.gen';
import { completeChecksum } from './partial';
import { begin, countSent, slab, takeOwn } from './state';

const SLOT_STATUS: usize = 0;
const SLOT_LENGTH: usize = 4;
const SLOT_SNAP_LENGTH: usize = 8;
const SLOT_MAC: usize = 12;
const SLOT_VLAN_TCI: usize = 24;
const SLOT_VLAN_TPID: usize = 26;
/** struct tpacket2_hdr plus struct sockaddr_ll: no frame starts before this. */
const SLOT_HEADER_BYTES: u32 = 52;

const STATUS_USER: u32 = 1;
const STATUS_CHECKSUM_PARTIAL: u32 = 8;
const STATUS_VLAN_VALID: u32 = 16;
const STATUS_VLAN_TPID_VALID: u32 = 64;
/** Our own mark: in a burst. Not 0, so not the kernel's; without bit 0, so `receivePacket` never takes it twice. */
const STATUS_TAKEN: u32 = 0x40000000;

const ETHERNET_BYTES: u32 = 14;
const VLAN_TAG_BYTES: u32 = 4;
const TPID_8021Q: u16 = 0x8100;

/** Takes up to `max` frames out of the slots, in ring order, into the burst records. */
export function receivePacket(state: PortState, max: u32): u32 {
  let count: u32 = 0;
  let head = state.rxHead;
  // Refused slots are bounded as well: a flood of bad frames must not keep the worker here.
  for (let seen: u32 = 0; seen <= state.rxMask && count < max; seen++) {
    const slot = <usize>state.rxRing + <usize>head * CHUNK_BYTES;
    const status = atomic.load<u32>(slot, SLOT_STATUS);
    if ((status & STATUS_USER) == 0) break;
    const isTaken = take(state, count, head, slot, status);
    atomic.store<u32>(slot, isTaken ? STATUS_TAKEN : 0, SLOT_STATUS);
    if (isTaken) count++;
    head = head == state.rxMask ? 0 : head + 1;
  }
  state.rxHead = head;
  return count;
}

function take(state: PortState, index: u32, head: u32, slot: usize, status: u32): bool {
  const length = load<u32>(slot, SLOT_SNAP_LENGTH);
  const mac = <u32>load<u16>(slot, SLOT_MAC);
  if (length < load<u32>(slot, SLOT_LENGTH)) {
    state.rxTruncated += 1;
    return false;
  }
  if (
    length < ETHERNET_BYTES ||
    length > CHUNK_BYTES ||
    mac + length > CHUNK_BYTES ||
    mac < SLOT_HEADER_BYTES + VLAN_TAG_BYTES
  ) {
    state.rxMalformed += 1;
    return false;
  }
  let address = state.arena + state.ownChunks * CHUNK_BYTES + head * CHUNK_BYTES + mac;
  let bytes = length;
  if ((status & STATUS_CHECKSUM_PARTIAL) != 0 && completeChecksum(slab(address), length, true)) state.rxCompleted += 1;
  if ((status & STATUS_VLAN_VALID) != 0) {
    restoreVlan(slab(address), slot, status);
    address -= VLAN_TAG_BYTES;
    bytes += VLAN_TAG_BYTES;
  }
  begin(index, state, address, bytes);
  return true;
}

/** The kernel takes the 802.1Q tag out of the frame and reports it in the slot header; the walk wants it where it was. */
function restoreVlan(frame: usize, slot: usize, status: u32): void {
  const tag = load<u16>(slot, SLOT_VLAN_TCI);
  const type = (status & STATUS_VLAN_TPID_VALID) != 0 ? load<u16>(slot, SLOT_VLAN_TPID) : TPID_8021Q;
  memory.copy(frame - VLAN_TAG_BYTES, frame, 12);
  store<u16>(frame, bswap<u16>(type), 8);
  store<u16>(frame, bswap<u16>(tag), 10);
}

/** Gives a slot back to the kernel. `chunk` is the slab-relative start of the slot. */
export function releasePacket(state: PortState, chunk: u32): void {
  const first = state.arena + state.ownChunks * CHUNK_BYTES;
  const slot = (chunk - first) / CHUNK_BYTES;
  if (chunk < first || slot > state.rxMask) {
    state.badChunk += 1;
    return;
  }
  atomic.store<u32>(slab(chunk), 0, SLOT_STATUS);
}

/** Queues a frame by reference; it must stay where it is until the kick. */
export function transmitPacket(state: PortState, address: u32, length: u32): void {
  const queued = state.txQueued;
  if (queued > state.txMask) {
    state.txRingFull += 1;
    return;
  }
  const vector = <usize>state.txRing + ((<usize>queued) << 4);
  store<u64>(vector, state.memoryBase + <u64>slab(address));
  store<u64>(vector, <u64>length, 8);
  state.txQueued = queued + 1;
  countSent(state, length);
}

/** Queues a copy of a frame that lies anywhere in linear memory. */
export function sendPacket(state: PortState, source: usize, length: u32): bool {
  const chunk = length <= CHUNK_BYTES - PORT_HEADROOM_BYTES ? takeOwn(state) : NONE;
  if (chunk == NONE) {
    state.txNoChunk += 1;
    return false;
  }
  memory.copy(slab(chunk + PORT_HEADROOM_BYTES), source, <usize>length);
  state.txCopied += 1;
  const before = state.txFrames;
  transmitPacket(state, chunk + PORT_HEADROOM_BYTES, length);
  return state.txFrames != before;
}
