// Tunnel headers: GRE (RFC 2784, RFC 2890), VXLAN (RFC 7348), Geneve (RFC 8926), GUE (draft-ietf-intarea-gue).
import { checksumProblem } from './checksum.ts';
import type { Dissector, Next } from './layer.ts';
import { ETHER_TYPES, IP_PROTOCOLS, NETWORK_PROTOCOLS, TRANSPORT_PROTOCOLS } from './names.ts';

const CHECKSUM = 0x8000;
const ROUTING = 0x4000;
const KEY = 0x2000;
const SEQUENCE = 0x1000;

/** What is inside begins anew: no pseudo-header reaches through a tunnel. */
function inside(next: Next, protocol: string | undefined, at: number): Next {
  const { ip: _outer, ...rest } = next;
  return { ...rest, protocol: protocol ?? 'payload', at, depth: next.depth + 1 };
}

export const gre: Dissector = (layer, next) => {
  if (!layer.begin('gre', 'GRE', 4)) return undefined;
  const word = layer.half(0);
  layer.flags('flags', 0, 2, word & 0xf000, {
    0x8000: 'checksum',
    0x4000: 'routing',
    0x2000: 'key',
    0x1000: 'sequence',
  });
  const version = word & 7;
  layer.field('version', 1, 1, version, version === 0 ? {} : { problem: 'only version 0 is known' });
  const type = layer.hex('protocol', 2, 2, { meaning: ETHER_TYPES[layer.half(2)] });
  if (word & ROUTING) layer.wrong('flags: routing is obsolete (RFC 2784)');
  if (version !== 0 || word & ROUTING) return undefined;
  const bytes = 4 + (word & CHECKSUM ? 4 : 0) + (word & KEY ? 4 : 0) + (word & SEQUENCE ? 4 : 0);
  if (!layer.grow(bytes)) return undefined;
  let at = 4;
  if (word & CHECKSUM) {
    const isWhole = !next.isQuoted && next.ip?.isFragment === false && next.end <= layer.frame.length;
    const problem = isWhole ? checksumProblem(layer.slice(0, next.end - layer.offset), 4) : undefined;
    layer.hex('checksum', at, 2, problem === undefined ? { meaning: isWhole ? 'right' : 'not verified' } : { problem });
    at += 4;
  }
  if (word & KEY) {
    layer.number('key', at, 4, { meaning: 'VPC id, in tunnels of the balancer' });
    at += 4;
  }
  if (word & SEQUENCE) layer.number('sequence', at, 4);
  return inside(next, NETWORK_PROTOCOLS[type], layer.offset + bytes);
};

export const vxlan: Dissector = (layer, next) => {
  if (!layer.begin('vxlan', 'VXLAN', 8)) return undefined;
  layer.flags('flags', 0, 1, layer.byte(0), { 0x08: 'VNI' });
  if ((layer.byte(0) & 0x08) === 0) layer.wrong('flags: no VNI');
  layer.field('vni', 4, 3, layer.word(4) >>> 8);
  return inside(next, 'ethernet', layer.offset + 8);
};

export const geneve: Dissector = (layer, next) => {
  if (!layer.begin('geneve', 'Geneve', 8)) return undefined;
  const version = layer.byte(0) >> 6;
  layer.field('version', 0, 1, version, version === 0 ? {} : { problem: 'only version 0 is known' });
  const options = (layer.byte(0) & 63) * 4;
  layer.field('option bytes', 0, 1, options);
  layer.flags('flags', 1, 1, layer.byte(1) & 0xc0, { 0x80: 'control', 0x40: 'critical options' });
  const type = layer.hex('protocol', 2, 2, { meaning: ETHER_TYPES[layer.half(2)] });
  layer.field('vni', 4, 3, layer.word(4) >>> 8);
  if (version !== 0 || !layer.grow(8 + options)) return undefined;
  layer.raw('options', 8, options);
  return inside(next, NETWORK_PROTOCOLS[type], layer.offset + 8 + options);
};

export const gue: Dissector = (layer, next) => {
  if (!layer.begin('gue', 'GUE', 4)) return undefined;
  const version = layer.byte(0) >> 6;
  // Variant 1 has no header of its own: the first nibble is that of IP.
  if (version === 1) {
    layer.begin('gue', 'GUE, IP directly', 0);
    return inside(next, 'ip', layer.offset);
  }
  layer.field('variant', 0, 1, version, version === 0 ? {} : { problem: 'only variants 0 and 1 are known' });
  const bytes = 4 + (layer.byte(0) & 31) * 4;
  layer.field('control', 0, 1, (layer.byte(0) >> 5) & 1);
  layer.field('header bytes', 0, 1, bytes);
  const protocol = layer.number('protocol', 1, 1, { meaning: IP_PROTOCOLS[layer.byte(1)] });
  layer.hex('flags', 2, 2);
  if (version !== 0 || !layer.grow(bytes) || (layer.byte(0) & 0x20) !== 0) return undefined;
  layer.raw('fields', 4, bytes - 4);
  return inside(next, TRANSPORT_PROTOCOLS[protocol], layer.offset + bytes);
};
