// ICMPv4 (RFC 792, RFC 1191) and ICMPv6 (RFC 4443) with Neighbour Discovery (RFC 4861). Errors lead on to the packet that they quote.
import { checksumProblem, pseudoHeader } from './checksum.ts';
import type { Dissector, Layer, Next } from './layer.ts';
import { ICMPV6_TYPES, ICMPV6_UNREACHABLE, ICMP_TYPES, ICMP_UNREACHABLE } from './names.ts';

const ERRORS4: readonly number[] = [3, 4, 5, 11, 12];

function checksum(layer: Layer, next: Next, start: number): void {
  const bytes = next.end - layer.offset;
  const isWhole = !next.isQuoted && next.ip?.isFragment === false && next.end <= layer.frame.length;
  const problem = isWhole ? checksumProblem(layer.slice(0, bytes), 2, start) : undefined;
  const meaning = isWhole ? 'right' : 'not verified: not the whole packet';
  layer.hex('checksum', 2, 2, problem === undefined ? { meaning } : { problem });
}

function quoted(layer: Layer, next: Next, protocol: 'ipv4' | 'ipv6'): Next {
  return { ...next, protocol, at: layer.offset + 8, isQuoted: true, depth: next.depth + 1 };
}

export const icmp: Dissector = (layer, next) => {
  if (!layer.begin('icmp', 'ICMP', 8)) return undefined;
  const type = layer.number('type', 0, 1, { meaning: ICMP_TYPES[layer.byte(0)] });
  const codes = type === 3 ? ICMP_UNREACHABLE[layer.byte(1)] : type === 11 ? ['TTL', 'reassembly'][layer.byte(1)] : '';
  const code = layer.number('code', 1, 1, codes === '' ? {} : { meaning: codes });
  checksum(layer, next, 0);
  if (type === 0 || type === 8) {
    layer.number('identifier', 4, 2);
    layer.number('sequence', 6, 2);
  } else if (type === 3 && code === 4) layer.number('next-hop mtu', 6, 2);
  else if (type === 5) layer.address('gateway', 4, 4);
  else if (type === 12) layer.number('pointer', 4, 1);
  else layer.raw('unused', 4, 4);
  if (ERRORS4.includes(type)) return quoted(layer, next, 'ipv4');
  return { ...next, protocol: 'payload', at: layer.offset + 8 };
};

export const icmpv6: Dissector = (layer, next) => {
  if (!layer.begin('icmpv6', 'ICMPv6', 8)) return undefined;
  const type = layer.number('type', 0, 1, { meaning: ICMPV6_TYPES[layer.byte(0)] });
  layer.number('code', 1, 1, type === 1 ? { meaning: ICMPV6_UNREACHABLE[layer.byte(1)] } : {});
  checksum(layer, next, next.ip === undefined ? 0 : pseudoHeader(next.ip, 58, next.end - layer.offset));
  if (type < 128) {
    if (type === 2) layer.number('mtu', 4, 4);
    else if (type === 4) layer.number('pointer', 4, 4);
    else layer.raw('unused', 4, 4);
    return quoted(layer, next, 'ipv6');
  }
  if (type === 128 || type === 129) {
    layer.number('identifier', 4, 2);
    layer.number('sequence', 6, 2);
    return { ...next, protocol: 'payload', at: layer.offset + 8 };
  }
  if (type >= 133 && type <= 137) return neighbourDiscovery(layer, type);
  layer.raw('unused', 4, 4);
  return { ...next, protocol: 'payload', at: layer.offset + 8 };
};

/** Bytes in front of the options, by type. */
const ND_BYTES: Readonly<Record<number, number>> = { 133: 8, 134: 16, 135: 24, 136: 24, 137: 40 };

function neighbourDiscovery(layer: Layer, type: number): undefined {
  const fixed = ND_BYTES[type] ?? 8;
  if (!layer.grow(fixed)) return undefined;
  if (type === 136) layer.flags('flags', 4, 1, layer.byte(4), { 0x80: 'router', 0x40: 'solicited', 0x20: 'override' });
  if (type === 134) {
    layer.number('hop limit', 4, 1);
    layer.number('lifetime', 6, 2, { meaning: 'seconds' });
  }
  if (type >= 135) layer.address('target', 8, 16);
  if (type === 137) layer.address('destination', 24, 16);
  let at = fixed;
  while (at + 8 <= layer.available) {
    const bytes = layer.byte(at + 1) * 8;
    if (bytes === 0 || at + bytes > layer.available) {
      layer.raw('option', at, layer.available - at, { problem: 'an option of no length, or longer than the packet' });
      at = layer.available;
      break;
    }
    ndOption(layer, at, bytes);
    at += bytes;
  }
  layer.grow(at);
  return undefined;
}

function ndOption(layer: Layer, at: number, bytes: number): void {
  const kind = layer.byte(at);
  if (kind === 1 || kind === 2) layer.mac(kind === 1 ? 'source link address' : 'target link address', at + 2);
  else if (kind === 5) layer.field('mtu', at, bytes, layer.word(at + 4));
  else if (kind === 3 && bytes === 32) {
    const prefix = layer.byte(at + 2);
    layer.address('prefix', at + 16, 16, { meaning: `/${prefix}` });
  } else layer.raw(`option ${kind}`, at, bytes);
}
