// Checksums for the dissector: Internet checksum (RFC 1071) with the pseudo-headers of IPv4 and IPv6, CRC32c of SCTP (RFC 9260, appendix A).
import type { IpContext } from './layer.ts';

/** Ones' complement sum of 16-bit words, not complemented: 0xffff over bytes whose checksum is right. */
export function sum(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let at = 0; at + 1 < bytes.length; at += 2) total += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  if (bytes.length % 2 === 1) total += (bytes[bytes.length - 1] ?? 0) << 8;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

export function pseudoHeader(ip: IpContext, protocol: number, bytes: number): number {
  return sum(ip.destination, sum(ip.source, protocol + (bytes >>> 16) + (bytes & 0xffff)));
}

/** What is wrong with a checksum field of two bytes inside `bytes`; undefined when nothing is. */
export function checksumProblem(bytes: Uint8Array, at: number, start = 0): string | undefined {
  if (sum(bytes, start) === 0xffff) return undefined;
  const found = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  const rest = sum(bytes, start) - found;
  const right = ~(rest < 0 ? rest + 0xffff : rest) & 0xffff;
  return `should be 0x${right.toString(16).padStart(4, '0')}`;
}

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});
