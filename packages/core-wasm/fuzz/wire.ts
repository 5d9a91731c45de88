// Reads, judges and repairs packets for the fuzzer, straight from the RFCs and independent of assembly/: IPv4 (791), IPv6 (8200), TCP
// (9293), UDP (768), SCTP (9260), ICMP (792, 4443), GRE (2784, 2890). Layers lie in flat arrays, because this runs for millions of packets.

export const LAYERS_MAX = 4;

/** The IP layers of a frame, from the outside in; filled by `read`. */
export class Layers {
  count = 0;
  readonly family = new Uint8Array(LAYERS_MAX);
  /** Offset of the IP header. */
  readonly l3 = new Uint16Array(LAYERS_MAX);
  /** Offset behind it and its extension headers. */
  readonly l4 = new Uint16Array(LAYERS_MAX);
  /** End by the length in the header. */
  readonly end = new Uint16Array(LAYERS_MAX);
  readonly protocol = new Uint8Array(LAYERS_MAX);
  /** 0 whole, 1 first fragment, 2 later fragment. */
  readonly fragment = new Uint8Array(LAYERS_MAX);
  /** Offset of a GRE header between this layer and the next, or 0. */
  readonly gre = new Uint16Array(LAYERS_MAX);
  /** Not 0: a length or version is impossible, so nothing is said about the packet. */
  odd = 0;

  /** `start` is the offset of the first IP header. */
  read(bytes: Uint8Array, start: number, length: number): this {
    this.count = 0;
    this.odd = 0;
    let at = start;
    let limit = length;
    while (this.count < LAYERS_MAX) {
      const layer = this.count;
      if (!this.header(bytes, layer, at, limit)) break;
      this.count++;
      if (this.fragment[layer] !== 0) break;
      const inside = this.inside(bytes, layer);
      if (inside === 0) break;
      at = inside;
      limit = this.end[layer] as number;
    }
    if (this.count === 0) this.odd = 1;
    return this;
  }

  private header(bytes: Uint8Array, layer: number, at: number, limit: number): boolean {
    const version = at < limit ? (bytes[at] as number) >> 4 : 0;
    this.gre[layer] = 0;
    this.fragment[layer] = 0;
    this.l3[layer] = at;
    this.family[layer] = version;
    if (version === 4 && at + 20 <= limit) return this.header4(bytes, layer, at, limit);
    if (version === 6 && at + 40 <= limit) return this.header6(bytes, layer, at, limit);
    this.odd = 1;
    return false;
  }

  private header4(bytes: Uint8Array, layer: number, at: number, limit: number): boolean {
    const header = ((bytes[at] as number) & 15) * 4;
    const total = word(bytes, at + 2);
    if (header < 20 || total < header || at + total > limit) {
      this.odd = 1;
      return false;
    }
    const offset = word(bytes, at + 6);
    this.fragment[layer] = (offset & 0x1fff) !== 0 ? 2 : (offset & 0x2000) !== 0 ? 1 : 0;
    this.l4[layer] = at + header;
    this.end[layer] = at + total;
    this.protocol[layer] = bytes[at + 9] as number;
    return true;
  }

  private header6(bytes: Uint8Array, layer: number, at: number, limit: number): boolean {
    const end = at + 40 + word(bytes, at + 4);
    let next = bytes[at + 6] as number;
    let from = at + 40;
    if (end > limit) this.odd = 1;
    while (isExtension(next)) {
      if (end > limit) break;
      const size = next === 44 ? 8 : next === 51 ? ((bytes[from + 1] ?? 0) + 2) * 4 : ((bytes[from + 1] ?? 0) + 1) * 8;
      if (from + size > end) {
        this.odd = 1;
        break;
      }
      if (next === 44) {
        const field = word(bytes, from + 2);
        this.fragment[layer] = (field & 0xfff8) !== 0 ? 2 : (field & 1) !== 0 ? 1 : 0;
      }
      // The final destination stands elsewhere while a routing header has segments left, so the checksum cannot be judged.
      if (next === 43 && (bytes[from + 3] ?? 0) !== 0) this.odd = 1;
      next = bytes[from] as number;
      from += size;
      if (this.fragment[layer] === 2) break;
    }
    this.l4[layer] = from;
    this.end[layer] = Math.min(end, limit);
    this.protocol[layer] = next;
    return this.odd === 0;
  }

