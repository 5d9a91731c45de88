// Values of IPv4 and IPv6 addresses and of CIDR blocks: parse strictly (RFC 4291 2.2), format canonically (RFC 5952), compare, contain.
// Parsing answers undefined for anything but one address: no zone ids, no leading zeros in IPv4, no IPv4-mapped IPv6,
// because the tables hold IPv4 as ::ffff:a.b.c.d and two spellings of one address would be two keys.

export interface IpAddress {
  readonly family: 4 | 6;
  /** 32 or 128 bits, most significant first. */
  readonly value: bigint;
}

export interface Cidr {
  readonly family: 4 | 6;
  /** The lowest address of the block. */
  readonly base: bigint;
  readonly prefix: number;
}

const V4_IN_V6 = 0xffffn << 32n;
const WIDTH = { 4: 32, 6: 128 } as const;
const DECIMAL_OCTET = /^(?:0|[1-9][0-9]{0,2})$/;
const HEX_GROUP = /^[0-9a-fA-F]{1,4}$/;
const TEXT_CHARS_MAX = 45;

export function parseAddress(text: string): IpAddress | undefined {
  if (text.length > TEXT_CHARS_MAX) return undefined;
  if (text.includes(':')) {
    const value = parseV6(text);
    return value === undefined || value >> 32n === 0xffffn ? undefined : { family: 6, value };
  }
  const value = parseV4(text);
  return value === undefined ? undefined : { family: 4, value };
}

/** For text that was checked at the edge already: throws on anything else. */
export function address(text: string): IpAddress {
  const parsed = parseAddress(text);
  if (!parsed) throw new TypeError(`not an IP address: ${JSON.stringify(text)}`);
  return parsed;
}

export function isAddress(text: string): boolean {
  return parseAddress(text) !== undefined;
}

export function formatAddress(value: IpAddress): string {
  return value.family === 4 ? formatV4(value.value) : formatV6(value.value);
}

/** The one spelling of an address that the store, images and comparisons use; undefined when it is not an address. */
export function canonicalAddress(text: string): string | undefined {
  const parsed = parseAddress(text);
  return parsed && formatAddress(parsed);
}

/** IPv4 before IPv6, then by number. */
export function compareAddresses(a: IpAddress, b: IpAddress): number {
  if (a.family !== b.family) return a.family - b.family;
  return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
}

/** 16 bytes in network order; IPv4 as ::ffff:a.b.c.d, as in every table of the packet core. */
export function toBytes16(value: IpAddress, into: Uint8Array = new Uint8Array(16), offset = 0): Uint8Array {
  let rest = value.family === 4 ? V4_IN_V6 | value.value : value.value;
  for (let index = 15; index >= 0; index--) {
    into[offset + index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return into;
}

export function fromBytes16(bytes: Uint8Array, offset = 0): IpAddress {
  let value = 0n;
  for (let index = 0; index < 16; index++) value = (value << 8n) | BigInt(bytes[offset + index] ?? 0);
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffff_ffffn } : { family: 6, value };
}

/** The address `count` further on; the caller keeps it inside its block. */
export function addToAddress(from: IpAddress, count: bigint | number): IpAddress {
  return { family: from.family, value: from.value + BigInt(count) };
}

/** A block `address/prefix`; bits beyond the prefix must be zero. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const parsed = parseAddress(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (!parsed || !DECIMAL_OCTET.test(digits)) return undefined;
  const prefix = Number(digits);
  const width = WIDTH[parsed.family];
  if (prefix > width) return undefined;
  const hostBits = BigInt(width - prefix);
  if ((parsed.value >> hostBits) << hostBits !== parsed.value) return undefined;
  return { family: parsed.family, base: parsed.value, prefix };
}

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed) throw new TypeError(`not a CIDR block: ${JSON.stringify(text)}`);
  return parsed;
}

export function formatCidr(block: Cidr): string {
  return `${formatAddress({ family: block.family, value: block.base })}/${block.prefix}`;
}

/** How many addresses the block holds. */
export function cidrSize(block: Cidr): bigint {
  return 1n << BigInt(WIDTH[block.family] - block.prefix);
}

export function cidrContains(block: Cidr, value: IpAddress): boolean {
  return block.family === value.family && value.value >= block.base && value.value < block.base + cidrSize(block);
}

export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.base < b.base + cidrSize(b) && b.base < a.base + cidrSize(a);
}

function parseV4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!DECIMAL_OCTET.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return value;
}

function parseV6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  // '::' stands for at least one group (RFC 5952 4.2.2 forbids writing a single one so, but reading it is right).
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** Hex groups, the last of which may be a dotted IPv4 address standing for two of them. */
function parseGroups(text: string, mayEndInV4: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (mayEndInV4 && index === parts.length - 1 && part.includes('.')) {
      const v4 = parseV4(part);
      if (v4 === undefined) return undefined;
      groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn));
    } else if (HEX_GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

function formatV4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join('.');
}

/** RFC 5952: lower case, no leading zeros, the longest (first of equals) run of two or more zero groups becomes '::'. */
function formatV6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(112 - 16 * index)) & 0xffffn));
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > bestLength) [bestStart, bestLength] = [start, length];
  }
  const text = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  if (bestStart < 0) return text(groups);
  return `${text(groups.slice(0, bestStart))}::${text(groups.slice(bestStart + bestLength))}`;
}
