// Builds frames for tests in a few words; every checksum is true unless the test breaks it. Independent of packages/core-wasm.
import { isIPv4 } from 'node:net';
import { Protocol, pseudoSum, sum } from './parse.ts';

export interface TcpOptions {
  sourcePort?: number;
  destinationPort?: number;
  /** Letters of F S R P A U E C. */
  flags?: string;
  sequence?: number;
  acknowledgement?: number;
  mss?: number;
  /** TSval of the timestamps option. */
  timestamp?: number;
  payload?: Uint8Array;
}

const FLAG_LETTERS = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];

export function addressBytes(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  const [head = '', tail] = text.split('::');
  const groups = (part: string): number[] =>
    part
      .split(':')
      .filter(Boolean)
      .map((group) => Number.parseInt(group, 16));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 255]));
}

const withChecksum = (bytes: Buffer, at: number, start = 0): Buffer => {
  bytes.writeUInt16BE(~sum(bytes, start) & 0xffff, at);
  return bytes;
};

export function tcp(options: TcpOptions = {}): { protocol: number; bytes: Buffer; checksumAt: number } {
  const mss = options.mss === undefined ? Buffer.alloc(0) : Buffer.from([2, 4, options.mss >> 8, options.mss & 255]);
  const times = Buffer.alloc(options.timestamp === undefined ? 0 : 12, 1);
  if (options.timestamp !== undefined) {
    times.set([8, 10], 2);
    times.writeUInt32BE(options.timestamp, 4);
    times.writeUInt32BE(0, 8);
  }
  const list = Buffer.concat([mss, times]);
  const header = Buffer.alloc(20);
  header.writeUInt16BE(options.sourcePort ?? 40000, 0);
  header.writeUInt16BE(options.destinationPort ?? 80, 2);
  header.writeUInt32BE(options.sequence ?? 1, 4);
  header.writeUInt32BE(options.acknowledgement ?? 0, 8);
  header.writeUInt8(((20 + list.length) / 4) << 4, 12);
  header.writeUInt8(
    [...(options.flags ?? 'S')].reduce((bits, letter) => bits | (1 << FLAG_LETTERS.indexOf(letter)), 0),
    13,
  );
  header.writeUInt16BE(64240, 14);
  return {
    protocol: Protocol.tcp,
    bytes: Buffer.concat([header, list, options.payload ?? Buffer.alloc(0)]),
    checksumAt: 16,
  };
}

export function udp(sourcePort: number, destinationPort: number, payload: Uint8Array): ReturnType<typeof tcp> {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  return { protocol: Protocol.udp, bytes: Buffer.concat([header, payload]), checksumAt: 6 };
}

/** An IP packet of the family of its addresses. */
export function ipPacket(
  source: string,
  destination: string,
  payload: { protocol: number; bytes: Buffer; checksumAt?: number },
  ttl = 64,
): Buffer {
  const addresses = Buffer.concat([addressBytes(source), addressBytes(destination)]);
  const body = Buffer.from(payload.bytes);
  if (payload.checksumAt !== undefined)
    withChecksum(body, payload.checksumAt, pseudoSum(addresses, payload.protocol, body.length));
  if (addresses.length === 32) {
    const header = Buffer.alloc(8);
    header.writeUInt32BE(0x60000000 | tunnelLabel(payload.protocol, body), 0);
    header.writeUInt16BE(body.length, 4);
    header.writeUInt8(payload.protocol, 6);
    header.writeUInt8(ttl, 7);
    return Buffer.concat([header, addresses, body]);
  }
  const header = Buffer.concat([Buffer.alloc(12), addresses]);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(20 + body.length, 2);
  header.writeUInt16BE(0x4000, 6);
  header.writeUInt8(ttl, 8);
  header.writeUInt8(payload.protocol, 9);
  return Buffer.concat([withChecksum(header, 10), body]);
}

/** The flow label that OpenCLB gives a tunnel over IPv6 (RFC 6438); 0 around anything else. Words as the machine reads them, lowest byte first. */
export function tunnelLabel(protocol: number, body: Buffer): number {
  const greBytes = (): number => {
    const flags = body.readUInt16BE(0);
    return 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
  };
  const inner = protocol === Protocol.gre ? body.subarray(greBytes()) : body;
  const isTunnel = [Protocol.gre, Protocol.ipip, Protocol.ipv6 as number].includes(protocol);
  if (!isTunnel || inner.length < 28) return 0;
  const isV6 = inner.readUInt8(0) >> 4 === 6;
  const addresses = isV6 ? inner.subarray(8, 40) : inner.subarray(12, 20);
  let word = 0;
  for (let at = 0; at < addresses.length; at += 4) word ^= addresses.readUInt32LE(at);
  const isPlain = isV6 || (inner.readUInt8(0) === 0x45 && (inner.readUInt16BE(6) & 0x3fff) === 0);
  if (isPlain && [6, 17, 132].includes(inner.readUInt8(isV6 ? 6 : 9))) word ^= inner.readUInt32LE(isV6 ? 40 : 20);
  return Math.imul(word ^ (word >>> 16), 0x9e3779b1) >>> 12;
}

/** GRE with key around an IP packet (RFC 2890). */
export function gre(key: number, inner: Buffer): { protocol: number; bytes: Buffer } {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(0x2000, 0);
  header.writeUInt16BE(inner.readUInt8(0) >> 4 === 6 ? 0x86dd : 0x0800, 2);
  header.writeUInt32BE(key, 4);
  return { protocol: Protocol.gre, bytes: Buffer.concat([header, inner]) };
}

export function ethernet(sourceMac: string, destinationMac: string, packet: Buffer): Buffer {
  const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
  const etherType = Buffer.from(packet.readUInt8(0) >> 4 === 6 ? [0x86, 0xdd] : [0x08, 0x00]);
  return Buffer.concat([mac(destinationMac), mac(sourceMac), etherType, packet]);
}
