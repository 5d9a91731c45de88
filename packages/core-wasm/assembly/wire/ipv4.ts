/** IPv4 (RFC 791); DSCP and ECN are RFC 2474 and RFC 3168. */
import { complement, fold, sumOf, update } from './checksum';

const VERSION_AND_IHL: usize = 0;
const TRAFFIC_CLASS: usize = 1;
const TOTAL_LENGTH: usize = 2;
const IDENTIFICATION: usize = 4;
const FRAGMENT: usize = 6;
const TTL: usize = 8;
const PROTOCOL: usize = 9;
const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;
export const MORE_FRAGMENTS: u32 = 0x2000;
const DONT_FRAGMENT: u32 = 0x4000;
export const OFFSET_MASK: u32 = 0x1fff;
/** The twelve bytes in front of an IPv4 address that is written as an IPv6 one: ::ffff:0:0/96. */
const MAPPED_PREFIX: u32 = 0xffff0000;

export const IPV4_BYTES: u32 = 20;
export const PROTOCOL_ICMP: u32 = 1;
export const PROTOCOL_IPIP: u32 = 4;
export const PROTOCOL_TCP: u32 = 6;
export const PROTOCOL_UDP: u32 = 17;
export const PROTOCOL_IPV6: u32 = 41;
export const PROTOCOL_GRE: u32 = 47;
export const PROTOCOL_ICMPV6: u32 = 58;
export const PROTOCOL_SCTP: u32 = 132;
export const PROTOCOL_UDP_LITE: u32 = 136;

