// What the first fragment of a datagram tells about the later ones, which have no ports (RFC 6146, 3.4). Two rows a set; no state is made
// by a later fragment, so fragments alone cannot fill anything.
import {
  NAT64_FRAGMENT_BYTES,
  NAT64_FRAGMENT_MS,
  NAT64_FRAGMENT_SETS,
  Nat64Fragment,
  Nat64Tables,
  Nat64View,
} from '../layout.gen';
import { copyAddress, isSameAddress } from '../wire/ipv6';
import { hash6 } from './table';

/** Keeps `other`, the address that only the ports could tell. */
export function remember(t: Nat64Tables, view: Nat64View, other: usize): void {
  let row = rowOf(t, view, 0);
  if (!isFor(row, view)) {
    const second = rowOf(t, view, 1);
    const isOlder = second.protocol == 0 || <i32>(row.expiresMs - second.expiresMs) > 0;
    if (isFor(second, view) || (row.protocol != 0 && isOlder)) row = second;
  }
  copyAddress(row.source, view.source);
  copyAddress(row.destination, view.destination);
  copyAddress(row.other, other);
  row.identification = view.identification;
  row.protocol = view.protocol;
  row.expiresMs = t.nowMs + NAT64_FRAGMENT_MS;
}

/** Address of what the first fragment left, or 0. */
export function recall(t: Nat64Tables, view: Nat64View): usize {
  for (let way: u32 = 0; way < 2; way++) {
    const row = rowOf(t, view, way);
    if (isFor(row, view) && <i32>(t.nowMs - row.expiresMs) < 0) return row.other;
  }
  return 0;
}

function rowOf(t: Nat64Tables, view: Nat64View, way: u32): Nat64Fragment {
  const set = hash6(t, view.source, view.identification & 0xffff, view.identification >> 16) % NAT64_FRAGMENT_SETS;
  return Nat64Fragment.at(<usize>t.fragments + (set * 2 + way) * NAT64_FRAGMENT_BYTES);
}

function isFor(row: Nat64Fragment, view: Nat64View): bool {
  if (row.protocol != view.protocol || row.identification != view.identification) return false;
  return isSameAddress(row.source, view.source) && isSameAddress(row.destination, view.destination);
}
