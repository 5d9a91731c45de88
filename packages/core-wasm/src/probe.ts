// Packets of health probes (P24), built by the main program a few times a second: TCP SYN and RST, ICMP echo, UDP. The core puts the
// target's own tunnel around them; what comes back is punted with the reason Probe.
import { isMapped } from './address.ts';

/** A health probe to build (data-plane.md P24): ends, protocol and payload. */
export interface ProbePacket {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  /** 16 bytes: this director's probe address. */
  readonly source: Uint8Array;
  /** 16 bytes: address of the target. */
  readonly destination: Uint8Array;
  /** ICMP: the identifier. */
  readonly sourcePort: number;
  /** ICMP: the sequence number. */
  readonly destinationPort: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  /** TCP flag bits: 2 SYN (default), 4 RST, 16 ACK. */
  readonly tcpFlags?: number;
  /** UDP and ICMP. */
  readonly payload?: Uint8Array;
}

const HOP_LIMIT = 64;

/** A complete IP packet with every checksum filled in. */
export function buildProbe(probe: ProbePacket): Uint8Array {
  const isV4 = isMapped(probe.destination);
  if (isMapped(probe.source) !== isV4) throw new RangeError('A probe needs source and destination of one family');
  const { body, protocol, checksumAt } = transportOf(probe, isV4);
  const view = new DataView(body.buffer);
  const isBare = protocol === 1;
  const pseudo = isBare ? 0 : pseudoSum(probe.source, probe.destination, protocol, body.length);
  const sum = ~fold(pseudo + sumOf(body)) & 0xffff;
  view.setUint16(checksumAt, protocol === 17 && sum === 0 ? 0xffff : sum);
  const header = isV4 ? headerV4(probe, protocol, body.length) : headerV6(probe, protocol, body.length);
  const packet = new Uint8Array(header.length + body.length);
  packet.set(header);
  packet.set(body, header.length);
  return packet;
}

function transportOf(
  probe: ProbePacket,
  isV4: boolean,
): { body: Uint8Array<ArrayBuffer>; protocol: number; checksumAt: number } {
  const payload = probe.payload ?? new Uint8Array();
  if (probe.protocol === 'tcp') {
    const body = new Uint8Array(20);
    const view = new DataView(body.buffer);
    view.setUint16(0, probe.sourcePort);
    view.setUint16(2, probe.destinationPort);
    view.setUint32(4, probe.sequence ?? 0);
    view.setUint32(8, probe.acknowledgement ?? 0);
    view.setUint16(12, 0x5000 | (probe.tcpFlags ?? 2));
    view.setUint16(14, 1024);
    return { body, protocol: 6, checksumAt: 16 };
  }
  const body = new Uint8Array(8 + payload.length);
  const view = new DataView(body.buffer);
  body.set(payload, 8);
  if (probe.protocol === 'udp') {
    view.setUint16(0, probe.sourcePort);
    view.setUint16(2, probe.destinationPort);
    view.setUint16(4, body.length);
    return { body, protocol: 17, checksumAt: 6 };
  }
  view.setUint8(0, isV4 ? 8 : 128);
  view.setUint16(4, probe.sourcePort);
  view.setUint16(6, probe.destinationPort);
  return { body, protocol: isV4 ? 1 : 58, checksumAt: 2 };
}

function headerV4(probe: ProbePacket, protocol: number, bytes: number): Uint8Array {
  const header = new Uint8Array(20);
  const view = new DataView(header.buffer);
  view.setUint16(0, 0x4500);
  view.setUint16(2, 20 + bytes);
  view.setUint16(6, 0x4000);
  view.setUint8(8, HOP_LIMIT);
  view.setUint8(9, protocol);
  header.set(probe.source.subarray(12), 12);
  header.set(probe.destination.subarray(12), 16);
  view.setUint16(10, ~fold(sumOf(header)) & 0xffff);
  return header;
}

function headerV6(probe: ProbePacket, protocol: number, bytes: number): Uint8Array {
  const header = new Uint8Array(40);
  const view = new DataView(header.buffer);
  view.setUint8(0, 0x60);
  view.setUint16(4, bytes);
  view.setUint8(6, protocol);
  view.setUint8(7, HOP_LIMIT);
  header.set(probe.source, 8);
  header.set(probe.destination, 24);
  return header;
}

/** Both families alike: the mapping prefix of an IPv4 address is zero in one's complement arithmetic. */
function pseudoSum(source: Uint8Array, destination: Uint8Array, protocol: number, bytes: number): number {
  return sumOf(source) + sumOf(destination) + protocol + bytes;
}

function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return sum;
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}
