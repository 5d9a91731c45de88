// Packets with header fields of a test's own choice: IPv4 options and fragments, IPv6 extension headers, ICMP messages.
import { ipPacket } from '../../../tools/testkit/build.ts';
import { sum } from '../../../tools/testkit/parse.ts';

/** An ICMP message; ipPacket fills the checksum of ICMPv6, this one that of ICMPv4. */
export function icmp(family: 4 | 6, type: number, code: number, rest: number, body: Uint8Array) {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0]), Buffer.alloc(4), body]);
  bytes.writeUInt32BE(rest >>> 0, 4);
  if (family === 6) return { protocol: 58, bytes, checksumAt: 2 };
  bytes.writeUInt16BE(~sum(bytes) & 0xffff, 2);
  return { protocol: 1, bytes };
}

/** An IPv4 packet with header fields and options of the test's choice; the header checksum is right. */
export function ipv4(
  source: string,
  destination: string,
  payload: Parameters<typeof ipPacket>[2],
  fields: { tos?: number; id?: number; fragment?: number; ttl?: number; options?: Buffer } = {},
): Buffer {
  const packet = ipPacket(source, destination, payload, fields.ttl ?? 64);
  const options = fields.options ?? Buffer.alloc(0);
  const header = Buffer.concat([packet.subarray(0, 20), options]);
  header.writeUInt8(0x40 | (header.length / 4), 0);
  header.writeUInt8(fields.tos ?? 0, 1);
  header.writeUInt16BE(packet.length + options.length, 2);
  header.writeUInt16BE(fields.id ?? 0, 4);
  header.writeUInt16BE(fields.fragment ?? 0, 6);
  header.writeUInt16BE(0, 10);
  header.writeUInt16BE(~sum(header) & 0xffff, 10);
  return Buffer.concat([header, packet.subarray(20)]);
}

/** Puts extension headers between the IPv6 header and its payload: [number, bytes] each, first byte filled in. */
export function withExtensions(packet: Buffer, extensions: readonly (readonly [number, Buffer])[]): Buffer {
  const numbers = [...extensions.map(([number]) => number), packet.readUInt8(6)];
  const parts = extensions.map(([, bytes], index) =>
    Buffer.concat([Buffer.from([numbers[index + 1] as number]), bytes.subarray(1)]),
  );
  const all = Buffer.concat([packet.subarray(0, 40), ...parts, packet.subarray(40)]);
  all.writeUInt8(numbers[0] as number, 6);
  all.writeUInt16BE(all.length - 40, 4);
  return all;
}

export function fragmentHeader(offset: number, more: boolean, id: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE((offset & 0xfff8) | (more ? 1 : 0), 2);
  bytes.writeUInt32BE(id, 4);
  return bytes;
}

/** CRC32c by the bit (RFC 9260, appendix A), for a judgement of its own. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1));
  }
  return ~crc >>> 0;
}

/** An SCTP packet with one chunk of this type (RFC 9260, 3); INIT has the verification tag 0, all others 9. */
export function sctp(source: number, destination: number, chunk: number): { protocol: number; bytes: Buffer } {
  const bytes = Buffer.alloc(32);
  bytes.writeUInt16BE(source, 0);
  bytes.writeUInt16BE(destination, 2);
  bytes.writeUInt32BE(chunk === 1 ? 0 : 9, 4);
  bytes.writeUInt8(chunk, 12);
  bytes.writeUInt16BE(20, 14);
  bytes.writeUInt32LE(crc32c(bytes), 8);
  return { protocol: 132, bytes };
}
