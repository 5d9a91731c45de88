// The name that a client asks for (P27): server name of a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3) or Host of an HTTP/1 request
// (RFC 9112, 3.2), out of what was kept. Nothing behind the kept bytes is read, whatever lengths they claim.
import { AddressKind, KEPT_BYTES_MAX, NONE, PendingRow } from '../layout.gen';
import { binding } from '../memory';
import { findAddress } from '../table/address';
import { copyKept } from './pending';
import { viewOf } from './work';

/** readName: more data is needed. NONE: there is no name, or none that the listener has. */
export const NAME_LATER: u32 = 0xfffffffe;

const RECORD_HANDSHAKE: u32 = 22;
const RECORD_HEAD: u32 = 5;
const CLIENT_HELLO: u32 = 1;
const HELLO_HEAD: u32 = 4;
/** Version and random. */
const HELLO_FIXED: u32 = 34;
const SERVER_NAME: u32 = 0;
const NAME_BYTES_MAX: u32 = 255;
const DIGEST_HIGH: u64 = 0xcbf29ce484222325;
const DIGEST_LOW: u64 = 0x6c62272e07bb0142;
const DIGEST_PRIME: u64 = 0x100000001b3;
const DOT: u32 = 46;
const STAR: u32 = 42;
const COLON: u32 = 58;
const OPEN: u32 = 91;
const CLOSE: u32 = 93;

/** Where the name lies in the text, found by the two readers. */
let nameAt: u32 = 0;
let nameBytes: u32 = 0;

/** Group slot of the name in the kept data; NAME_LATER or NONE. */
export function readName(row: PendingRow): u32 {
  const text: usize = binding.text;
  const bytes = min(row.kept, <u32>KEPT_BYTES_MAX);
  if (bytes == 0) return NAME_LATER;
  copyKept(row, 0, text, bytes);
  nameBytes = 0;
  const isWhole =
    load<u8>(text) == <u8>RECORD_HANDSHAKE ? readHello(text, joinRecords(text, bytes)) : readHead(text, bytes);
  if (!isWhole) return NAME_LATER;
  return nameBytes == 0 || nameBytes > NAME_BYTES_MAX ? NONE : findGroup(row.listener, text + nameAt, nameBytes);
}

function u16At(at: usize): u32 {
  return <u32>bswap<u16>(load<u16>(at));
}

/** Takes the record headers out: a ClientHello may lie in several records. Returns the bytes of the handshake that are there. */
function joinRecords(text: usize, bytes: u32): u32 {
  let from: u32 = 0;
  let to: u32 = 0;
  while (from + RECORD_HEAD <= bytes && load<u8>(text + from) == <u8>RECORD_HANDSHAKE) {
    const count = min(u16At(text + from + 3), bytes - from - RECORD_HEAD);
    memory.copy(text + to, text + from + RECORD_HEAD, count);
    to += count;
    from += RECORD_HEAD + count;
  }
  return to;
}

/** False while the hello is not whole. One that is broken has no name. */
function readHello(text: usize, bytes: u32): bool {
  if (bytes < HELLO_HEAD) return false;
  if (load<u8>(text) != <u8>CLIENT_HELLO) return true;
  const length = ((<u32>load<u8>(text, 1)) << 16) | u16At(text + 2);
  const end = HELLO_HEAD + length;
  if (end > KEPT_BYTES_MAX) return true;
  if (bytes < end) return false;
  let at = HELLO_HEAD + HELLO_FIXED;
  if (at + 1 > end) return true;
  at += 1 + <u32>load<u8>(text + at);
  if (at + 2 > end) return true;
  at += 2 + u16At(text + at);
  if (at + 1 > end) return true;
  at += 1 + <u32>load<u8>(text + at);
  if (at + 2 > end) return true;
  const stop = min(end, at + 2 + u16At(text + at));
  at += 2;
  while (at + 4 <= stop) {
    const type = u16At(text + at);
    const size = u16At(text + at + 2);
    at += 4;
    if (at + size > stop) return true;
    if (type == SERVER_NAME) {
      // A list of one: its length, the type host_name, the length of the name.
      if (size < 5 || load<u8>(text + at + 2) != 0) return true;
      const name = u16At(text + at + 3);
      if (name + 5 > size) return true;
      nameAt = at + 5;
      nameBytes = name;
      return true;
    }
    at += size;
  }
  return true;
}