@unmanaged
export class Ipv4 {
  @inline static at(address: usize): Ipv4 { return changetype<Ipv4>(address); }
  /**
   * Must hold before any accessor is used. `bytes` may include Ethernet padding; the header checksum is not looked at.
   */
  @inline isWellFormed(bytes: u32): bool {
    if (bytes < IPV4_BYTES) return false;
    const first = <u32>load<u8>(changetype<usize>(this), VERSION_AND_IHL);
    if (first >> 4 != 4 || (first & 15) < 5) return false;
    return this.totalLength >= this.headerBytes && this.totalLength <= bytes;
  }
  @inline get isChecksumValid(): bool {
    if (load<u8>(changetype<usize>(this), VERSION_AND_IHL) != 0x45) return sumOf(changetype<usize>(this), this.headerBytes) == 0xffff;
    return this.isPlainChecksumValid;
  }
  /** Of a header without options. */
  @inline get isPlainChecksumValid(): bool {
    const at = changetype<usize>(this);
    return fold(<u64>load<u32>(at) + load<u32>(at, 4) + load<u32>(at, 8) + load<u32>(at, 12) + load<u32>(at, 16)) == 0xffff;
  }
  @inline get headerBytes(): u32 { return (<u32>load<u8>(changetype<usize>(this), VERSION_AND_IHL) & 15) << 2; }
  @inline get trafficClass(): u32 { return load<u8>(changetype<usize>(this), TRAFFIC_CLASS); }
  @inline get ecn(): u32 { return this.trafficClass & 3; }
  @inline get totalLength(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), TOTAL_LENGTH)); }
  @inline get identification(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), IDENTIFICATION)); }
  @inline get fragmentField(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), FRAGMENT)); }
  @inline get fragmentOffset(): u32 { return (this.fragmentField & OFFSET_MASK) << 3; }
  @inline get isFragment(): bool { return (this.fragmentField & (MORE_FRAGMENTS | OFFSET_MASK)) != 0; }
  @inline get isFirstFragment(): bool { return this.isFragment && this.fragmentOffset == 0; }
  @inline get dontFragment(): bool { return (this.fragmentField & DONT_FRAGMENT) != 0; }
  @inline get ttl(): u32 { return load<u8>(changetype<usize>(this), TTL); }
  @inline get protocol(): u32 { return load<u8>(changetype<usize>(this), PROTOCOL); }
  @inline get checksum(): u16 { return load<u16>(changetype<usize>(this), CHECKSUM); }
  @inline get source(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), SOURCE)); }
  @inline get destination(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), DESTINATION)); }

  /** Writes the address as 16 bytes, ::ffff:a.b.c.d. */
  @inline copySourceTo(to: usize): void { storeMapped(to, load<u32>(changetype<usize>(this), SOURCE)); }
  @inline copyDestinationTo(to: usize): void { storeMapped(to, load<u32>(changetype<usize>(this), DESTINATION)); }

  /** A whole header without options, id 0, DF; the checksum is summed up on the way instead of being read back. */
  setOuter(trafficClass: u32, totalLength: u32, ttl: u32, protocol: u32, source: usize, destination: usize): void {
    const from = load<u32>(source, 12);
    const to = load<u32>(destination, 12);
    const first: u32 = 0x45 | (trafficClass << 8) | (<u32>bswap<u16>(<u16>totalLength) << 16);
    const second: u32 = <u32>bswap<u16>(<u16>DONT_FRAGMENT) << 16;
    const third: u32 = ttl | (protocol << 8);
    const sum = fold(<u64>first + second + third + from + to);
    store<u32>(changetype<usize>(this), first);
    store<u32>(changetype<usize>(this), second, IDENTIFICATION);
    store<u32>(changetype<usize>(this), third | (<u32>complement(sum) << 16), TTL);
    store<u32>(changetype<usize>(this), from, SOURCE);
    store<u32>(changetype<usize>(this), to, DESTINATION);
  }
  /** Version 4, no options. */
  @inline setVersion(): void { store<u8>(changetype<usize>(this), 0x45, VERSION_AND_IHL); }
  @inline setTrafficClass(value: u32): void { store<u8>(changetype<usize>(this), <u8>value, TRAFFIC_CLASS); }
  @inline setTotalLength(value: u32): void {
    store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), TOTAL_LENGTH);
  }
  @inline setIdentification(value: u32): void {
    store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), IDENTIFICATION);
  }
  @inline setDontFragment(): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>DONT_FRAGMENT), FRAGMENT); }
  @inline setFragmentField(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), FRAGMENT); }
  @inline setTtl(value: u32): void { store<u8>(changetype<usize>(this), <u8>value, TTL); }
  @inline setProtocol(value: u32): void { store<u8>(changetype<usize>(this), <u8>value, PROTOCOL); }
  /** The address is the last four of the 16 bytes at `from`. */
  @inline setSource(from: usize): void { store<u32>(changetype<usize>(this), load<u32>(from, 12), SOURCE); }
  @inline setDestination(from: usize): void { store<u32>(changetype<usize>(this), load<u32>(from, 12), DESTINATION); }
  /** Computes the header checksum afresh; the last call when a header is built. */
  @inline setChecksum(): void {
    store<u16>(changetype<usize>(this), 0, CHECKSUM);
    store<u16>(changetype<usize>(this), complement(sumOf(changetype<usize>(this), this.headerBytes)), CHECKSUM);
  }

  /** The rewrites keep the header checksum right; the transport checksum is the transport header's affair. */
  @inline rewriteSource(from: usize): void { this.rewriteWord(SOURCE, load<u32>(from, 12)); }
  @inline rewriteDestination(from: usize): void { this.rewriteWord(DESTINATION, load<u32>(from, 12)); }
  @inline rewriteTtl(value: u32): void {
    const before = load<u16>(changetype<usize>(this), TTL);
    this.setTtl(value);
    this.updateChecksum(before, load<u16>(changetype<usize>(this), TTL));
  }
  /** TTL minus one, which must not be 0. TTL and protocol are one word of the sum, so no byte is written and read back as a word. */
  @inline lowerTtl(): void {
    const before = load<u16>(changetype<usize>(this), TTL);
    store<u16>(changetype<usize>(this), before - 1, TTL);
    this.updateChecksum(before, before - 1);
  }
  @inline rewriteEcn(value: u32): void {
    const before = load<u16>(changetype<usize>(this), VERSION_AND_IHL);
    this.setTrafficClass((this.trafficClass & 0xfc) | (value & 3));
    this.updateChecksum(before, load<u16>(changetype<usize>(this), VERSION_AND_IHL));
  }
  @inline updateChecksum(from: u32, to: u32): void {
    store<u16>(changetype<usize>(this), update(this.checksum, from, to), CHECKSUM);
  }
  private rewriteWord(offset: usize, value: u32): void {
    const at = changetype<usize>(this) + offset;
    const before = sumOf(at, 4);
    store<u32>(at, value);
    this.updateChecksum(before, sumOf(at, 4));
  }
}

/** Stores a raw (network order) IPv4 address as 16 bytes. */
export function storeMapped(to: usize, raw: u32): void {
  store<u64>(to, 0);
  // One store, because the address is soon read as one word: a load across two younger stores waits for both.
  store<u64>(to, (<u64>raw << 32) | MAPPED_PREFIX, 8);
}

/** True for an IPv4 address written as 16 bytes. */
export function isMapped(address: usize): bool {
  return load<u64>(address) == 0 && load<u32>(address, 8) == MAPPED_PREFIX;
}
