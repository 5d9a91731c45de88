// PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt, section 2.2): header of a connection or datagram that was
// received for others. In TCP it goes in front of the first data, and every later number of the connection is shifted
// by its length: `translateSegmentInbound` and `translateSegmentOutbound` take it as `inserted`. The first data may
// come again and gets the header again: known by its sequence number. An acknowledgment inside the header becomes one
// below what the client has sent, which it passes over as old.
import { PROXY2_V4_BYTES, PROXY2_V6_BYTES } from '../layout.gen';
import { fold, sumOf, updateUdp } from '../wire/checksum';
import { PROTOCOL_TCP, isMapped } from '../wire/ipv4';
import { Tcp } from '../wire/tcp';
import { UDP_BYTES, Udp } from '../wire/udp';
import { packetBytes, sumOfLength, widen } from './insert';

/** 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a, then version 2 and the command PROXY. */
const SIGNATURE: u64 = 0x0d0a0d0a000d0a51;
const SIGNATURE_END: u32 = 0x5549540a;
const VERSION_AND_COMMAND: u8 = 0x21;
const FAMILY_V4: u32 = 0x10;
const FAMILY_V6: u32 = 0x20;
const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const FIXED_BYTES: u32 = 16;
const UDP_CHECKSUM: usize = 6;

export function proxyHeaderBytes(source: usize): u32 {
  return isMapped(source) ? PROXY2_V4_BYTES : PROXY2_V6_BYTES;
}

/** Writes the header; both addresses are of one family. Returns its bytes. */
export function writeProxyHeader(
  at: usize,
  protocol: u32,
  source: usize,
  destination: usize,
  sourcePort: u32,
  destinationPort: u32,
): u32 {
  const bytes = proxyHeaderBytes(source);
  const isV4 = bytes == PROXY2_V4_BYTES;
  store<u64>(at, bswap<u64>(SIGNATURE));
  store<u32>(at, bswap<u32>(SIGNATURE_END), 8);
  store<u8>(at, VERSION_AND_COMMAND, 12);
  store<u8>(at, <u8>((isV4 ? FAMILY_V4 : FAMILY_V6) | (protocol == PROTOCOL_TCP ? STREAM : DATAGRAM)), 13);
  store<u16>(at, bswap<u16>(<u16>(bytes - FIXED_BYTES)), 14);
  let ports = at + FIXED_BYTES;
  if (isV4) {
    store<u32>(ports, load<u32>(source, 12));
    store<u32>(ports, load<u32>(destination, 12), 4);
    ports += 8;
  } else {
    memory.copy(ports, source, 16);
    memory.copy(ports + 16, destination, 16);
    ports += 32;
  }
  store<u16>(ports, bswap<u16>(<u16>sourcePort));
  store<u16>(ports, bswap<u16>(<u16>destinationPort), 2);
  return bytes;
}

/**
 * Puts the header in front of the data of the TCP segment or UDP datagram at `l4` of the packet at `ip`. Up to
 * PROXY2_V6_BYTES in front of `ip` are overwritten: the packet begins earlier by the number returned; 0 when it would
 * be longer than `limit`.
 */
export function insertProxyHeader(
  ip: usize,
  l4: usize,
  protocol: u32,
  source: usize,
  destination: usize,
  sourcePort: u32,
  destinationPort: u32,
  limit: u32,
): u32 {
  const by = proxyHeaderBytes(source);
  if (packetBytes(ip) + by > limit) return 0;
  const isTcp = protocol == PROTOCOL_TCP;
  const offset = <u32>(l4 - ip);
  const bytes = isTcp ? packetBytes(ip) - offset : Udp.at(l4).length;
  const headers = offset + (isTcp ? Tcp.at(l4).headerBytes : UDP_BYTES);
  const start = widen(ip, headers, by);
  const header = start + headers;
  writeProxyHeader(header, protocol, source, destination, sourcePort, destinationPort);
  const moved = start + offset;
  const before = sumOfLength(bytes);
  const after = fold(<u64>sumOfLength(bytes + by) + <u64>sumOf(header, by));
  if (isTcp) Tcp.at(moved).updateChecksum(before, after);
  else lengthenUdp(Udp.at(moved), by, before, after);
  return by;
}

/** The length stands in the datagram and in the pseudo header, so it counts twice. */
function lengthenUdp(udp: Udp, by: u32, before: u32, after: u32): void {
  const length = udp.length;
  udp.setLength(length + by);
  const from = fold(<u64>before + <u64>sumOfLength(length));
  const to = fold(<u64>after + <u64>sumOfLength(length + by));
  store<u16>(changetype<usize>(udp), updateUdp(udp.checksum, from, to), UDP_CHECKSUM);
}
