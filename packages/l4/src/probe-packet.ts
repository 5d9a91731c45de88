// The packets of health probes (data-plane.md P24): TCP SYN and RST, UDP, ICMP echo; and reading what came back.
// Complete IP packets (RFC 791, 8200, 9293, 768, 792, 4443); the core puts the tunnel of the target and the link header in front.

export const Protocol = { Icmp: 1, Tcp: 6, Udp: 17, Icmp6: 58 } as const;
export const TcpFlag = { Fin: 1, Syn: 2, Rst: 4, Ack: 16 } as const;
/** Tencent's marker of probes at layer 4. */
const MARKER = new TextEncoder().encode('HEALTH CHECK');
const TTL = 64;

/** Addresses in the 16-byte form of every table; IPv4 as ::ffff:a.b.c.d. */
export interface ProbeAddresses {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly flags: number;
  readonly sequence: number;
}

export function tcpProbe(addresses: ProbeAddresses, segment: TcpSegment): Uint8Array {
  const tcp = new Uint8Array(20);
  const view = new DataView(tcp.buffer);
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(4, segment.sequence);
  view.setUint8(12, 5 << 4);
  view.setUint8(13, segment.flags);
  view.setUint16(14, segment.flags & TcpFlag.Rst ? 0 : 65535);
  return ipPacket(addresses, Protocol.Tcp, withChecksum(addresses, Protocol.Tcp, tcp, 16));
}

export function udpProbe(addresses: ProbeAddresses, sourcePort: number, destinationPort: number): Uint8Array {
  const udp = new Uint8Array(8 + MARKER.length);
  const view = new DataView(udp.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, udp.length);
  udp.set(MARKER, 8);
  return ipPacket(addresses, Protocol.Udp, withChecksum(addresses, Protocol.Udp, udp, 6));
}

export function echoProbe(addresses: ProbeAddresses, identifier: number, sequence: number): Uint8Array {
  const icmp = new Uint8Array(8 + MARKER.length);
  const view = new DataView(icmp.buffer);
  const isV4 = isMapped(addresses.destination);
  view.setUint8(0, isV4 ? 8 : 128);
  view.setUint16(4, identifier);
  view.setUint16(6, sequence);
  icmp.set(MARKER, 8);
  if (!isV4) return ipPacket(addresses, Protocol.Icmp6, withChecksum(addresses, Protocol.Icmp6, icmp, 2));
  view.setUint16(2, fold(sum(icmp, 0)));
  return ipPacket(addresses, Protocol.Icmp, icmp);
}

function ipPacket(addresses: ProbeAddresses, protocol: number, payload: Uint8Array): Uint8Array {
  const isV4 = isMapped(addresses.destination);
  const packet = new Uint8Array((isV4 ? 20 : 40) + payload.length);
  const view = new DataView(packet.buffer);
  packet.set(payload, isV4 ? 20 : 40);
  if (!isV4) {
    view.setUint32(0, 0x60000000);
    view.setUint16(4, payload.length);
    view.setUint8(6, protocol);
    view.setUint8(7, TTL);
    packet.set(addresses.source, 8);
    packet.set(addresses.destination, 24);
    return packet;
  }
  view.setUint16(0, 0x4500);
  view.setUint16(2, packet.length);
  view.setUint16(6, 0x4000);
  view.setUint8(8, TTL);
  view.setUint8(9, protocol);
  packet.set(addresses.source.subarray(12), 12);
  packet.set(addresses.destination.subarray(12), 16);
  view.setUint16(10, fold(sum(packet.subarray(0, 20), 0)));
  return packet;
}

function withChecksum(addresses: ProbeAddresses, protocol: number, segment: Uint8Array, at: number): Uint8Array {
  // The ::ffff prefix of IPv4 must not count.
  const from = isMapped(addresses.destination) ? 12 : 0;
  const pseudo = sum(
    addresses.source.subarray(from),
    sum(addresses.destination.subarray(from), protocol + segment.length),
  );
  const checksum = fold(sum(segment, pseudo));
  new DataView(segment.buffer).setUint16(at, checksum === 0 && protocol === Protocol.Udp ? 0xffff : checksum);
  return segment;
}

function sum(bytes: Uint8Array, from: number): number {
  let total = from;
  for (let index = 0; index < bytes.length; index += 2) total += (bytes[index]! << 8) | (bytes[index + 1] ?? 0);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

export function isMapped(address: Uint8Array): boolean {
  return address.subarray(0, 10).every((byte) => byte === 0) && address[10] === 0xff && address[11] === 0xff;
}

/** What came back to the probe address. */
export interface ProbeAnswer {
  /** Port (or echo identifier) of ours that it answers. */
  readonly ownPort: number;
  readonly kind: 'synAck' | 'reset' | 'datagram' | 'echo' | 'unreachable';
  /** synAck: the sequence number that ends the connection. */
  readonly acknowledged: number;
}

/** Reads a packet to our probe address; null when it answers nothing that we send. */
export function readProbeAnswer(packet: Uint8Array): ProbeAnswer | null {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const isV4 = packet.length >= 20 && packet[0]! >> 4 === 4;
  if (!isV4 && packet.length < 40) return null;
  const offset = isV4 ? (packet[0]! & 15) * 4 : 40;
  const protocol = isV4 ? packet[9]! : packet[6]!;
  if (packet.length < offset + 8) return null;
  if (protocol === Protocol.Tcp) return packet.length < offset + 20 ? null : readTcp(view, offset);
  if (protocol === Protocol.Udp) return { ownPort: view.getUint16(offset + 2), kind: 'datagram', acknowledged: 0 };
  if (protocol === Protocol.Icmp && isV4) return readIcmp(view, offset, 0, 3, 20);
  if (protocol === Protocol.Icmp6 && !isV4) return readIcmp(view, offset, 129, 1, 40);
  return null;
}

function readTcp(view: DataView, offset: number): ProbeAnswer | null {
  const flags = view.getUint8(offset + 13);
  const answer = { ownPort: view.getUint16(offset + 2), acknowledged: view.getUint32(offset + 8) };
  if (flags & TcpFlag.Rst) return { ...answer, kind: 'reset' };
  return (flags & (TcpFlag.Syn | TcpFlag.Ack)) === (TcpFlag.Syn | TcpFlag.Ack) ? { ...answer, kind: 'synAck' } : null;
}

/** An echo reply, or "destination unreachable" that quotes a probe of ours. */
function readIcmp(
  view: DataView,
  offset: number,
  reply: number,
  unreachable: number,
  ipBytes: number,
): ProbeAnswer | null {
  const type = view.getUint8(offset);
  if (type === reply) return { ownPort: view.getUint16(offset + 4), kind: 'echo', acknowledged: 0 };
  const quoted = offset + 8;
  if (type !== unreachable || view.byteLength < quoted + ipBytes + 8) return null;
  const header = ipBytes === 20 ? (view.getUint8(quoted) & 15) * 4 : ipBytes;
  if (view.byteLength < quoted + header + 4) return null;
  return { ownPort: view.getUint16(quoted + header), kind: 'unreachable', acknowledged: 0 };
}
