/** ICMP for IPv4 (RFC 792; next-hop MTU RFC 1191). */
import { complement, sumOf, update } from './checksum';

const TYPE: usize = 0;
const CODE: usize = 1;
const CHECKSUM: usize = 2;
const IDENTIFIER: usize = 4;
const SEQUENCE: usize = 6;
const MTU: usize = 6;

export const ICMPV4_BYTES: u32 = 8;
export const ICMPV4_ECHO_REPLY: u32 = 0;
export const ICMPV4_UNREACHABLE: u32 = 3;
const ICMPV4_SOURCE_QUENCH: u32 = 4;
export const ICMPV4_REDIRECT: u32 = 5;
export const ICMPV4_ECHO: u32 = 8;
export const ICMPV4_TIME_EXCEEDED: u32 = 11;
export const ICMPV4_PARAMETER_PROBLEM: u32 = 12;
export const ICMPV4_CODE_FRAGMENTATION_NEEDED: u32 = 4;

@unmanaged
export class Icmpv4 {
  @inline static at(address: usize): Icmpv4 { return changetype<Icmpv4>(address); }
  /** Must hold before any accessor is used. `bytes` reaches to the end of the IP packet, without padding. */
  @inline isWellFormed(bytes: u32): bool { return bytes >= ICMPV4_BYTES; }
  @inline isChecksumValid(bytes: u32): bool { return sumOf(changetype<usize>(this), bytes) == 0xffff; }
  @inline get type(): u32 { return load<u8>(changetype<usize>(this), TYPE); }
  @inline get code(): u32 { return load<u8>(changetype<usize>(this), CODE); }
  @inline get checksum(): u16 { return load<u16>(changetype<usize>(this), CHECKSUM); }
  @inline get identifier(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), IDENTIFIER)); }
  @inline get sequence(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), SEQUENCE)); }
  @inline get mtu(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), MTU)); }
  @inline get isEcho(): bool { return this.type == ICMPV4_ECHO || this.type == ICMPV4_ECHO_REPLY; }
  @inline get isError(): bool {
    return this.type == ICMPV4_UNREACHABLE || this.type == ICMPV4_REDIRECT || this.type == ICMPV4_TIME_EXCEEDED
      || this.type == ICMPV4_PARAMETER_PROBLEM || this.type == ICMPV4_SOURCE_QUENCH;
  }

  @inline setTypeAndCode(type: u32, code: u32): void {
    store<u8>(changetype<usize>(this), <u8>type, TYPE);
    store<u8>(changetype<usize>(this), <u8>code, CODE);
  }
  @inline setIdentifier(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), IDENTIFIER); }
  @inline setSequence(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), SEQUENCE); }
  @inline setMtu(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), MTU); }
  /** Computes the checksum afresh over `bytes` bytes; the last call when a message is built. */
  @inline setChecksum(bytes: u32): void {
    store<u16>(changetype<usize>(this), 0, CHECKSUM);
    store<u16>(changetype<usize>(this), complement(sumOf(changetype<usize>(this), bytes)), CHECKSUM);
  }

  @inline rewriteType(type: u32): void {
    const before = load<u16>(changetype<usize>(this), TYPE);
    store<u8>(changetype<usize>(this), <u8>type, TYPE);
    this.updateChecksum(before, load<u16>(changetype<usize>(this), TYPE));
    this.avoidZero();
  }
  @inline rewriteIdentifier(value: u32): void {
    const before = load<u16>(changetype<usize>(this), IDENTIFIER);
    this.setIdentifier(value);
    this.updateChecksum(before, load<u16>(changetype<usize>(this), IDENTIFIER));
    this.avoidZero();
  }
  /**
   * An echo reply may be nothing but zeros, the one message whose checksum is ones and that RFC 1624, 3 gets wrong. Any other takes
   * ones for zero as well.
   */
  private avoidZero(): void {
    if (this.checksum == 0) store<u16>(changetype<usize>(this), 0xffff, CHECKSUM);
  }
  @inline updateChecksum(from: u32, to: u32): void {
    store<u16>(changetype<usize>(this), update(this.checksum, from, to), CHECKSUM);
  }
}