/** False while the head of the request is not whole and no Host was found. */
function readHead(text: usize, bytes: u32): bool {
  let line: u32 = 0;
  for (let at: u32 = 0; at < bytes; at++) {
    if (load<u8>(text + at) != 10) continue;
    const end = at > line && load<u8>(text + at - 1) == 13 ? at - 1 : at;
    if (line != 0 && isHost(text + line, end - line)) {
      readHost(text, line + 5, end);
      return true;
    }
    // The empty line behind the head; one in front of the request is passed over (RFC 9112, 2.2).
    if (end == line && line != 0) return true;
    line = at + 1;
  }
  return !isText(text, bytes);
}

/** What no request begins with decides at once, and does not wait for a line to end. */
function isText(text: usize, bytes: u32): bool {
  const first = <u32>load<u8>(text);
  return bytes != 0 && (first == 10 || first == 13 || (first >= 65 && first <= 90));
}

function lower(letter: u32): u32 {
  return letter >= 65 && letter <= 90 ? letter | 32 : letter;
}

function isHost(line: usize, bytes: u32): bool {
  if (bytes < 5) return false;
  const word = lower(load<u8>(line)) | (lower(load<u8>(line, 1)) << 8) | (lower(load<u8>(line, 2)) << 16);
  // "hos", "t:".
  return word == 0x736f68 && lower(load<u8>(line, 3)) == 0x74 && load<u8>(line, 4) == <u8>COLON;
}

/** Without white space around it and without its port. */
function readHost(text: usize, from: u32, end: u32): void {
  let at = from;
  let stop = end;
  while (at < stop && <u32>load<u8>(text + at) <= 32) at++;
  while (stop > at && <u32>load<u8>(text + stop - 1) <= 32) stop--;
  nameAt = at;
  if (at < stop && <u32>load<u8>(text + at) == OPEN) {
    while (at < stop && <u32>load<u8>(text + at) != CLOSE) at++;
    nameBytes = at < stop ? at + 1 - nameAt : 0;
    return;
  }
  while (at < stop && <u32>load<u8>(text + at) != COLON) at++;
  nameBytes = at - nameAt;
}

/** The exact name, then the wildcards from the longest on. */
function findGroup(listener: u32, name: usize, bytes: u32): u32 {
  let length = bytes;
  if (<u32>load<u8>(name + length - 1) == DOT) length--;
  let found = look(listener, name, length, false);
  for (let at: u32 = 0; found == NONE && at < length; at++) {
    if (<u32>load<u8>(name + at) == DOT) found = look(listener, name + at, length - at, true);
  }
  return found;
}

/** The digest of a name, by which the image knows it: two sums of FNV-1a. src/domain.ts has the same. */
function look(listener: u32, name: usize, bytes: u32, isWildcard: bool): u32 {
  let high = DIGEST_HIGH;
  let low = DIGEST_LOW;
  if (isWildcard) {
    high = (high ^ STAR) * DIGEST_PRIME;
    low = (low ^ STAR) * DIGEST_PRIME;
  }
  for (let at: u32 = 0; at < bytes; at++) {
    const letter = <u64>lower(load<u8>(name + at));
    high = (high ^ letter) * DIGEST_PRIME;
    low = (low ^ letter) * DIGEST_PRIME;
  }
  const key = changetype<usize>(viewOf());
  store<u64>(key, high);
  store<u64>(key, low, 8);
  return findAddress(AddressKind.Domain, listener, key, 0, 0);
}
