/** GRE with a key (RFC 2784, RFC 2890). The key carries the VPC id, so a host can find the right network. */
const FLAGS: usize = 0;
const PROTOCOL: usize = 2;
const KEY: usize = 4;
const ONLY_KEY_PRESENT: u16 = 0x2000;
const CHECKSUM: u32 = 0x8000;
const KEYED: u32 = 0x2000;
const SEQUENCED: u32 = 0x1000;
/** Routing, strict source route, bit 5, version. */
const REFUSED: u32 = 0x4c07;
const LEAST_BYTES: u32 = 4;
const WORD: u32 = 4;

export const GRE_BYTES: u32 = 8;

@unmanaged
export class Gre {
  @inline static at(address: usize): Gre { return changetype<Gre>(address); }
  /** Must hold before any accessor is used. Checksummed or sequenced GRE is not ours: refuse it. */
  @inline isWellFormed(bytes: u32): bool {
    return bytes >= GRE_BYTES && bswap<u16>(load<u16>(changetype<usize>(this), FLAGS)) == ONLY_KEY_PRESENT;
  }
  /** EtherType of the inner packet. */
  @inline get protocol(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), PROTOCOL)); }
  @inline get vpcId(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), KEY)); }
  /**
   * Length of a header with any of checksum, key and sequence number, or 0 for what must be refused: another version, a set bit of
   * RFC 1701 (routing, recursion), a header that is cut. Bits 6 to 12 are ignored (RFC 2784, 2.3). The accessors below follow it.
   */
  headerBytesOf(bytes: u32): u32 {
    if (bytes < LEAST_BYTES) return 0;
    const flags = this.flags;
    if ((flags & REFUSED) != 0) return 0;
    const words: u32 = popcnt<u32>(flags & (CHECKSUM | KEYED | SEQUENCED));
    const length = LEAST_BYTES + WORD * words;
    return length <= bytes ? length : 0;
  }
  @inline get flags(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), FLAGS)); }
  @inline get hasChecksum(): bool { return (this.flags & CHECKSUM) != 0; }
  @inline get hasKey(): bool { return (this.flags & KEYED) != 0; }
  /** The key of a header with whatever stands in front of it. */
  @inline get anyKey(): u32 {
    return bswap<u32>(load<u32>(changetype<usize>(this) + (this.hasChecksum ? LEAST_BYTES + WORD : LEAST_BYTES)));
  }
  /** A whole header of ours. */
  @inline setHeader(protocol: u32, vpcId: u32): void {
    store<u32>(changetype<usize>(this), <u32>bswap<u16>(ONLY_KEY_PRESENT) | (<u32>bswap<u16>(<u16>protocol) << 16));
    this.setVpcId(vpcId);
  }
  @inline setFlags(): void { store<u16>(changetype<usize>(this), bswap<u16>(ONLY_KEY_PRESENT), FLAGS); }
  @inline setProtocol(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), PROTOCOL); }
  @inline setVpcId(value: u32): void { store<u32>(changetype<usize>(this), bswap<u32>(value), KEY); }
}
