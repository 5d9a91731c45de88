// Transport headers: TCP (RFC 9293) with options, UDP (RFC 768), UDP-Lite (RFC 3828), SCTP (RFC 9260).
import { checksumProblem, crc32c, pseudoHeader } from './checksum.ts';
import { type Dissector, type Layer, type Next, hexText } from './layer.ts';
import { SCTP_CHUNKS } from './names.ts';

const TCP_BYTES = 20;

/** Both ports at the start of TCP, UDP and SCTP. */
function ports(layer: Layer): readonly [number, number] {
  return [layer.number('source port', 0, 2), layer.number('destination port', 2, 2)];
}

/** Problem of an Internet checksum over the rest of the packet with the pseudo-header; undefined also where it cannot be known. */
function transportProblem(layer: Layer, next: Next, at: number, protocol: number): string | undefined {
  const bytes = next.end - layer.offset;
  if (!isWhole(layer, next) || next.ip === undefined) return undefined;
  return checksumProblem(layer.slice(0, bytes), at, pseudoHeader(next.ip, protocol, bytes));
}

function isWhole(layer: Layer, next: Next): boolean {
  return !next.isQuoted && next.ip?.isFragment === false && next.end <= layer.frame.length;
}

function checksum(layer: Layer, next: Next, at: number, problem: string | undefined): void {
  const meaning = isWhole(layer, next) ? 'right' : 'not verified: not the whole packet';
  layer.hex('checksum', at, 2, problem === undefined ? { meaning } : { problem });
}

const FLAGS = {
  0x100: 'AE',
  0x80: 'CWR',
  0x40: 'ECE',
  0x20: 'URG',
  0x10: 'ACK',
  0x08: 'PSH',
  0x04: 'RST',
  0x02: 'SYN',
  0x01: 'FIN',
};

export const tcp: Dissector = (layer, next) => {
  // An ICMP error may quote eight bytes only: ports and sequence number.
  if (next.isQuoted && layer.available >= 8 && layer.available < TCP_BYTES) {
    layer.begin('tcp', 'TCP, quoted in part', 8);
    ports(layer);
    layer.number('sequence', 4, 4);
    return undefined;
  }
  if (!layer.begin('tcp', 'TCP', TCP_BYTES)) return undefined;
  ports(layer);
  layer.number('sequence', 4, 4);
  layer.number('acknowledgement', 8, 4);
  const headerBytes = (layer.byte(12) >> 4) * 4;
  layer.field('header bytes', 12, 1, headerBytes, headerBytes < TCP_BYTES ? { problem: 'at least 20' } : {});
  const flags = layer.half(12) & 0x1ff;
  layer.flags('flags', 12, 2, flags, FLAGS);
  if ((flags & 3) === 3) layer.wrong('flags: SYN and FIN together');
  else if ((flags & 6) === 6) layer.wrong('flags: SYN and RST together');
  layer.number('window', 14, 2);
  checksum(layer, next, 16, transportProblem(layer, next, 16, 6));
  layer.number('urgent', 18, 2);
  if (headerBytes < TCP_BYTES || !layer.grow(headerBytes)) return undefined;
  tcpOptions(layer, headerBytes);
  return { ...next, protocol: 'payload', at: layer.offset + headerBytes };
};

const TCP_OPTIONS: Readonly<Record<number, string>> = {
  0: 'end of options',
  1: 'no operation',
  2: 'maximum segment size',
  3: 'window scale',
  4: 'SACK permitted',
  5: 'SACK',
  8: 'timestamps',
  19: 'MD5 signature',
  28: 'user timeout',
  29: 'authentication',
  30: 'multipath TCP',
  34: 'fast open cookie',
  200: 'client address (TOA)',
  253: 'experiment or client address (TOA)',
  254: 'experiment or client address (TOA)',
};

const tcpOptions = (layer: Layer, headerBytes: number): void =>
  layer.options(TCP_BYTES, headerBytes, TCP_OPTIONS, (name, kind, at, bytes) =>
    tcpOption(layer, name, kind, at, bytes),
  );

