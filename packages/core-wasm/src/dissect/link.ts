// Link headers: Ethernet II and 802.3, 802.1Q and QinQ (IEEE 802.1Q), ARP (RFC 826), and the cooked headers that Linux captures have.
import type { Dissector, Layer, Next } from './layer.ts';
import { ETHER_TYPES, NETWORK_PROTOCOLS } from './names.ts';

/** Below, the field is the length of an 802.3 frame. */
const ETHER_TYPE_MIN = 0x600;

function behind(layer: Layer, next: Next, bytes: number, etherType: number): Next {
  const protocol = NETWORK_PROTOCOLS[etherType] ?? 'payload';
  return { ...next, protocol, at: layer.offset + bytes };
}

export const ethernet: Dissector = (layer, next) => {
  if (!layer.begin('ethernet', 'Ethernet', 14)) return undefined;
  layer.mac('destination', 0);
  layer.mac('source', 6, (layer.byte(6) & 1) === 1 ? { problem: 'a source is no group' } : {});
  const type = layer.half(12);
  if (type < ETHER_TYPE_MIN) {
    layer.number('length', 12, 2, { meaning: 'IEEE 802.3' });
    return { ...next, protocol: 'payload', at: layer.offset + 14 };
  }
  layer.hex('type', 12, 2, { meaning: ETHER_TYPES[type] });
  return behind(layer, next, 14, type);
};

export const vlan: Dissector = (layer, next) => {
  if (!layer.begin('vlan', '802.1Q tag', 4)) return undefined;
  const tag = layer.half(0);
  layer.field('priority', 0, 1, tag >> 13);
  layer.field('drop eligible', 0, 1, (tag >> 12) & 1);
  layer.field('vlan', 0, 2, tag & 0xfff, (tag & 0xfff) === 0xfff ? { problem: '4095 is reserved' } : {});
  const type = layer.hex('type', 2, 2, { meaning: ETHER_TYPES[layer.half(2)] });
  return behind(layer, next, 4, type);
};

export const arp: Dissector = (layer) => {
  if (!layer.begin('arp', 'ARP', 28)) return undefined;
  layer.number('hardware', 0, 2, layer.half(0) === 1 ? { meaning: 'Ethernet' } : { problem: 'only Ethernet is known' });
  layer.hex('protocol', 2, 2, layer.half(2) === 0x800 ? { meaning: 'IPv4' } : { problem: 'only IPv4 is known' });
  layer.number('hardware bytes', 4, 1, layer.byte(4) === 6 ? {} : { problem: 'must be 6' });
  layer.number('protocol bytes', 5, 1, layer.byte(5) === 4 ? {} : { problem: 'must be 4' });
  const operations: Readonly<Record<number, string>> = { 1: 'request', 2: 'reply' };
  layer.number('operation', 6, 2, { meaning: operations[layer.half(6)] });
  layer.mac('sender', 8);
  layer.address('sender address', 14, 4);
  layer.mac('target', 18);
  layer.address('target address', 24, 4);
  return undefined;
};

/** LINKTYPE_LINUX_SLL: what "any" captures have in place of Ethernet. */
export const sll: Dissector = (layer, next) => {
  if (!layer.begin('sll', 'Linux cooked capture', 16)) return undefined;
  packetType(layer, 0, layer.half(0), 2);
  layer.number('hardware', 2, 2);
  layer.raw('address', 6, Math.min(8, layer.half(4)));
  const type = layer.hex('type', 14, 2, { meaning: ETHER_TYPES[layer.half(14)] });
  return behind(layer, next, 16, type);
};

/** LINKTYPE_LINUX_SLL2. */
export const sll2: Dissector = (layer, next) => {
  if (!layer.begin('sll2', 'Linux cooked capture v2', 20)) return undefined;
  const type = layer.hex('type', 0, 2, { meaning: ETHER_TYPES[layer.half(0)] });
  layer.number('interface', 4, 4);
  layer.number('hardware', 8, 2);
  packetType(layer, 10, layer.byte(10), 1);
  layer.raw('address', 12, Math.min(8, layer.byte(11)));
  return behind(layer, next, 20, type);
};

function packetType(layer: Layer, at: number, value: number, bytes: number): void {
  const meaning = ['to us', 'broadcast', 'multicast', 'to somebody else', 'from us'][value];
  layer.field('packet type', at, bytes, value, { meaning });
}

/** LINKTYPE_NULL: the address family of the capturing host, in its byte order. */
export const loopback: Dissector = (layer, next) => {
  if (!layer.begin('null', 'Loopback', 4)) return undefined;
  const value = layer.byte(0) === 0 ? layer.byte(3) : layer.byte(0);
  layer.field('family', 0, 4, value, { meaning: value === 2 ? 'IPv4' : 'IPv6' });
  return { ...next, protocol: 'ip', at: layer.offset + 4 };
};
