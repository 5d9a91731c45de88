// IPv4 (RFC 791) with options, IPv6 (RFC 8200) and its extension headers, authentication header (RFC 4302).
import { checksumProblem } from './checksum.ts';
import type { Dissector, IpContext, Layer, Next } from './layer.ts';
import { ECN, EXTENSIONS, IP_PROTOCOLS, TRANSPORT_PROTOCOLS } from './names.ts';

const IPV4_BYTES = 20;
const IPV6_BYTES = 40;

/** An IP packet whose version is not known yet: the first nibble tells. */
export const ip: Dissector = (layer, next) => {
  if (layer.available > 0 && layer.byte(0) >> 4 === 6) return ipv6(layer, next);
  return ipv4(layer, next);
};

export const ipv4: Dissector = (layer, next) => {
  if (!layer.begin('ipv4', 'IPv4', IPV4_BYTES)) return undefined;
  const version = layer.byte(0) >> 4;
  const headerBytes = (layer.byte(0) & 15) * 4;
  layer.field('version', 0, 1, version, version === 4 ? {} : { problem: 'must be 4' });
  layer.field('header bytes', 0, 1, headerBytes, headerBytes < IPV4_BYTES ? { problem: 'at least 20' } : {});
  trafficClass(layer, 1, 1, layer.byte(1));
  const total = layer.half(2);
  layer.number('total bytes', 2, 2, { problem: lengthProblem(layer, next, total, headerBytes) });
  layer.hex('identification', 4, 2);
  const fragment = layer.half(6);
  layer.flags('flags', 6, 1, fragment & 0xe000, { 0x8000: 'reserved', 0x4000: 'DF', 0x2000: 'MF' });
  const offset = (fragment & 0x1fff) * 8;
  layer.field('fragment offset', 6, 2, offset);
  layer.number('ttl', 8, 1);
  const protocol = layer.number('protocol', 9, 1, { meaning: IP_PROTOCOLS[layer.byte(9)] });
  if (version !== 4 || headerBytes < IPV4_BYTES || !layer.grow(headerBytes)) return undefined;
  const problem = next.isQuoted ? undefined : checksumProblem(layer.slice(0, headerBytes), 10);
  layer.hex('checksum', 10, 2, problem === undefined ? { meaning: next.isQuoted ? undefined : 'right' } : { problem });
  const source = layer.address('source', 12, 4);
  const destination = layer.address('destination', 16, 4);
  options4(layer, headerBytes);
  const isFragment = offset > 0 || (fragment & 0x2000) !== 0;
  const context = { family: 4, source, destination, isFragment, isFirstFragment: offset === 0 } as const;
  return behind(layer, next, headerBytes, endOf(layer, next, total, headerBytes), protocol, context);
};

function trafficClass(layer: Layer, at: number, bytes: number, value: number): void {
  layer.field('dscp', at, bytes, value >> 2);
  layer.field('ecn', at + bytes - 1, 1, value & 3, { meaning: ECN[value & 3] });
}

function lengthProblem(layer: Layer, next: Next, total: number, headerBytes: number): string | undefined {
  if (total < headerBytes) return 'less than the header';
  return total > layer.available && !next.isQuoted ? `the frame has only ${layer.available}` : undefined;
}

const endOf = (layer: Layer, next: Next, total: number, headerBytes: number): number =>
  next.isQuoted ? Math.min(next.end, layer.offset + total) : layer.offset + Math.max(headerBytes, total);

const OPTIONS4: Readonly<Record<number, string>> = {
  0: 'end of options',
  1: 'no operation',
  7: 'record route',
  68: 'timestamp',
  131: 'loose source route',
  137: 'strict source route',
  148: 'router alert',
};

const options4 = (layer: Layer, headerBytes: number): void =>
  layer.options(IPV4_BYTES, headerBytes, OPTIONS4, (name, kind, at, bytes) =>
    layer.raw(name, at, bytes, kind === 131 || kind === 137 ? { problem: 'source routes are refused' } : {}),
  );

function behind(layer: Layer, next: Next, bytes: number, end: number, protocol: number, ip: IpContext): Next {
  const at = layer.offset + bytes;
  const isLater = ip.isFragment && !ip.isFirstFragment;
  const known = isLater ? 'payload' : (TRANSPORT_PROTOCOLS[protocol] ?? 'payload');
  const isTunnel = protocol === 4 || protocol === 41;
  return { ...next, protocol: known, at, end, ip, depth: next.depth + (isTunnel ? 1 : 0) };
}

