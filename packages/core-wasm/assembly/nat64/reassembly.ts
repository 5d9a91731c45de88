// Datagrams that are put together before they are translated (RFC 6146, 3.4): those whose first fragment is not the first to come, ICMP, whose
// checksum needs the length of the whole (RFC 7915, 1.2), and UDP over IPv4 without a checksum. A fixed number of places, few for a source.
import {
  NAT64_REASSEMBLIES,
  NAT64_REASSEMBLY_BYTES,
  NAT64_REASSEMBLY_HEAD,
  NAT64_REASSEMBLY_MAP,
  NAT64_REASSEMBLY_SLOT,
  NAT64_SOURCE_BYTES,
  NAT64_SOURCE_REASSEMBLIES,
  Nat64Reason,
  Nat64Reassembly,
  Nat64State,
  Nat64Tables,
  Nat64Verdict,
  Nat64View,
} from '../layout.gen';
import { IPV4_BYTES, Ipv4, PROTOCOL_UDP } from '../wire/ipv4';
import { IPV6_BYTES, Ipv6, copyAddress, isSameAddress } from '../wire/ipv6';
import { Udp } from '../wire/udp';
import { drop } from './answer';
import { find } from './fragment';
import { writeFragmentHeader } from './header';
import { isIcmp } from './icmp';
import { open } from './translate';
import { FRAGMENT, FRAGMENT_BYTES, isLater, outerOf } from './view';

const IP_MAX: u32 = 65535;
const CONGESTION: u32 = 3;
const NO_CHECKSUM: u16 = 0;

function slotAt(t: Nat64Tables, index: u32): Nat64Reassembly {
  return Nat64Reassembly.at(<usize>t.reassemblies + index * NAT64_REASSEMBLY_SLOT);
}
function mapOf(slot: Nat64Reassembly): usize {
  return changetype<usize>(slot) + NAT64_REASSEMBLY_BYTES;
}
function dataOf(slot: Nat64Reassembly): usize {
  return mapOf(slot) + NAT64_REASSEMBLY_MAP + NAT64_REASSEMBLY_HEAD;
}

/** None: go on with what the outer view shows, the fragment as it came or the whole datagram that it completed. */
export function collect(n: Nat64State, t: Nat64Tables): Nat64Verdict {
  const view = outerOf(n);
  const known: usize = t.reassembling == 0 ? 0 : findSlot(t, view);
  if (known == 0 && !isWaiting(t, view)) return Nat64Verdict.None;
  const slot = known != 0 ? Nat64Reassembly.at(known) : take(t, view);
  if (changetype<usize>(slot) == 0 || !hasShare(t, view)) return drop(n, Nat64Reason.FragmentLimit);
  const refused = put(t, slot, view);
  if (refused != Nat64Reason.None) return drop(n, refused);
  if (slot.total == 0 || slot.bytes != slot.total) {
    n.reason = Nat64Reason.FragmentHeld;
    return Nat64Verdict.Held;
  }
  const header = writeWhole(slot);
  release(t, slot);
  t.reassembled += 1;
  // The slot is the room now; nobody takes it before the next packet.
  n.roomStart = <u32>mapOf(slot) + NAT64_REASSEMBLY_MAP;
  n.roomEnd = <u32>changetype<usize>(slot) + NAT64_REASSEMBLY_SLOT;
  return open(n, dataOf(slot) - header, header + slot.total);
}

/** Gives up what was not whole in time; counted once a datagram. */
export function expireReassemblies(t: Nat64Tables): void {
  for (let index: u32 = 0; t.reassembling != 0 && index < NAT64_REASSEMBLIES; index++) {
    const slot = slotAt(t, index);
    if (slot.protocol == 0 || <i32>(t.nowMs - slot.expiresMs) < 0) continue;
    release(t, slot);
    const counter = <usize>t.reasons + (Nat64Reason.FragmentTimeout << 3);
    store<u64>(counter, load<u64>(counter) + 1);
  }
}

/** A fragment that cannot be translated as it comes. */
function isWaiting(t: Nat64Tables, view: Nat64View): bool {
  if (isIcmp(view)) return true;
  if (isLater(view)) return find(t, view) == 0;
  return view.family == 4 && view.protocol == <u8>PROTOCOL_UDP && Udp.at(view.l4).checksum == NO_CHECKSUM;
}

function findSlot(t: Nat64Tables, view: Nat64View): usize {
  expireReassemblies(t);
  for (let index: u32 = 0; index < NAT64_REASSEMBLIES; index++) {
    const slot = slotAt(t, index);
    if (slot.protocol != view.protocol || slot.family != view.family || slot.identification != view.identification)
      continue;
    if (isSameAddress(slot.source, view.source) && isSameAddress(slot.destination, view.destination))
      return changetype<usize>(slot);
  }
  return 0;
}

/** A free slot for the datagram of this fragment; address 0: none, or the source has enough. */
function take(t: Nat64Tables, view: Nat64View): Nat64Reassembly {
  let free: usize = 0;
  let used: u32 = 0;
  for (let index: u32 = 0; index < NAT64_REASSEMBLIES; index++) {
    const slot = slotAt(t, index);
    if (slot.protocol == 0) free = changetype<usize>(slot);
    else if (isSameAddress(slot.source, view.source)) used += 1;
  }
  const slot = Nat64Reassembly.at(free);
  if (free == 0 || used >= NAT64_SOURCE_REASSEMBLIES) return Nat64Reassembly.at(0);
  memory.fill(free, 0, NAT64_REASSEMBLY_BYTES + NAT64_REASSEMBLY_MAP);
  copyAddress(slot.source, view.source);
  copyAddress(slot.destination, view.destination);
  slot.identification = view.identification;
  slot.protocol = view.protocol;
  slot.family = view.family;
  slot.expiresMs = t.nowMs + t.fragmentMs;
  t.reassembling += 1;
  return slot;
}

