// Fragments for tests: cut by the letter of RFC 791 and RFC 8200, put together again by other code than the core's, and every packet that
// a burst left behind. What is put together is judged by the test kit's parser.
import { nameOf, reasonEnum, verdictEnum } from '../layout/index.ts';
import { parseIp, sum, type IpLayer } from '../../../tools/testkit/parse.ts';
import { ethernet } from '../../../tools/testkit/build.ts';
import { DIRECTOR_MAC, SWITCH_MAC, type DirectorUnderTest, type Outcome } from './director-fixture.ts';

export interface CutOptions {
  readonly identification?: number;
  /** Where pieces begin, in bytes of the payload; the first is always 0. */
  readonly at: readonly number[];
}

export function refreshIpv4(packet: Buffer): Buffer {
  const header = (packet.readUInt8(0) & 15) * 4;
  packet.writeUInt16BE(0, 10);
  packet.writeUInt16BE(~sum(packet.subarray(0, header)) & 0xffff, 10);
  return packet;
}

/** The same IPv4 packet without DF. */
export function withoutDf(packet: Buffer, identification = 77): Buffer {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(identification, 4);
  copy.writeUInt16BE(0, 6);
  return refreshIpv4(copy);
}

/** One fragment of a packet of either family: `bytes` of its payload from `from` on. */
export function fragmentOf(packet: Buffer, from: number, bytes: number, isLast: boolean, identification = 77): Buffer {
  if (packet.readUInt8(0) >> 4 === 4) {
    const copy = Buffer.concat([packet.subarray(0, 20), packet.subarray(20 + from, 20 + from + bytes)]);
    copy.writeUInt16BE(copy.length, 2);
    copy.writeUInt16BE(identification, 4);
    copy.writeUInt16BE((from >> 3) | (isLast ? 0 : 0x2000), 6);
    return refreshIpv4(copy);
  }
  const header = Buffer.alloc(8);
  header.writeUInt8(packet.readUInt8(6), 0);
  header.writeUInt16BE(from | (isLast ? 0 : 1), 2);
  header.writeUInt32BE(identification, 4);
  const copy = Buffer.concat([packet.subarray(0, 40), header, packet.subarray(40 + from, 40 + from + bytes)]);
  copy.writeUInt8(44, 6);
  copy.writeUInt16BE(copy.length - 40, 4);
  return copy;
}

/** A packet in fragments that begin at the given places. */
export function fragmentsOf(packet: Buffer, at: readonly number[], identification = 77): Buffer[] {
  const header = packet.readUInt8(0) >> 4 === 4 ? 20 : 40;
  return at.map((from, index) => {
    const next = at[index + 1] ?? packet.length - header;
    return fragmentOf(packet, from, next - from, index === at.length - 1, identification);
  });
}

interface Piece {
  readonly from: number;
  readonly data: Buffer;
  readonly isLast: boolean;
  readonly identification: number;
  readonly head: Buffer;
}

function pieceOf(packet: Buffer): Piece {
  if (packet.readUInt8(0) >> 4 === 4) {
    const header = (packet.readUInt8(0) & 15) * 4;
    if (sum(packet.subarray(0, header)) !== 0xffff) throw new Error('a fragment with a wrong header checksum');
    const field = packet.readUInt16BE(6);
    return {
      from: (field & 0x1fff) * 8,
      data: packet.subarray(header, packet.readUInt16BE(2)),
      isLast: (field & 0x2000) === 0,
      identification: packet.readUInt16BE(4),
      head: Buffer.from(packet.subarray(0, 20)),
    };
  }
  if (packet.readUInt8(6) !== 44) throw new Error('no fragment header behind the IPv6 header');
  const field = packet.readUInt16BE(42);
  const head = Buffer.from(packet.subarray(0, 40));
  head.writeUInt8(packet.readUInt8(40), 6);
  return {
    from: field & 0xfff8,
    data: packet.subarray(48, 40 + packet.readUInt16BE(4)),
    isLast: (field & 1) === 0,
    identification: packet.readUInt32BE(44),
    head,
  };
}

/** What a receiver makes of fragments. Throws unless they are one datagram without holes. */
export function reassemble(packets: readonly Buffer[]): IpLayer {
  const pieces = packets.map(pieceOf).sort((a, b) => a.from - b.from);
  const first = pieces[0] as Piece;
  let end = 0;
  for (const piece of pieces) {
    if (piece.from !== end)
      throw new Error(`a hole or an overlap at byte ${end}: the next piece begins at ${piece.from}`);
    if (piece.identification !== first.identification) throw new Error('fragments of two datagrams');
    end += piece.data.length;
  }
  if (pieces.filter((piece) => piece.isLast).length !== 1 || pieces.at(-1)?.isLast !== true)
    throw new Error('the last fragment is missing');
  const whole = Buffer.concat([first.head, ...pieces.map((piece) => piece.data)]);
  if (whole.readUInt8(0) >> 4 === 4) {
    whole.writeUInt8(0x45, 0);
    whole.writeUInt16BE(whole.length, 2);
    whole.writeUInt16BE(0, 6);
    refreshIpv4(whole);
  } else whole.writeUInt16BE(whole.length - 40, 4);
  const parsed = parseIp(whole, whole.readUInt8(0) >> 4 === 4 ? 0x0800 : 0x86dd);
  if (parsed === undefined) throw new Error('what was put together is no IP packet');
  return parsed;
}

/** Every packet of the burst that a list of IP packets makes, added ones at the end. */
export function burstOf(under: DirectorUnderTest, packets: readonly Buffer[], nowMs = 1000): Outcome[] {
  const { core } = under;
  core.inject(
    packets.map((packet) => ethernet(SWITCH_MAC, DIRECTOR_MAC, packet)),
    0,
  );
  const count = core.forwardBurst(packets.length, nowMs);
  return Array.from({ length: count }, (_, index) => ({
    verdict: nameOf(verdictEnum, core.verdict(index)),
    reason: nameOf(reasonEnum, core.reason(index)),
    frame: Buffer.from(core.frame(index)),
  }));
}

/** The packets inside GRE with key over IPv4 (28 bytes) or IPv6 (48), of those that are forwarded; their outer headers are checked. */
export function innerPackets(outcomes: readonly Outcome[]): Buffer[] {
  return outcomes
    .filter(({ verdict }) => verdict === 'Forward')
    .map(({ frame }) => {
      const outer = parseIp(frame.subarray(14), frame.readUInt16BE(12));
      if (outer?.gre?.key === undefined || !outer.isChecksumValid) throw new Error('no GRE packet with a key');
      if (outer.version === 4 && !outer.dontFragment) throw new Error('an outer packet without DF');
      return frame.subarray(14 + (outer.version === 4 ? 28 : 48));
    });
}

export const plainPackets = (outcomes: readonly Outcome[]): Buffer[] =>
  outcomes.filter(({ verdict }) => verdict === 'Forward').map(({ frame }) => frame.subarray(14));
