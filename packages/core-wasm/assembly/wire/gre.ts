/** GRE with a key (RFC 2784, RFC 2890). The key carries the VPC id, so a host can find the right network. */
const FLAGS: usize = 0;
const PROTOCOL: usize = 2;
const KEY: usize = 4;
const ONLY_KEY_PRESENT: u16 = 0x2000;

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
  /** A whole header of ours. */
  @inline setHeader(protocol: u32, vpcId: u32): void {
    store<u32>(changetype<usize>(this), <u32>bswap<u16>(ONLY_KEY_PRESENT) | (<u32>bswap<u16>(<u16>protocol) << 16));
    this.setVpcId(vpcId);
  }
  @inline setFlags(): void { store<u16>(changetype<usize>(this), bswap<u16>(ONLY_KEY_PRESENT), FLAGS); }
  @inline setProtocol(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), PROTOCOL); }
  @inline setVpcId(value: u32): void { store<u32>(changetype<usize>(this), bswap<u32>(value), KEY); }
}