function tcpOption(layer: Layer, name: string, kind: number, at: number, bytes: number): void {
  if (kind === 2 && bytes === 4) layer.field(name, at, 4, layer.half(at + 2));
  else if (kind === 3 && bytes === 3) {
    const shift = layer.byte(at + 2);
    layer.field(name, at, 3, shift, { meaning: `window × ${2 ** Math.min(14, shift)}` });
  } else if (kind === 4 && bytes === 2) layer.field(name, at, 2, 'yes');
  else if (kind === 5 && bytes % 8 === 2) {
    const blocks = Array.from({ length: (bytes - 2) / 8 }, (_, block) => {
      return `${layer.word(at + 2 + block * 8)}–${layer.word(at + 6 + block * 8)}`;
    });
    layer.field(name, at, bytes, blocks.join(', '));
  } else if (kind === 8 && bytes === 10) {
    layer.field(name, at, 10, `${layer.word(at + 2)}, echo ${layer.word(at + 6)}`);
  } else if ((kind === 200 || kind >= 253) && bytes === 8) {
    const client = `${layer.slice(at + 4, 4).join('.')}:${layer.half(at + 2)}`;
    layer.field(name, at, 8, hexText(layer.slice(at + 2, 6)), { meaning: `as TOA: ${client}` });
  } else layer.raw(name, at, bytes);
}

/** Destination ports of tunnels over UDP → key of a dissector. */
const UDP_TUNNELS: Readonly<Record<number, string>> = { 4789: 'vxlan', 6080: 'gue', 6081: 'geneve' };

export const udp: Dissector = (layer, next) => {
  if (!layer.begin('udp', 'UDP', 8)) return undefined;
  const [, port] = ports(layer);
  const bytes = layer.half(4);
  const room = next.end - layer.offset;
  const wrongLength = bytes < 8 || (bytes > room && !next.isQuoted && next.ip?.isFragment === false);
  layer.number('bytes', 4, 2, wrongLength ? { problem: `between 8 and ${room}` } : {});
  const end = wrongLength ? next.end : Math.min(next.end, layer.offset + bytes);
  if (layer.half(6) === 0 && next.ip !== undefined) {
    const isFine = next.ip.family === 4 || UDP_TUNNELS[port] !== undefined;
    layer.hex('checksum', 6, 2, isFine ? { meaning: 'none' } : { problem: 'UDP over IPv6 must have one (RFC 8200)' });
  } else {
    checksum(layer, next, 6, wrongLength ? undefined : transportProblem(layer, { ...next, end }, 6, 17));
  }
  const tunnel = next.ip?.isFragment === false ? UDP_TUNNELS[port] : undefined;
  const depth = next.depth + (tunnel === undefined ? 0 : 1);
  return { ...next, protocol: tunnel ?? 'payload', at: layer.offset + 8, end, depth };
};

export const udpLite: Dissector = (layer, next) => {
  if (!layer.begin('udp-lite', 'UDP-Lite', 8)) return undefined;
  ports(layer);
  const covered = layer.half(4);
  const wrong = covered !== 0 && (covered < 8 || layer.offset + covered > next.end);
  layer.number('covered bytes', 4, 2, {
    meaning: covered === 0 ? 'all' : undefined,
    problem: wrong ? 'less than the header or more than the packet' : undefined,
  });
  let problem: string | undefined;
  if (isWhole(layer, next) && next.ip !== undefined && !wrong) {
    const bytes = next.end - layer.offset;
    problem = checksumProblem(layer.slice(0, covered === 0 ? bytes : covered), 6, pseudoHeader(next.ip, 136, bytes));
  }
  checksum(layer, next, 6, problem);
  return { ...next, protocol: 'payload', at: layer.offset + 8 };
};

export const sctp: Dissector = (layer, next) => {
  if (!layer.begin('sctp', 'SCTP', 12)) return undefined;
  ports(layer);
  layer.hex('verification tag', 4, 4);
  layer.hex('checksum', 8, 4, sctpChecksum(layer, next));
  for (let at = 12, left = 64; at + 4 <= layer.available && left > 0; left--) {
    const bytes = layer.half(at + 2);
    const meaning = SCTP_CHUNKS[layer.byte(at)];
    if (bytes < 4) {
      layer.field('chunk', at, 4, layer.byte(at), { meaning, problem: `length ${bytes}, at least 4` });
      break;
    }
    layer.field('chunk', at, Math.min(bytes, layer.available - at), layer.byte(at), { meaning });
    at += (bytes + 3) & ~3;
  }
  return { ...next, protocol: 'payload', at: layer.offset + 12 };
};

function sctpChecksum(layer: Layer, next: Next): { meaning: string } | { problem: string } {
  if (!isWhole(layer, next)) return { meaning: 'not verified: not the whole packet' };
  const bytes = layer.slice(0, next.end - layer.offset).slice();
  const found = new DataView(bytes.buffer).getUint32(8, true);
  bytes.fill(0, 8, 12);
  const right = crc32c(bytes);
  if (found === right) return { meaning: 'right' };
  const swapped = new DataView(new ArrayBuffer(4));
  swapped.setUint32(0, right, true);
  return { problem: `should be 0x${swapped.getUint32(0).toString(16).padStart(8, '0')}` };
}
