/** UDP (RFC 768). A checksum of zero means none over IPv4; over IPv6 it is forbidden (RFC 8200, section 8.1). */
import { complement, fold, sumOf, sumOfAddress, updateUdp } from './checksum';

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const LENGTH: usize = 4;
const CHECKSUM: usize = 6;

export const UDP_BYTES: u32 = 8;

@unmanaged
export class Udp {
  @inline static at(address: usize): Udp { return changetype<Udp>(address); }
  /** Must hold before any accessor is used. `bytes` reaches to the end of the IP packet, without padding. */
  @inline isWellFormed(bytes: u32): bool {
    return bytes >= UDP_BYTES && this.length >= UDP_BYTES && this.length <= bytes;
  }
  @inline get sourcePort(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), SOURCE_PORT)); }
  @inline get destinationPort(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), DESTINATION_PORT)); }
  @inline get length(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), LENGTH)); }
  @inline get checksum(): u16 { return load<u16>(changetype<usize>(this), CHECKSUM); }
  @inline isChecksumValid(pseudoHeader: u32): bool {
    return this.checksum == 0 || fold(<u64>pseudoHeader + <u64>sumOf(changetype<usize>(this), this.length)) == 0xffff;
  }

  @inline setSourcePort(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), SOURCE_PORT); }
  @inline setDestinationPort(value: u32): void {
    store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), DESTINATION_PORT);
  }
  @inline setLength(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), LENGTH); }
  /** Computes the checksum afresh; the last call when a datagram is built. */
  @inline setChecksum(pseudoHeader: u32): void {
    store<u16>(changetype<usize>(this), 0, CHECKSUM);
    const checksum = complement(fold(<u64>pseudoHeader + <u64>sumOf(changetype<usize>(this), this.length)));
    store<u16>(changetype<usize>(this), checksum == 0 ? 0xffff : checksum, CHECKSUM);
  }

  @inline rewriteSourcePort(value: u32): void { this.rewriteHalf(SOURCE_PORT, value); }
  @inline rewriteDestinationPort(value: u32): void { this.rewriteHalf(DESTINATION_PORT, value); }
  /** An address of the pseudo header changed; both are 16 bytes. */
  @inline updateAddress(from: usize, to: usize): void { this.updateChecksum(sumOfAddress(from), sumOfAddress(to)); }
  @inline updateChecksum(from: u32, to: u32): void {
    store<u16>(changetype<usize>(this), updateUdp(this.checksum, from, to), CHECKSUM);
  }
  private rewriteHalf(offset: usize, value: u32): void {
    const at = changetype<usize>(this) + offset;
    const raw = bswap<u16>(<u16>value);
    const before = load<u16>(at);
    store<u16>(at, raw);
    this.updateChecksum(before, raw);
  }
}
