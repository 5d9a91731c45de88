// Sequence translation: what every later segment of a connection needs whose handshake was not the target's own (P26),
// or into whose data something was put (PROXY header). RFC 9293 sequence and acknowledgment numbers, RFC 2018 SACK
// blocks, RFC 7323 timestamps and windows; the checksum by RFC 1624. The same call with the opposite numbers takes
// everything back but what a smaller window scale cannot say.
import { complement, fold } from '../wire/checksum';
import { TCP_ACK, TCP_BYTES, TCP_SYN, Tcp } from '../wire/tcp';

const SEQUENCE: u32 = 4;
const ACKNOWLEDGMENT: u32 = 8;
const WINDOW: u32 = 14;
const CHECKSUM: usize = 16;
const END: u32 = 0;
const NOTHING: u32 = 1;
const SACK: u32 = 5;
const TIMESTAMP: u32 = 8;
const TIMESTAMP_BYTES: u32 = 10;
const SACK_BLOCK_BYTES: u32 = 8;
const WINDOW_MAX: u32 = 0xffff;
const WORD_BYTES: u32 = 4;
/**
 * Two no-operations in front of timestamps: how nearly every stack writes a segment with data (RFC 7323, appendix A).
 */
const USUAL_OPTIONS: u32 = 0x0a080101;
const USUAL_HEADER_BYTES: u32 = 32;

/** A segment of the target: its numbers become ours. `windowShift` is our window scale minus the target's. */
export function translateSegmentOutbound(
  tcp: Tcp,
  sequenceDelta: u32,
  timestampDelta: u32,
  windowShift: i32,
  inserted: u32,
): void {
  translateSegment(tcp, sequenceDelta, 0 - inserted, timestampDelta, 0, windowShift);
}

/**
 * A segment of the client: what it acknowledges becomes the target's. `inserted` bytes were put in front of its data.
 */
export function translateSegmentInbound(tcp: Tcp, sequenceDelta: u32, timestampDelta: u32, inserted: u32): void {
  translateSegment(tcp, inserted, 0 - sequenceDelta, 0, 0 - timestampDelta, 0);
}

/**
 * Adds to the sequence number; to the acknowledgment number and every SACK block when the segment acknowledges at all
 * (a RST need not); to TSval; to TSecr, which means something in acknowledging segments only (RFC 7323, 3.2). The
 * window of a SYN is never scaled.
 */
export function translateSegment(
  tcp: Tcp,
  sequenceAdd: u32,
  acknowledgmentAdd: u32,
  tsvalAdd: u32,
  tsecrAdd: u32,
  windowShift: i32,
): void {
  const flags = tcp.flags;
  const acknowledges = (flags & TCP_ACK) != 0;
  const acknowledged = acknowledges ? acknowledgmentAdd : 0;
  const echoed = acknowledges ? tsecrAdd : 0;
  let change = addWord(tcp, SEQUENCE, sequenceAdd) + addWord(tcp, ACKNOWLEDGMENT, acknowledged);
  if (windowShift != 0 && (flags & TCP_SYN) == 0) change += rescaleWindow(tcp, windowShift);
  const header = tcp.headerBytes;
  if (header == USUAL_HEADER_BYTES && load<u32>(changetype<usize>(tcp), TCP_BYTES) == USUAL_OPTIONS) {
    change += addWord(tcp, TCP_BYTES + 4, tsvalAdd) + addWord(tcp, TCP_BYTES + 8, echoed);
  } else if (header > TCP_BYTES) change += translateOptions(tcp, header, acknowledged, tsvalAdd, echoed);
  if (change != 0) applyChange(tcp, change);
}

function translateOptions(tcp: Tcp, header: u32, acknowledged: u32, tsvalAdd: u32, echoed: u32): u64 {
  const start = changetype<usize>(tcp);
  let change: u64 = 0;
  let at = TCP_BYTES;
  while (at < header) {
    const kind = <u32>load<u8>(start + at);
    if (kind == END) break;
    if (kind == NOTHING) {
      at++;
      continue;
    }
    if (at + 1 >= header) break;
    const length = <u32>load<u8>(start + at, 1);
    if (length < 2 || at + length > header) break;
    if (kind == TIMESTAMP && length == TIMESTAMP_BYTES) {
      change += addWord(tcp, at + 2, tsvalAdd) + addWord(tcp, at + 6, echoed);
    } else if (kind == SACK && (length - 2) % SACK_BLOCK_BYTES == 0) {
      for (let edge: u32 = 2; edge < length; edge += WORD_BYTES) change += addWord(tcp, at + edge, acknowledged);
    }
    at += length;
  }
  return change;
}

/** Returns what the sum of the segment has grown by; 0 when nothing changed. */
function addWord(tcp: Tcp, offset: u32, add: u32): u64 {
  if (add == 0) return 0;
  const at = changetype<usize>(tcp) + offset;
  const before = load<u32>(at);
  const after = bswap<u32>(bswap<u32>(before) + add);
  store<u32>(at, after);
  const change = <u64>~before + <u64>after;
  // At an odd offset every byte lies in the other half of its word.
  return (offset & 1) != 0 ? <u64>bswap<u16>(<u16>fold(change)) : change;
}

/**
 * A window that is open stays open: rounded down to 0 it would wait for an update that the target has no reason to
 * send.
 */
function rescaleWindow(tcp: Tcp, shift: i32): u64 {
  const window = tcp.window;
  if (window == 0) return 0;
  const scaled = shift > 0 ? max<u32>(window >> shift, 1) : min<u32>(window << -shift, WINDOW_MAX);
  const before = load<u16>(changetype<usize>(tcp), WINDOW);
  tcp.setWindow(scaled);
  return <u64>(~before & 0xffff) + <u64>load<u16>(changetype<usize>(tcp), WINDOW);
}

function applyChange(tcp: Tcp, change: u64): void {
  const sum = <u64>(~tcp.checksum & 0xffff) + <u64>fold(change);
  store<u16>(changetype<usize>(tcp), complement(fold(sum)), CHECKSUM);
}

/**
 * The segment that an ICMP error quotes: `sequenceAdd` to its sequence number, the one number that 8 quoted bytes hold.
 * Returns what the ICMP checksum must grow by, folded; 0 when the quote reaches to the TCP checksum, which then takes
 * it.
 */
export function translateQuoted(tcp: Tcp, bytes: u32, sequenceAdd: u32): u32 {
  if (bytes < SEQUENCE + WORD_BYTES) return 0;
  const change = addWord(tcp, SEQUENCE, sequenceAdd);
  if (change == 0 || bytes < <u32>CHECKSUM + 2) return fold(change);
  applyChange(tcp, change);
  return 0;
}
