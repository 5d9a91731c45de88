/** TCP (RFC 9293). */
import { complement, fold, sumOf, sumOfAddress, update } from './checksum';

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const SEQUENCE: usize = 4;
const ACKNOWLEDGMENT: usize = 8;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;
const URGENT: usize = 18;
const OPTION_END: u32 = 0;
const OPTION_NOTHING: u32 = 1;
const OPTION_MSS: u32 = 2;
const MSS_OPTION_BYTES: u32 = 4;
const OPTION_TIMESTAMPS: u32 = 8;
const TIMESTAMPS_OPTION_BYTES: u32 = 10;

export const TCP_BYTES: u32 = 20;
export const TCP_FIN: u32 = 0x01;
export const TCP_SYN: u32 = 0x02;
export const TCP_RST: u32 = 0x04;
export const TCP_PSH: u32 = 0x08;
export const TCP_ACK: u32 = 0x10;

@unmanaged
export class Tcp {
  @inline static at(address: usize): Tcp { return changetype<Tcp>(address); }
  /** Must hold before any accessor is used. `bytes` reaches to the end of the IP packet, without padding. */
  @inline isWellFormed(bytes: u32): bool {
    return bytes >= TCP_BYTES && this.headerBytes >= TCP_BYTES && this.headerBytes <= bytes;
  }
  @inline get sourcePort(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), SOURCE_PORT)); }
  @inline get destinationPort(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), DESTINATION_PORT)); }
  @inline get sequence(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), SEQUENCE)); }
  @inline get acknowledgment(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), ACKNOWLEDGMENT)); }
  @inline get headerBytes(): u32 { return (<u32>load<u8>(changetype<usize>(this), DATA_OFFSET) >> 4) << 2; }
  @inline get flags(): u32 { return load<u8>(changetype<usize>(this), FLAGS); }
  @inline get window(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), WINDOW)); }
  @inline get checksum(): u16 { return load<u16>(changetype<usize>(this), CHECKSUM); }
  @inline isChecksumValid(pseudoHeader: u32, bytes: u32): bool {
    return fold(<u64>pseudoHeader + <u64>sumOf(changetype<usize>(this), bytes)) == 0xffff;
  }
  /** The maximum segment size option, or 0 when there is none. */
  @inline get mss(): u32 {
    const at = this.findOption(OPTION_MSS, MSS_OPTION_BYTES);
    return at == 0 ? 0 : <u32>bswap<u16>(load<u16>(at, 2));
  }
  /** TSval of the timestamps option (RFC 7323), or 0 when there is none. */
  get timestamp(): u32 {
    const at = this.findOption(OPTION_TIMESTAMPS, TIMESTAMPS_OPTION_BYTES);
    return at == 0 ? 0 : bswap<u32>(load<u32>(at, 2));
  }
  /** Address of the option of this kind and length, or 0. A list that runs past the header ends the search. */
  findOption(kind: u32, optionBytes: u32): usize {
    const end = changetype<usize>(this) + this.headerBytes;
    let at = changetype<usize>(this) + TCP_BYTES;
    while (at < end) {
      const found = <u32>load<u8>(at);
      if (found == OPTION_END) return 0;
      if (found == OPTION_NOTHING) { at += 1; continue; }
      if (at + 1 >= end) return 0;
      const length = <u32>load<u8>(at, 1);
      if (length < 2 || at + length > end) return 0;
      if (found == kind) return length == optionBytes ? at : 0;
      at += length;
    }
    return 0;
  }

  @inline setSourcePort(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), SOURCE_PORT); }
  @inline setDestinationPort(value: u32): void {
    store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), DESTINATION_PORT);
  }
  @inline setSequence(value: u32): void { store<u32>(changetype<usize>(this), bswap<u32>(value), SEQUENCE); }
  @inline setAcknowledgment(value: u32): void {
    store<u32>(changetype<usize>(this), bswap<u32>(value), ACKNOWLEDGMENT);
  }
  @inline setHeaderBytes(value: u32): void { store<u8>(changetype<usize>(this), <u8>((value >> 2) << 4), DATA_OFFSET); }
  @inline setFlags(value: u32): void { store<u8>(changetype<usize>(this), <u8>value, FLAGS); }
  @inline setWindow(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), WINDOW); }
  @inline setUrgent(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), URGENT); }
  /** Computes the checksum afresh over `bytes` bytes; the last call when a segment is built. */
  @inline setChecksum(pseudoHeader: u32, bytes: u32): void {
    store<u16>(changetype<usize>(this), 0, CHECKSUM);
    const sum = fold(<u64>pseudoHeader + <u64>sumOf(changetype<usize>(this), bytes));
    store<u16>(changetype<usize>(this), complement(sum), CHECKSUM);
  }

  @inline rewriteSourcePort(value: u32): void { this.rewriteHalf(changetype<usize>(this) + SOURCE_PORT, value); }
  @inline rewriteDestinationPort(value: u32): void {
    this.rewriteHalf(changetype<usize>(this) + DESTINATION_PORT, value);
  }
  /** An address of the pseudo header changed; both are 16 bytes. */
  @inline updateAddress(from: usize, to: usize): void { this.updateChecksum(sumOfAddress(from), sumOfAddress(to)); }
  @inline updateChecksum(from: u32, to: u32): void {
    store<u16>(changetype<usize>(this), update(this.checksum, from, to), CHECKSUM);
  }
  /** Lowers the option to `max` if it is there and larger. True when it was rewritten. */
  clampMss(max: u32): bool {
    const at = this.findOption(OPTION_MSS, MSS_OPTION_BYTES);
    if (at == 0 || <u32>bswap<u16>(load<u16>(at, 2)) <= max) return false;
    this.rewriteHalf(at + 2, max);
    return true;
  }
  /**
   * An option may start at an odd offset; its bytes then belong to two words of the sum, which is the same as swapping
   * them.
   */
  private rewriteHalf(at: usize, value: u32): void {
    const raw = bswap<u16>(<u16>value);
    const before = load<u16>(at);
    store<u16>(at, raw);
    const isOdd = ((at - changetype<usize>(this)) & 1) != 0;
    this.updateChecksum(isOdd ? bswap<u16>(before) : before, isOdd ? bswap<u16>(raw) : raw);
  }
}
