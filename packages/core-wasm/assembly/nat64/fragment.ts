// What the first fragment of a datagram tells about the later ones, which have no ports (RFC 6146, 3.4). Two rows a set. A datagram whose
// fragments come in order passes fragment by fragment; others are put together first (reassembly.ts).
import {
  NAT64_FRAGMENT_BYTES,
  NAT64_FRAGMENT_SETS,
  Nat64Fragment,
  Nat64Reason,
  Nat64Tables,
  Nat64View,
} from '../layout.gen';
import { copyAddress, isSameAddress } from '../wire/ipv6';
import { addRange, isWhole } from './range';
import { hash6 } from './table';

/** Keeps `other`, the address that only the ports could tell. A second first fragment of a datagram is refused. */
export function remember(t: Nat64Tables, view: Nat64View, other: usize): Nat64Reason {
  const known = find(t, view);
  if (known != 0) return note(Nat64Fragment.at(known), view);
  const first = rowOf(t, view, 0);
  const second = rowOf(t, view, 1);
  const isOlder = first.protocol != 0 && (second.protocol == 0 || <i32>(first.expiresMs - second.expiresMs) > 0);
  const row = isOlder ? second : first;
  memory.fill(changetype<usize>(row), 0, NAT64_FRAGMENT_BYTES);
  copyAddress(row.source, view.source);
  copyAddress(row.destination, view.destination);
  copyAddress(row.other, other);
  row.identification = view.identification;
  row.protocol = view.protocol;
  row.expiresMs = t.nowMs + t.fragmentMs;
  return note(row, view);
}

/** The row of what the first fragment left, or 0. */
export function find(t: Nat64Tables, view: Nat64View): usize {
  for (let way: u32 = 0; way < 2; way++) {
    const row = rowOf(t, view, way);
    if (isFor(row, view) && <i32>(t.nowMs - row.expiresMs) < 0) return changetype<usize>(row);
  }
  return 0;
}

/** The fragment has come; a row that has seen all of them is free again, because an identification may come back soon (RFC 4963). */
export function note(row: Nat64Fragment, view: Nat64View): Nat64Reason {
  const from = <u32>view.fragment >> 3;
  const to = from + ((view.l4Bytes + 7) >> 3);
  const isLast = (view.fragment & 1) == 0;
  if (row.end != 0 && (isLast || to > row.end)) return Nat64Reason.FragmentOverlap;
  const refused = addRange(row, from, to);
  if (refused != Nat64Reason.None) return refused;
  if (isLast) row.end = to;
  if (isWhole(row)) row.protocol = 0;
  return Nat64Reason.None;
}

function rowOf(t: Nat64Tables, view: Nat64View, way: u32): Nat64Fragment {
  const set = hash6(t, view.source, view.identification & 0xffff, view.identification >> 16) % NAT64_FRAGMENT_SETS;
  return Nat64Fragment.at(<usize>t.fragments + (set * 2 + way) * NAT64_FRAGMENT_BYTES);
}

function isFor(row: Nat64Fragment, view: Nat64View): bool {
  if (row.protocol != view.protocol || row.identification != view.identification) return false;
  return isSameAddress(row.source, view.source) && isSameAddress(row.destination, view.destination);
}
