// Reads a frame layer by layer, straight from the RFCs and independent of packages/core-wasm, so that it can judge it.
// Ethernet, 802.1Q, IPv4 (RFC 791), IPv6 (RFC 8200), TCP (9293), UDP (768), ICMP (792, 4443), GRE with key (2890), IPIP (2003).

export interface IpLayer {
  version: 4 | 6;
  source: string;
  destination: string;
  protocol: number;
  ttl: number;
  dontFragment: boolean;
  identification: number;
  /** Bytes of header and payload as the header states them. */
  totalLength: number;
  /** The first of several fragments: its transport checksum covers the others as well, so nothing is said about it. */
  isFirstFragment?: true;
  /** True when the IPv4 header sums up; IPv6 has none. */
  isChecksumValid: boolean;
  tcp?: TcpLayer;
  udp?: UdpLayer;
  icmp?: { type: number; code: number; isChecksumValid: boolean };
  gre?: { flags: number; protocol: number; key?: number };
  /** What GRE, IPIP or IPv6-in-IPv4 carries. */
  inner?: IpLayer;
}

export interface TcpLayer {
  sourcePort: number;
  destinationPort: number;
  flags: string;
  mss?: number;
  payload: Buffer;
  isChecksumValid: boolean;
}

export interface UdpLayer {
  sourcePort: number;
  destinationPort: number;
  payload: Buffer;
  isChecksumValid: boolean;
}

export interface Frame {
  sourceMac: string;
  destinationMac: string;
  etherType: number;
  vlan?: number;
  ip?: IpLayer;
}

const FLAG_LETTERS = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];
export const Protocol = { icmp: 1, ipip: 4, tcp: 6, udp: 17, ipv6: 41, gre: 47, icmpv6: 58 } as const;

export function parseFrame(bytes: Buffer): Frame {
  let offset = 12;
  let etherType = bytes.readUInt16BE(offset);
  let vlan: number | undefined;
  if (etherType === 0x8100) {
    vlan = bytes.readUInt16BE(14) & 0xfff;
    etherType = bytes.readUInt16BE(16);
    offset = 16;
  }
  const frame: Frame = { destinationMac: macText(bytes, 0), sourceMac: macText(bytes, 6), etherType };
  if (vlan !== undefined) frame.vlan = vlan;
  const ip = parseIp(bytes.subarray(offset + 2), etherType);
  if (ip) frame.ip = ip;
  return frame;
}

export function parseIp(bytes: Buffer, etherType: number): IpLayer | undefined {
  if (etherType === 0x0800 && bytes.length >= 20) return parseIpv4(bytes);
  if (etherType === 0x86dd && bytes.length >= 40) return parseIpv6(bytes);
  return undefined;
}

function parseIpv4(bytes: Buffer): IpLayer {
  const headerBytes = (bytes.readUInt8(0) & 15) * 4;
  const totalLength = bytes.readUInt16BE(2);
  const fragment = bytes.readUInt16BE(6);
  const layer: IpLayer = {
    version: 4,
    source: ipv4Text(bytes, 12),
    destination: ipv4Text(bytes, 16),
    protocol: bytes.readUInt8(9),
    ttl: bytes.readUInt8(8),
    dontFragment: (fragment & 0x4000) !== 0,
    identification: bytes.readUInt16BE(4),
    totalLength,
    isChecksumValid: sum(bytes.subarray(0, headerBytes)) === 0xffff,
  };
  if ((fragment & 0x3fff) === 0x2000) layer.isFirstFragment = true;
  if ((fragment & 0x1fff) === 0) parsePayload(layer, bytes.subarray(headerBytes, totalLength), bytes.subarray(12, 20));
  return layer;
}

function parseIpv6(bytes: Buffer): IpLayer {
  const layer: IpLayer = {
    version: 6,
    source: ipv6Text(bytes, 8),
    destination: ipv6Text(bytes, 24),
    protocol: bytes.readUInt8(6),
    ttl: bytes.readUInt8(7),
    dontFragment: true,
    identification: 0,
    totalLength: 40 + bytes.readUInt16BE(4),
    isChecksumValid: true,
  };
  parsePayload(layer, bytes.subarray(40, layer.totalLength), bytes.subarray(8, 40));
  return layer;
}

