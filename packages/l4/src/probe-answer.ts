// Reads what came back to the probe address of a director (data-plane.md P24): any bytes go in, an answer or null comes out.
// The probes themselves are made by the core (RFC 791, 8200, 9293, 768, 792, 4443).

export const TcpFlag = { Fin: 1, Syn: 2, Rst: 4, Ack: 16 } as const;
const Protocol = { Icmp: 1, Tcp: 6, Udp: 17, Icmp6: 58 } as const;

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
