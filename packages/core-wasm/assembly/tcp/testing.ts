// A wasm entry for unit tests and benches alone: what src reaches through entry.ts, and loops over single functions. No
// release contains it.
import { Meter } from '../layout.gen';
import { meterPacket } from '../table/bucket';
import { complement, sumOf } from '../wire/checksum';
import { Tcp } from '../wire/tcp';
import { checkCookieOne, crc32c, makeSynAckOne, sctpRewritePorts, translateSegmentOne } from './entry';
import { sipHash } from './siphash';

export * from './entry';

/** Halves of the hash, low first. */
export function sipHashHalf(key: usize, message: usize, half: u32): u32 {
  const hash = sipHash(key, message, message + 16, load<u64>(message, 32), load<u64>(message, 40));
  return <u32>(half == 0 ? hash : hash >> 32);
}

/** Many packets of one length at once, for benches: how many pass. */
export function meterMany(meter: usize, bits: u32, now: u32, count: u32): u32 {
  let passed: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    if (meterPacket(Meter.at(meter), bits, now + (index >> 10)) == 0) passed++;
  }
  return passed;
}

/** How many of the cookies from `first` on, `count` of them, the segment at `tcp` could acknowledge and be believed. */
export function countValidCookies(
  ip: usize,
  tcp: usize,
  state: usize,
  view: usize,
  segment: usize,
  first: u32,
  count: u32,
): u32 {
  let valid: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    Tcp.at(tcp).setAcknowledgment(first + index);
    if (checkCookieOne(ip, tcp, state, view, segment, 0) == 0) valid++;
  }
  return valid;
}

/** Internet checksum over bytes anywhere, for benches: the same bytes `times` times. */
export function checksumMany(at: usize, bytes: u32, times: u32): u32 {
  let last: u32 = 0;
  for (let index: u32 = 0; index < times; index++) last = complement(sumOf(at, bytes));
  return last;
}
/** A segment translated there and back, `times` times. */
export function translateMany(at: usize, times: u32): void {
  for (let index: u32 = 0; index < times; index++) {
    translateSegmentOne(at, 12345, 0, 678, 0, 0);
    translateSegmentOne(at, 0 - 12345, 0, 0 - 678, 0, 0);
  }
}

export function crcMany(at: usize, bytes: u32, times: u32): u32 {
  let last: u32 = 0;
  for (let index: u32 = 0; index < times; index++) last ^= crc32c(at, bytes);
  return last;
}
export function sctpRewriteMany(at: usize, bytes: u32, times: u32): void {
  for (let index: u32 = 0; index < times; index++) sctpRewritePorts(at, bytes, index, ~index);
}
/** The SYN is kept behind the packet and laid back each time. */
export function synAckMany(ip: usize, bytes: u32, state: usize, view: usize, segment: usize, times: u32): u32 {
  const kept = ip + 2048;
  memory.copy(kept, ip, bytes);
  let made: u32 = 0;
  for (let index: u32 = 0; index < times; index++) {
    memory.copy(ip, kept, bytes);
    if (makeSynAckOne(ip, ip + 20, 128, state, view, segment, 0, 1440, index) != 0) made++;
  }
  return made;
}
