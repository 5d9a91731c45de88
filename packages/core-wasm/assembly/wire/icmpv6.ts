/** ICMPv6 (RFC 4443) with neighbour solicitation and advertisement (RFC 4861). */
import { complement, fold, sumOf, sumOfAddress, update } from './checksum';

const TYPE: usize = 0;
const CODE: usize = 1;
const CHECKSUM: usize = 2;
const IDENTIFIER: usize = 4;
const SEQUENCE: usize = 6;
const MTU: usize = 4;
const NEIGHBOUR_FLAGS: usize = 4;
const NEIGHBOUR_TARGET: usize = 8;
const OPTION_SOURCE_MAC: u32 = 1;
const OPTION_TARGET_MAC: u32 = 2;

export const ICMPV6_BYTES: u32 = 8;
/** Solicitation or advertisement without options. */
export const NEIGHBOUR_BYTES: u32 = 24;
/** An advertisement that carries the target's MAC address. */
export const ADVERTISEMENT_BYTES: u32 = 32;
export const ICMPV6_UNREACHABLE: u32 = 1;
export const ICMPV6_PACKET_TOO_BIG: u32 = 2;
export const ICMPV6_TIME_EXCEEDED: u32 = 3;
export const ICMPV6_PARAMETER_PROBLEM: u32 = 4;
export const ICMPV6_ECHO: u32 = 128;
export const ICMPV6_ECHO_REPLY: u32 = 129;
export const ICMPV6_ROUTER_SOLICITATION: u32 = 133;
export const ICMPV6_ROUTER_ADVERTISEMENT: u32 = 134;
export const ICMPV6_NEIGHBOUR_SOLICITATION: u32 = 135;
export const ICMPV6_NEIGHBOUR_ADVERTISEMENT: u32 = 136;
export const NEIGHBOUR_ROUTER: u32 = 0x80;
export const NEIGHBOUR_SOLICITED: u32 = 0x40;
export const NEIGHBOUR_OVERRIDE: u32 = 0x20;

@unmanaged
export class Icmpv6 {
  @inline static at(address: usize): Icmpv6 { return changetype<Icmpv6>(address); }
  /** Must hold before any accessor is used. `bytes` reaches to the end of the IP packet, without padding. */
  @inline isWellFormed(bytes: u32): bool { return bytes >= ICMPV6_BYTES; }
  @inline isChecksumValid(pseudoHeader: u32, bytes: u32): bool {
    return fold(<u64>pseudoHeader + <u64>sumOf(changetype<usize>(this), bytes)) == 0xffff;
  }
  @inline get type(): u32 { return load<u8>(changetype<usize>(this), TYPE); }
  @inline get code(): u32 { return load<u8>(changetype<usize>(this), CODE); }
  @inline get checksum(): u16 { return load<u16>(changetype<usize>(this), CHECKSUM); }
  @inline get identifier(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), IDENTIFIER)); }
  @inline get sequence(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), SEQUENCE)); }
  @inline get mtu(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), MTU)); }
  @inline get isEcho(): bool { return this.type == ICMPV6_ECHO || this.type == ICMPV6_ECHO_REPLY; }
  /** RFC 4443, section 2.1: the high bit of the type is clear in every error. */
  @inline get isError(): bool { return this.type < 128; }

  /** A solicitation or advertisement whose target may be read. */
  @inline isNeighbour(bytes: u32): bool { return bytes >= NEIGHBOUR_BYTES && this.code == 0; }
  @inline get neighbourTargetAt(): usize { return changetype<usize>(this) + NEIGHBOUR_TARGET; }
  @inline setNeighbourFlags(value: u32): void { store<u32>(changetype<usize>(this), value, NEIGHBOUR_FLAGS); }
  /** Address of the solicitation's source MAC, or 0. */
  sourceMacAt(bytes: u32): usize { return this.findNeighbourOption(OPTION_SOURCE_MAC, bytes); }
  /** Writes the only option of an advertisement. */
  setTargetMac(from: usize): void {
    const at = changetype<usize>(this) + NEIGHBOUR_BYTES;
    store<u8>(at, <u8>OPTION_TARGET_MAC);
    store<u8>(at, 1, 1);
    store<u32>(at, load<u32>(from), 2);
    store<u16>(at, load<u16>(from, 4), 6);
  }
  private findNeighbourOption(kind: u32, bytes: u32): usize {
    const end = changetype<usize>(this) + bytes;
    let at = changetype<usize>(this) + NEIGHBOUR_BYTES;
    while (at + 8 <= end) {
      const length = <u32>load<u8>(at, 1) << 3;
      if (length == 0) return 0;
      if (load<u8>(at) == <u8>kind) return at + 2;
      at += length;
    }
    return 0;
  }

  @inline setTypeAndCode(type: u32, code: u32): void {
    store<u8>(changetype<usize>(this), <u8>type, TYPE);
    store<u8>(changetype<usize>(this), <u8>code, CODE);
  }
  @inline setIdentifier(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), IDENTIFIER); }
  @inline setSequence(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), SEQUENCE); }
  @inline setMtu(value: u32): void { store<u32>(changetype<usize>(this), bswap<u32>(value), MTU); }
  /** Computes the checksum afresh over `bytes` bytes; the last call when a message is built. */
  @inline setChecksum(pseudoHeader: u32, bytes: u32): void {
    store<u16>(changetype<usize>(this), 0, CHECKSUM);
    const sum = fold(<u64>pseudoHeader + <u64>sumOf(changetype<usize>(this), bytes));
    store<u16>(changetype<usize>(this), complement(sum), CHECKSUM);
  }

  @inline rewriteType(type: u32): void {
    const before = load<u16>(changetype<usize>(this), TYPE);
    store<u8>(changetype<usize>(this), <u8>type, TYPE);
    this.updateChecksum(before, load<u16>(changetype<usize>(this), TYPE));
  }
  @inline rewriteIdentifier(value: u32): void {
    const before = load<u16>(changetype<usize>(this), IDENTIFIER);
    this.setIdentifier(value);
    this.updateChecksum(before, load<u16>(changetype<usize>(this), IDENTIFIER));
  }
  /** An address of the pseudo header changed; both are 16 bytes. */
  @inline updateAddress(from: usize, to: usize): void { this.updateChecksum(sumOfAddress(from), sumOfAddress(to)); }
  @inline updateChecksum(from: u32, to: u32): void {
    store<u16>(changetype<usize>(this), update(this.checksum, from, to), CHECKSUM);
  }
}