function parsePayload(layer: IpLayer, payload: Buffer, addresses: Buffer): void {
  const isWhole = (): boolean =>
    layer.isFirstFragment === true || sum(payload, pseudoSum(addresses, layer.protocol, payload.length)) === 0xffff;
  if (layer.protocol === Protocol.tcp && payload.length >= 20) layer.tcp = parseTcp(payload, isWhole());
  else if (layer.protocol === Protocol.udp && payload.length >= 8) {
    layer.udp = {
      sourcePort: payload.readUInt16BE(0),
      destinationPort: payload.readUInt16BE(2),
      payload: payload.subarray(8),
      isChecksumValid: payload.readUInt16BE(6) === 0 ? layer.version === 4 : isWhole(),
    };
  } else if (layer.protocol === Protocol.icmp && payload.length >= 8) {
    layer.icmp = { type: payload.readUInt8(0), code: payload.readUInt8(1), isChecksumValid: sum(payload) === 0xffff };
  } else if (layer.protocol === Protocol.icmpv6 && payload.length >= 8) {
    layer.icmp = { type: payload.readUInt8(0), code: payload.readUInt8(1), isChecksumValid: isWhole() };
  } else if (layer.protocol === Protocol.gre && payload.length >= 4) parseGre(layer, payload);
  else if (layer.protocol === Protocol.ipip) setInner(layer, parseIp(payload, 0x0800));
  else if (layer.protocol === Protocol.ipv6) setInner(layer, parseIp(payload, 0x86dd));
}

function parseGre(layer: IpLayer, payload: Buffer): void {
  const flags = payload.readUInt16BE(0);
  const protocol = payload.readUInt16BE(2);
  const hasChecksum = (flags & 0x8000) !== 0;
  const hasKey = (flags & 0x2000) !== 0;
  const hasSequence = (flags & 0x1000) !== 0;
  const keyAt = 4 + (hasChecksum ? 4 : 0);
  layer.gre = hasKey ? { flags, protocol, key: payload.readUInt32BE(keyAt) } : { flags, protocol };
  setInner(layer, parseIp(payload.subarray(keyAt + (hasKey ? 4 : 0) + (hasSequence ? 4 : 0)), protocol));
}

function setInner(layer: IpLayer, inner: IpLayer | undefined): void {
  if (inner) layer.inner = inner;
}

function parseTcp(payload: Buffer, isChecksumValid: boolean): TcpLayer {
  const headerBytes = (payload.readUInt8(12) >> 4) * 4;
  const bits = payload.readUInt8(13);
  const mss = mssOf(payload.subarray(20, headerBytes));
  return {
    sourcePort: payload.readUInt16BE(0),
    destinationPort: payload.readUInt16BE(2),
    flags: FLAG_LETTERS.filter((_, index) => bits & (1 << index)).join(''),
    ...(mss === undefined ? {} : { mss }),
    payload: payload.subarray(headerBytes),
    isChecksumValid,
  };
}

function mssOf(options: Buffer): number | undefined {
  for (let at = 0; at < options.length;) {
    const kind = options.readUInt8(at);
    if (kind === 0) return undefined;
    if (kind === 1) {
      at += 1;
      continue;
    }
    if (kind === 2) return options.readUInt16BE(at + 2);
    at += Math.max(2, options[at + 1] ?? 2);
  }
  return undefined;
}

/** One's complement sum (RFC 1071), folded, not inverted. Over a field that carries its own checksum it must be 0xffff. */
export function sum(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let at = 0; at < bytes.length; at += 2) total += ((bytes[at] as number) << 8) | (bytes[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

/** `addresses` holds source then destination, of either family. */
export const pseudoSum = (addresses: Uint8Array, protocol: number, bytes: number): number =>
  sum(addresses) + protocol + bytes;

const macText = (bytes: Buffer, at: number): string =>
  [...bytes.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

const ipv4Text = (bytes: Buffer, at: number): string => [...bytes.subarray(at, at + 4)].join('.');

/** RFC 5952: the first longest run of zero groups becomes `::`. */
export function ipv6Text(bytes: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(at + 2 * index).toString(16));
  let best = { from: -1, count: 1 };
  for (let from = 0; from < 8; from++) {
    let count = 0;
    while (groups[from + count] === '0') count += 1;
    if (count > best.count) best = { from, count };
  }
  if (best.from < 0) return groups.join(':');
  return `${groups.slice(0, best.from).join(':')}::${groups.slice(best.from + best.count).join(':')}`;
}
