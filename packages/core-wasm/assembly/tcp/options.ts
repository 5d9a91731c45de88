// The option list of a TCP segment (RFC 9293, 3.1): reading it, and taking client addresses out that the client itself
// put in (P38). A list that runs past the header ends the walk; no byte outside the header is read or written, whatever
// the bytes say.
import {
  NO_SCALE,
  TOA_KIND,
  TOA_KIND_TENCENT_V4,
  TOA_KIND_TENCENT_V6,
  TOA_V4_BYTES,
  TOA_V6_BYTES,
  TcpOption,
  TcpView,
} from '../layout.gen';
import { fold, sumOf } from '../wire/checksum';
import { TCP_BYTES, Tcp } from '../wire/tcp';

const END: u32 = 0;
const NOTHING: u32 = 1;
const MSS: u32 = 2;
const SCALE: u32 = 3;
const SACK_PERMITTED: u32 = 4;
const SACK: u32 = 5;
const TIMESTAMP: u32 = 8;
const SACK_BLOCK_BYTES: u32 = 8;
const SCALE_MAX: u32 = 14;
const FOUR_NOTHINGS: u32 = 0x01010101;

/** Offset of the option in hand, or of where the list ended. */
let cursor: u32 = 0;

/** Goes to the next option from `at` on and returns its length; 0: the list ends at the cursor, or runs past the header there. */
function nextOption(start: usize, at: u32, end: u32): u32 {
  while (at < end && <u32>load<u8>(start + at) == NOTHING) at++;
  cursor = at;
  return at < end && <u32>load<u8>(start + at) != END ? lengthAt(start, at, end) : 0;
}

/**
 * Leaves what the options say. Of an option that comes twice the first counts; one of a wrong length is passed over.
 */
export function readOptions(view: TcpView, tcp: Tcp): void {
  const start = changetype<usize>(tcp);
  const end = tcp.headerBytes;
  clear(view);
  let length = nextOption(start, TCP_BYTES, end);
  while (length != 0) {
    readOption(view, start, cursor, load<u8>(start + cursor), length);
    length = nextOption(start, cursor + length, end);
  }
  if (cursor < end && <u32>load<u8>(start + cursor) != END) view.flags |= <u16>TcpOption.Malformed;
  view.usedBytes = <u16>(cursor - TCP_BYTES);
}

function clear(view: TcpView): void {
  memory.fill(changetype<usize>(view), 0, offsetof<TcpView>());
  view.scale = <u8>NO_SCALE;
}

/** Length of the option at `at`, or 0 when it has none or runs past `end`. */
function lengthAt(start: usize, at: u32, end: u32): u32 {
  if (at + 1 >= end) return 0;
  const length = <u32>load<u8>(start + at, 1);
  return length < 2 || at + length > end ? 0 : length;
}

function readOption(view: TcpView, start: usize, at: u32, kind: u32, length: u32): void {
  const option = start + at;
  const flags: u32 = view.flags;
  if (kind == MSS && length == 4 && (flags & TcpOption.Mss) == 0) {
    view.mss = bswap<u16>(load<u16>(option, 2));
    view.flags |= <u16>TcpOption.Mss;
  } else if (kind == SCALE && length == 3 && (flags & TcpOption.Scale) == 0) {
    // RFC 7323, 2.3: a larger one counts as 14.
    view.scale = <u8>min<u32>(load<u8>(option, 2), SCALE_MAX);
    view.flags |= <u16>TcpOption.Scale;
  } else if (kind == SACK_PERMITTED && length == 2) {
    view.flags |= <u16>TcpOption.SackPermitted;
  } else if (kind == SACK && isSack(length) && (flags & TcpOption.Sack) == 0) {
    view.sackAt = <u8>(at + 2);
    view.sackBlocks = <u8>((length - 2) / SACK_BLOCK_BYTES);
    view.flags |= <u16>TcpOption.Sack;
  } else if (kind == TIMESTAMP && length == 10 && (flags & TcpOption.Timestamp) == 0) {
    view.timestampAt = <u8>(at + 2);
    view.tsval = bswap<u32>(load<u32>(option, 2));
    view.tsecr = bswap<u32>(load<u32>(option, 6));
    view.flags |= <u16>TcpOption.Timestamp;
  } else if (isToa(kind, length) && (flags & TcpOption.Toa) == 0) {
    view.toaAt = <u8>at;
    view.toaBytes = <u8>length;
    view.flags |= <u16>TcpOption.Toa;
  }
}

function isSack(length: u32): bool {
  return length > 2 && (length - 2) % SACK_BLOCK_BYTES == 0;
}

/**
 * What a server would take for the address of its client. Other lengths of the shared kinds are experiments (RFC 6994).
 */
function isToa(kind: u32, length: u32): bool {
  if (kind != TOA_KIND && kind != TOA_KIND_TENCENT_V4 && kind != TOA_KIND_TENCENT_V6) return false;
  return length == TOA_V4_BYTES || length == TOA_V6_BYTES;
}

/**
 * Writes no-operations over every client address that the segment carries, checksum updated. Returns how many there
 * were.
 */
export function stripToa(tcp: Tcp): u32 {
  const start = changetype<usize>(tcp);
  const end = tcp.headerBytes;
  let count: u32 = 0;
  let length = nextOption(start, TCP_BYTES, end);
  while (length != 0) {
    if (isToa(load<u8>(start + cursor), length)) {
      blank(tcp, cursor, length);
      count++;
    }
    length = nextOption(start, cursor + length, end);
  }
  return count;
}

function blank(tcp: Tcp, at: u32, bytes: u32): void {
  const option = changetype<usize>(tcp) + at;
  const before = sumAt(option, bytes, at);
  for (let offset: u32 = 0; offset < bytes; offset += 4) store<u32>(option + offset, FOUR_NOTHINGS);
  tcp.updateChecksum(before, sumAt(option, bytes, at));
}

/**
 * Bytes that begin at an odd offset lie in the other halves of their words, which swaps their sum (RFC 1071, section 2
 * (B)).
 */
export function sumAt(address: usize, bytes: u32, offset: u32): u32 {
  const sum = sumOf(address, bytes);
  return (offset & 1) != 0 ? <u32>bswap<u16>(<u16>fold(sum)) : sum;
}
