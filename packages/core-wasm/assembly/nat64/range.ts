// Stretches of a datagram that have come, in units of eight bytes: a fragment that overlaps one is refused (RFC 1858, RFC 3128, RFC 5722).
import { NAT64_RANGES, Nat64Fragment, Nat64Reason } from '../layout.gen';

/** Adds the stretch from `from` to `to`; neighbours become one. None, overlap, or no place for so many holes. */
export function addRange(row: Nat64Fragment, from: u32, to: u32): Nat64Reason {
  const ranges = changetype<usize>(row) + offsetof<Nat64Fragment>('range0');
  let count = <u32>row.rangeCount;
  for (let index: u32 = 0; index < count; index++) {
    const range = load<u32>(ranges + (index << 2));
    if (from < range >> 16 && to > (range & 0xffff)) return Nat64Reason.FragmentOverlap;
  }
  let index: u32 = 0;
  while (index < count) {
    const range = load<u32>(ranges + (index << 2));
    const touches = range >> 16 == from || (range & 0xffff) == to;
    if (!touches) {
      index += 1;
      continue;
    }
    from = min(from, range & 0xffff);
    to = max(to, range >> 16);
    count -= 1;
    store<u32>(ranges + (index << 2), load<u32>(ranges + (count << 2)));
  }
  if (count == NAT64_RANGES) return Nat64Reason.FragmentLimit;
  store<u32>(ranges + (count << 2), from | (to << 16));
  row.rangeCount = <u8>(count + 1);
  return Nat64Reason.None;
}

/** Every unit has come. */
export function isWhole(row: Nat64Fragment): bool {
  return row.end != 0 && row.rangeCount == 1 && row.range0 == row.end << 16;
}