export const ipv6: Dissector = (layer, next) => {
  if (!layer.begin('ipv6', 'IPv6', IPV6_BYTES)) return undefined;
  const first = layer.word(0);
  const version = first >>> 28;
  layer.field('version', 0, 1, version, version === 6 ? {} : { problem: 'must be 6' });
  trafficClass(layer, 0, 2, (first >>> 20) & 0xff);
  layer.field('flow label', 1, 3, `0x${(first & 0xfffff).toString(16).padStart(5, '0')}`);
  const payload = layer.half(4);
  layer.number('payload bytes', 4, 2, {
    problem: lengthProblem(layer, next, payload + IPV6_BYTES, IPV6_BYTES),
    meaning: payload === 0 ? 'none, or a jumbogram' : undefined,
  });
  const header = layer.number('next header', 6, 1, { meaning: IP_PROTOCOLS[layer.byte(6)] });
  layer.number('hop limit', 7, 1);
  const source = layer.address('source', 8, 16);
  const destination = layer.address('destination', 24, 16);
  if (version !== 6) return undefined;
  const context = { family: 6, source, destination, isFragment: false, isFirstFragment: true } as const;
  return extensionOr(layer, next, IPV6_BYTES, endOf(layer, next, payload + IPV6_BYTES, IPV6_BYTES), header, context);
};

function extensionOr(layer: Layer, next: Next, bytes: number, end: number, header: number, ip: IpContext): Next {
  const extension = EXTENSIONS[header];
  const isLater = ip.isFragment && !ip.isFirstFragment;
  if (extension === undefined || isLater) return behind(layer, next, bytes, end, header, ip);
  return { ...next, protocol: extension, at: layer.offset + bytes, end, ip };
}

const OPTIONS6: Readonly<Record<number, string>> = {
  0: 'Pad1',
  1: 'PadN',
  4: 'tunnel encapsulation limit',
  5: 'router alert',
  0xc2: 'jumbo payload',
  0xc9: 'home address',
};

/** Hop-by-hop and destination options share one shape (RFC 8200, 4.2). */
function optionsHeader(protocol: string, title: string): Dissector {
  return (layer, next) => {
    if (!layer.begin(protocol, title, 8) || next.ip === undefined) return undefined;
    const header = layer.number('next header', 0, 1, { meaning: IP_PROTOCOLS[layer.byte(0)] });
    const bytes = (layer.byte(1) + 1) * 8;
    layer.field('bytes', 1, 1, bytes);
    if (!layer.grow(bytes)) return undefined;
    for (let at = 2; at < bytes;) {
      const kind = layer.byte(at);
      const name = OPTIONS6[kind] ?? `option ${kind}`;
      const length = kind === 0 ? 1 : at + 1 < bytes ? layer.byte(at + 1) + 2 : bytes;
      if (at + length > bytes) {
        layer.raw(name, at, bytes - at, { problem: 'longer than the header' });
        return undefined;
      }
      layer.raw(name, at, length);
      at += length;
    }
    return extensionOr(layer, next, bytes, next.end, header, next.ip);
  };
}

export const hopByHop = optionsHeader('hop-by-hop', 'Hop-by-hop options');
export const destinationOptions = optionsHeader('destination-options', 'Destination options');

export const routing: Dissector = (layer, next) => {
  if (!layer.begin('routing', 'Routing header', 8) || next.ip === undefined) return undefined;
  const header = layer.number('next header', 0, 1, { meaning: IP_PROTOCOLS[layer.byte(0)] });
  const bytes = (layer.byte(1) + 1) * 8;
  layer.field('bytes', 1, 1, bytes);
  layer.number('type', 2, 1, layer.byte(2) === 0 ? { problem: 'type 0 is forbidden (RFC 5095)' } : {});
  layer.number('segments left', 3, 1);
  if (!layer.grow(bytes)) return undefined;
  layer.raw('data', 4, bytes - 4);
  return extensionOr(layer, next, bytes, next.end, header, next.ip);
};

export const fragment: Dissector = (layer, next) => {
  if (!layer.begin('fragment', 'Fragment header', 8) || next.ip === undefined) return undefined;
  const header = layer.number('next header', 0, 1, { meaning: IP_PROTOCOLS[layer.byte(0)] });
  const word = layer.half(2);
  const hasMore = (word & 1) === 1;
  layer.field('fragment offset', 2, 2, word & 0xfff8);
  layer.field('more fragments', 3, 1, word & 1);
  layer.hex('identification', 4, 4);
  // Offset 0 and no more: a whole packet, an atomic fragment (RFC 6946).
  const isFragment = hasMore || word >= 8;
  const ip = { ...next.ip, isFragment, isFirstFragment: word < 8 };
  return extensionOr(layer, next, 8, next.end, header, ip);
};

export const authentication: Dissector = (layer, next) => {
  if (!layer.begin('ah', 'Authentication header', 12) || next.ip === undefined) return undefined;
  const header = layer.number('next header', 0, 1, { meaning: IP_PROTOCOLS[layer.byte(0)] });
  const bytes = (layer.byte(1) + 2) * 4;
  layer.field('bytes', 1, 1, bytes, bytes < 12 ? { problem: 'at least 12' } : {});
  layer.hex('spi', 4, 4);
  layer.number('sequence', 8, 4);
  if (bytes < 12 || !layer.grow(bytes)) return undefined;
  layer.raw('integrity check', 12, bytes - 12);
  return extensionOr(layer, next, bytes, next.end, header, next.ip);
};