  /** Offset of the packet inside a tunnel, or 0. */
  private inside(bytes: Uint8Array, layer: number): number {
    const at = this.l4[layer] as number;
    const protocol = this.protocol[layer];
    const end = this.end[layer] as number;
    if (protocol === 4 || protocol === 41) return at < end ? at : 0;
    if (protocol !== 47 || at + 4 > end) return 0;
    const flags = word(bytes, at);
    // RFC 2784: bits 1 and 4 to 5 and the version must be zero, bits 6 to 12 are ignored.
    const type = word(bytes, at + 2);
    this.gre[layer] = at;
    if ((flags & 0x4c07) !== 0 || (type !== 0x0800 && type !== 0x86dd)) return 0;
    const size = 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
    return at + size < end ? at + size : 0;
  }

  /** GRE key of a layer, or 0. */
  key(bytes: Uint8Array, layer: number): number {
    const at = this.gre[layer] as number;
    if (at === 0 || (word(bytes, at) & 0x2000) === 0) return 0;
    const from = at + 4 + (word(bytes, at) & 0x8000 ? 4 : 0);
    return ((word(bytes, from) << 16) | word(bytes, from + 2)) >>> 0;
  }
}

/** Offset of the IP header of an Ethernet frame behind at most one tag, or 0 when there is none. */
export function ipOffset(bytes: Uint8Array, length: number): number {
  if (length < 34) return 0;
  let type = word(bytes, 12);
  let at = 14;
  if (type === 0x8100) {
    type = word(bytes, 16);
    at = 18;
  }
  if (type === 0x0800 && (bytes[at] as number) >> 4 === 4) return at;
  if (type === 0x86dd && (bytes[at] as number) >> 4 === 6) return at;
  return 0;
}

/** Hop-by-hop, routing, fragment, authentication, destination options. */
const isExtension = (next: number): boolean => next === 0 || next === 43 || next === 44 || next === 51 || next === 60;

export function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
export function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

