// Room inside a packet: the headers move towards the front, the data stays where it is, and the lengths of the IP
// header grow.
import { fold } from '../wire/checksum';
import { Ipv4 } from '../wire/ipv4';
import { Ipv6 } from '../wire/ipv6';

/**
 * Moves the `headerBytes` bytes at `ip` `by` bytes to the front, which must be free (the link header is gone after
 * that), and makes the packet `by` bytes longer. Returns where it begins now.
 */
export function widen(ip: usize, headerBytes: u32, by: u32): usize {
  const at = ip - <usize>by;
  memory.copy(at, ip, headerBytes);
  if (load<u8>(at) >> 4 == 4) {
    const v4 = Ipv4.at(at);
    const before = v4.totalLength;
    v4.setTotalLength(before + by);
    v4.updateChecksum(<u32>bswap<u16>(<u16>before), <u32>bswap<u16>(<u16>(before + by)));
  } else {
    const v6 = Ipv6.at(at);
    v6.setPayloadLength(v6.payloadLength + by);
  }
  return at;
}

/** Length of the IP packet. */
export function packetBytes(ip: usize): u32 {
  return load<u8>(ip) >> 4 == 4 ? Ipv4.at(ip).totalLength : Ipv6.at(ip).totalLength;
}

/** A length as a word of the sum. */
export function sumOfLength(bytes: u32): u32 {
  return fold(<u64>bswap<u16>(<u16>bytes) + <u64>bswap<u16>(<u16>(bytes >> 16)));
}