function release(t: Nat64Tables, slot: Nat64Reassembly): void {
  slot.protocol = 0;
  t.reassembling -= 1;
}

/** With this fragment the source does not hold more bytes than one may. */
function hasShare(t: Nat64Tables, view: Nat64View): bool {
  let bytes = view.l4Bytes;
  for (let index: u32 = 0; index < NAT64_REASSEMBLIES; index++) {
    const slot = slotAt(t, index);
    if (slot.protocol != 0 && isSameAddress(slot.source, view.source)) bytes += slot.bytes;
  }
  return bytes <= NAT64_SOURCE_BYTES;
}

/** Lays the fragment down. One that contradicts what is there ends the datagram (RFC 5722); the same once more is passed over. */
function put(t: Nat64Tables, slot: Nat64Reassembly, view: Nat64View): Nat64Reason {
  const from = <u32>view.fragment & 0xfff8;
  const to = from + view.l4Bytes;
  const isLast = (view.fragment & 1) == 0;
  const isOutside = slot.total != 0 && (to > slot.total || (isLast && to != slot.total));
  if (isOutside || (isLast && hasBehind(slot, to))) {
    release(t, slot);
    return Nat64Reason.FragmentOverlap;
  }
  const come = countUnits(slot, from >> 3, (to + 7) >> 3);
  if (come != 0) {
    const isAgain =
      come == ((to + 7) >> 3) - (from >> 3) && memory.compare(dataOf(slot) + from, view.l4, view.l4Bytes) == 0;
    if (!isAgain) release(t, slot);
    return Nat64Reason.FragmentOverlap;
  }
  memory.copy(dataOf(slot) + from, view.l4, view.l4Bytes);
  for (let unit = from >> 3; unit < (to + 7) >> 3; unit++) setUnit(slot, unit);
  slot.bytes += view.l4Bytes;
  if (isLast) slot.total = to;
  if (from == 0) {
    slot.hops = view.hops;
    slot.trafficClass |= view.trafficClass;
  } else if ((view.trafficClass & CONGESTION) == CONGESTION) slot.trafficClass |= <u8>CONGESTION;
  return Nat64Reason.None;
}

function setUnit(slot: Nat64Reassembly, unit: u32): void {
  const at = mapOf(slot) + (unit >> 3);
  store<u8>(at, load<u8>(at) | <u8>((<u32>1) << (unit & 7)));
}

function countUnits(slot: Nat64Reassembly, from: u32, to: u32): u32 {
  let count: u32 = 0;
  for (let unit = from; unit < to; unit++) count += (<u32>load<u8>(mapOf(slot) + (unit >> 3)) >> (unit & 7)) & 1;
  return count;
}

/** Something has come from behind this end. */
function hasBehind(slot: Nat64Reassembly, end: u32): bool {
  const unit = (end + 7) >> 3;
  return countUnits(slot, unit, NAT64_REASSEMBLY_MAP << 3) != 0;
}

/**
 * Writes the header of the whole datagram in front of its data and returns its length. IPv6 keeps a fragment header without fragments, so
 * that the identification goes on to IPv4 and DF stays clear.
 */
function writeWhole(slot: Nat64Reassembly): u32 {
  if (slot.family == 4) {
    const ip = Ipv4.at(dataOf(slot) - IPV4_BYTES);
    const total = IPV4_BYTES + slot.total;
    ip.setOuter(slot.trafficClass, total, slot.hops, slot.protocol, slot.source, slot.destination);
    ip.setIdentification(slot.identification);
    ip.setFragmentField(0);
    ip.setChecksum();
    return IPV4_BYTES;
  }
  const ip = Ipv6.at(dataOf(slot) - IPV6_BYTES - FRAGMENT_BYTES);
  ip.setVersionClassAndLabel(slot.trafficClass, 0);
  ip.setPayloadLength(FRAGMENT_BYTES + slot.total);
  ip.setNextHeader(FRAGMENT);
  ip.setHopLimit(slot.hops);
  ip.setSource(slot.source);
  ip.setDestination(slot.destination);
  writeFragmentHeader(dataOf(slot) - FRAGMENT_BYTES, slot.protocol, 0, slot.identification);
  return IPV6_BYTES + FRAGMENT_BYTES;
}

/** Is the fragment one that an honest host sends? Whole units but for the last, within the largest packet, no header cut in two. */
export function checkFragment(view: Nat64View, headerBytes: u32): Nat64Reason {
  const from = <u32>view.fragment & 0xfff8;
  const header = view.family == 4 ? IPV4_BYTES : FRAGMENT_BYTES;
  if (view.l4Bytes == 0 || from + view.l4Bytes + header > IP_MAX) return Nat64Reason.BadHeader;
  if ((view.fragment & 1) != 0 && (view.l4Bytes & 7) != 0) return Nat64Reason.BadHeader;
  const isTiny = from == 0 ? view.l4Bytes < headerBytes : from < headerBytes;
  return isTiny ? Nat64Reason.FragmentTiny : Nat64Reason.None;
}