/** One's complement sum (RFC 1071), folded, not inverted. */
function sum(bytes: Uint8Array, from: number, to: number, start = 0): number {
  let total = start;
  let at = from;
  for (; at + 1 < to; at += 2) total += ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  if (at < to) total += (bytes[at] as number) << 8;
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

/** What is wrong with the checksums of a packet that `layers` has read; undefined when all are right. 'odd' when it cannot be judged. */
export function fault(bytes: Uint8Array, layers: Layers): string | undefined {
  if (layers.odd !== 0) return 'odd';
  for (let layer = 0; layer < layers.count; layer++) {
    const l3 = layers.l3[layer] as number;
    if (layers.family[layer] === 4 && sum(bytes, l3, layers.l4[layer] as number) !== 0xffff)
      return `IPv4 header of layer ${layer}`;
    const gre = layers.gre[layer] as number;
    if (gre !== 0 && word(bytes, gre) & 0x8000 && sum(bytes, gre, layers.end[layer] as number) !== 0xffff)
      return `GRE of layer ${layer}`;
    if (layers.fragment[layer] !== 0) continue;
    const wrong = transportFault(bytes, layers, layer);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function transportFault(bytes: Uint8Array, layers: Layers, layer: number): string | undefined {
  const at = layers.l4[layer] as number;
  const end = layers.end[layer] as number;
  const protocol = layers.protocol[layer] as number;
  if (protocol === 6) {
    if (at + 20 > end) return 'odd';
    return sum(bytes, at, end, pseudo(bytes, layers, layer)) === 0xffff ? undefined : `TCP of layer ${layer}`;
  }
  if (protocol === 17) {
    if (at + 8 > end || word(bytes, at + 4) !== end - at) return 'odd';
    if (word(bytes, at + 6) === 0) return layers.family[layer] === 4 ? undefined : `UDP zero of layer ${layer}`;
    return sum(bytes, at, end, pseudo(bytes, layers, layer)) === 0xffff ? undefined : `UDP of layer ${layer}`;
  }
  if (protocol === 1)
    return at + 8 > end ? 'odd' : sum(bytes, at, end) === 0xffff ? undefined : `ICMP of layer ${layer}`;
  if (protocol === 58) {
    if (at + 8 > end) return 'odd';
    return sum(bytes, at, end, pseudo(bytes, layers, layer)) === 0xffff ? undefined : `ICMPv6 of layer ${layer}`;
  }
  if (protocol === 132) {
    if (at + 12 > end) return 'odd';
    return crc32c(bytes, at, end) === littleEndian(bytes, at + 8) ? undefined : `SCTP of layer ${layer}`;
  }
  return undefined;
}

function pseudo(bytes: Uint8Array, layers: Layers, layer: number): number {
  const l3 = layers.l3[layer] as number;
  const size = (layers.end[layer] as number) - (layers.l4[layer] as number);
  const start = size + (layers.protocol[layer] as number);
  return layers.family[layer] === 4 ? sum(bytes, l3 + 12, l3 + 20, start) : sum(bytes, l3 + 8, l3 + 40, start);
}

/** Makes every checksum true again, from the inside out. */
export function repair(bytes: Uint8Array, layers: Layers): void {
  for (let layer = layers.count - 1; layer >= 0; layer--) {
    repairTransport(bytes, layers, layer);
    const gre = layers.gre[layer] as number;
    const end = layers.end[layer] as number;
    if (gre !== 0 && word(bytes, gre) & 0x8000) checksum(bytes, gre + 4, gre, end, 0);
    if (layers.family[layer] !== 4) continue;
    const l3 = layers.l3[layer] as number;
    checksum(bytes, l3 + 10, l3, layers.l4[layer] as number, 0);
  }
}

function repairTransport(bytes: Uint8Array, layers: Layers, layer: number): void {
  if (layers.fragment[layer] !== 0) return;
  const at = layers.l4[layer] as number;
  const end = layers.end[layer] as number;
  const protocol = layers.protocol[layer];
  if (protocol === 6 && at + 20 <= end) checksum(bytes, at + 16, at, end, pseudo(bytes, layers, layer));
  else if (protocol === 17 && at + 8 <= end) {
    setWord(bytes, at + 4, end - at);
    checksum(bytes, at + 6, at, end, pseudo(bytes, layers, layer));
    if (word(bytes, at + 6) === 0) setWord(bytes, at + 6, 0xffff);
  } else if (protocol === 1 && at + 8 <= end) checksum(bytes, at + 2, at, end, 0);
  else if (protocol === 58 && at + 8 <= end) checksum(bytes, at + 2, at, end, pseudo(bytes, layers, layer));
  else if (protocol === 132 && at + 12 <= end) {
    const crc = crc32c(bytes, at, end);
    for (let index = 0; index < 4; index++) bytes[at + 8 + index] = crc >>> (8 * index);
  }
}

function checksum(bytes: Uint8Array, field: number, from: number, to: number, start: number): void {
  setWord(bytes, field, 0);
  setWord(bytes, field, ~sum(bytes, from, to, start) & 0xffff);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC32c of an SCTP packet whose checksum field counts as zero (RFC 9260, appendix A). */
function crc32c(bytes: Uint8Array, from: number, to: number): number {
  let crc = 0xffffffff;
  for (let at = from; at < to; at++) {
    const byte = at >= from + 8 && at < from + 12 ? 0 : (bytes[at] as number);
    crc = (CRC_TABLE[(crc ^ byte) & 255] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

function littleEndian(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

/** Text of the address at an offset, for keys of the oracle: hex, both families. */
export function addressKey(bytes: Uint8Array, layers: Layers, layer: number, which: 'source' | 'destination'): string {
  const l3 = layers.l3[layer] as number;
  const isV4 = layers.family[layer] === 4;
  const size = isV4 ? 4 : 16;
  const at = l3 + (isV4 ? 12 : 8) + (which === 'source' ? 0 : size);
  let text = '';
  for (let index = 0; index < size; index++) text += ((bytes[at + index] as number) + 256).toString(16).slice(1);
  return text;
}
