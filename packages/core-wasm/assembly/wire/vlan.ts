/** IEEE 802.1Q tag: the four bytes that follow the two MAC addresses and the type 0x8100. */
const CONTROL: usize = 0;
const ETHER_TYPE: usize = 2;

export const VLAN_BYTES: u32 = 4;

@unmanaged
export class Vlan {
  @inline static at(address: usize): Vlan { return changetype<Vlan>(address); }
  /** Must hold before any accessor is used. */
  @inline isWellFormed(bytes: u32): bool { return bytes >= VLAN_BYTES; }
  @inline get vlanId(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), CONTROL)) & 0xfff; }
  @inline get priority(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), CONTROL)) >> 13; }
  @inline get etherType(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), ETHER_TYPE)); }
  @inline setControl(priority: u32, vlanId: u32): void {
    store<u16>(changetype<usize>(this), bswap<u16>(<u16>((priority << 13) | (vlanId & 0xfff))), CONTROL);
  }
  @inline setEtherType(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), ETHER_TYPE); }
}
