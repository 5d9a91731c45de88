// TOA: the address of the client as a TCP option, on the ACK that ends the handshake or on the first data
// (data-plane.md P32, P38). Port and address in network order behind kind and length, as the LVS module and its heirs
// read it: kind 254 for both families, or Tencent's 200 (IPv4) and 253 (IPv6). The option stands in front of all
// others, so that an end-of-list among them does not hide it.
import { TCP_OPTION_BYTES_MAX, TOA_KIND, TOA_KIND_TENCENT_V4, TOA_V4_BYTES, TOA_V6_BYTES } from '../layout.gen';
import { fold, sumOf } from '../wire/checksum';
import { isMapped } from '../wire/ipv4';
import { TCP_BYTES, Tcp } from '../wire/tcp';
import { packetBytes, sumOfLength, widen } from './insert';

const DATA_OFFSET: usize = 12;

/** Bytes of the option for this client, or 0 when the kind cannot carry its family. */
export function toaBytes(kind: u32, client: usize): u32 {
  const isV4 = isMapped(client);
  if (kind == TOA_KIND) return isV4 ? TOA_V4_BYTES : TOA_V6_BYTES;
  return isV4 == (kind == TOA_KIND_TENCENT_V4) ? (isV4 ? TOA_V4_BYTES : TOA_V6_BYTES) : 0;
}

/**
 * Puts the option into the segment at `tcp` of the packet at `ip`. Up to TOA_V6_BYTES in front of `ip` are overwritten:
 * the packet begins earlier by the number returned. 0: nothing was done, because the options would not fit 40 bytes,
 * the packet not `limit`, or the kind not the address; to be counted.
 */
export function insertToa(ip: usize, tcp: Tcp, kind: u32, client: usize, port: u32, limit: u32): u32 {
  const by = toaBytes(kind, client);
  const header = tcp.headerBytes;
  if (by == 0 || header - TCP_BYTES + by > TCP_OPTION_BYTES_MAX || packetBytes(ip) + by > limit) return 0;
  const offset = <u32>(changetype<usize>(tcp) - ip);
  const bytes = packetBytes(ip) - offset;
  const start = widen(ip, offset + TCP_BYTES, by) + offset;
  const moved = Tcp.at(start);
  const option = start + TCP_BYTES;
  store<u8>(option, <u8>kind);
  store<u8>(option, <u8>by, 1);
  store<u16>(option, bswap<u16>(<u16>port), 2);
  if (by == TOA_V4_BYTES) store<u32>(option, load<u32>(client, 12), 4);
  else memory.copy(option + 4, client, 16);
  const before = fold(<u64>load<u16>(start, DATA_OFFSET) + <u64>sumOfLength(bytes));
  moved.setHeaderBytes(header + by);
  const after = <u64>load<u16>(start, DATA_OFFSET) + <u64>sumOfLength(bytes + by) + <u64>sumOf(option, by);
  moved.updateChecksum(before, fold(after));
  return by;
}
