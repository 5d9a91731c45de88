// Packets as the simulated machines write and read them (RFC 791, 8200, 9293, 768, 792, 4443): independent of packages/core-wasm.
// Checksums are written and judged by the code of the test kit.
import { ipPacket } from '../../tools/testkit/build.ts';
import { checksumFault } from '../../tools/testkit/expect.ts';
import { Protocol, ipv6Text, parseIp } from '../../tools/testkit/parse.ts';

export const Flag = { Fin: 1, Syn: 2, Rst: 4, Psh: 8, Ack: 16 } as const;

export interface Packet {
  readonly bytes: Buffer;
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly mss: number | undefined;
  /** Of TCP and UDP the data, of ICMP the message. */
  readonly payload: Buffer;
}

const v4Text = (bytes: Buffer, at: number): string => `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;

/** Reads a whole IP packet; one that is cut short inside an ICMP error as far as it goes. */
export function readPacket(bytes: Buffer): Packet {
  const version = bytes[0]! >> 4 === 6 ? 6 : 4;
  const l4 = version === 6 ? 40 : (bytes[0]! & 15) * 4;
  const protocol = version === 6 ? bytes[6]! : bytes[9]!;
  const end = version === 6 ? 40 + bytes.readUInt16BE(4) : bytes.readUInt16BE(2);
  const hasPorts = (protocol === Protocol.tcp || protocol === Protocol.udp) && bytes.length >= l4 + 8;
  const isTcp = protocol === Protocol.tcp && bytes.length >= l4 + 20;
  const data = l4 + (isTcp ? (bytes[l4 + 12]! >> 4) * 4 : protocol === Protocol.udp ? 8 : 0);
  return {
    bytes,
    version,
    source: version === 6 ? ipv6Text(bytes, 8) : v4Text(bytes, 12),
    destination: version === 6 ? ipv6Text(bytes, 24) : v4Text(bytes, 16),
    protocol,
    sourcePort: hasPorts ? bytes.readUInt16BE(l4) : 0,
    destinationPort: hasPorts ? bytes.readUInt16BE(l4 + 2) : 0,
    flags: isTcp ? bytes[l4 + 13]! & 63 : 0,
    sequence: hasPorts ? bytes.readUInt32BE(l4 + 4) : 0,
    acknowledgement: isTcp ? bytes.readUInt32BE(l4 + 8) : 0,
    mss: isTcp && data > l4 + 20 && bytes[l4 + 20] === 2 ? bytes.readUInt16BE(l4 + 22) : undefined,
    payload: bytes.subarray(data, Math.max(data, Math.min(end, bytes.length))),
  };
}

/** What is wrong with the checksums, tunnels included; undefined when all are right. */
export function faultOf(bytes: Buffer): string | undefined {
  const layer = parseIp(bytes, bytes[0]! >> 4 === 6 ? 0x86dd : 0x0800);
  return layer === undefined ? 'not an IP packet' : checksumFault(layer);
}

export interface Segment {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly mss?: number;
  readonly payload?: Buffer;
}

export interface Ends {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

export function tcpPacket(ends: Ends, segment: Segment): Buffer {
  const header = Buffer.alloc(segment.mss === undefined ? 20 : 24);
  header.writeUInt16BE(ends.sourcePort, 0);
  header.writeUInt16BE(ends.destinationPort, 2);
  header.writeUInt32BE(segment.sequence >>> 0, 4);
  header.writeUInt32BE(segment.acknowledgement >>> 0, 8);
  header[12] = header.length << 2;
  header[13] = segment.flags;
  header.writeUInt16BE(64240, 14);
  if (segment.mss !== undefined) header.set([2, 4, segment.mss >> 8, segment.mss & 255], 20);
  const bytes = segment.payload === undefined ? header : Buffer.concat([header, segment.payload]);
  return ipPacket(ends.source, ends.destination, { protocol: Protocol.tcp, bytes, checksumAt: 16 });
}

export function udpPacket(ends: Ends, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(ends.sourcePort, 0);
  header.writeUInt16BE(ends.destinationPort, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  const bytes = Buffer.concat([header, payload]);
  return ipPacket(ends.source, ends.destination, { protocol: Protocol.udp, bytes, checksumAt: 6 });
}

/** What a router with a narrow link answers (RFC 1191, RFC 4443): the packet's source learns the MTU. */
export function packetTooBig(router: string, refused: Packet, mtu: number): Buffer {
  const isV6 = refused.version === 6;
  const quote = refused.bytes.subarray(0, isV6 ? 500 : 128);
  const body = Buffer.concat([Buffer.alloc(8), quote]);
  body.set(isV6 ? [2, 0] : [3, 4]);
  body.writeUInt32BE(mtu, 4);
  const protocol = isV6 ? Protocol.icmpv6 : Protocol.icmp;
  if (isV6) return ipPacket(router, refused.source, { protocol, bytes: body, checksumAt: 2 });
  let total = 0;
  for (let at = 0; at < body.length; at += 2) total += body.readUInt16BE(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  body.writeUInt16BE(~total & 0xffff, 2);
  return ipPacket(router, refused.source, { protocol, bytes: body });
}

/** The MTU and the quoted packet of a "packet too big"; undefined for anything else. */
export function readTooBig({ protocol, payload }: Packet): { mtu: number; quoted: Packet } | undefined {
  const isTooBig =
    (protocol === Protocol.icmp && payload[0] === 3 && payload[1] === 4) ||
    (protocol === Protocol.icmpv6 && payload[0] === 2);
  if (!isTooBig || payload.length < 8 + 28) return undefined;
  return { mtu: payload.readUInt32BE(4) & 0xffff, quoted: readPacket(payload.subarray(8)) };
}
