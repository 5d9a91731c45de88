/** Ethernet II (IEEE 802.3). */
const DESTINATION: usize = 0;
const SOURCE: usize = 6;
const ETHER_TYPE: usize = 12;

export const ETHERNET_BYTES: u32 = 14;
export const ETHER_TYPE_IPV4: u32 = 0x0800;
export const ETHER_TYPE_ARP: u32 = 0x0806;
export const ETHER_TYPE_VLAN: u32 = 0x8100;
export const ETHER_TYPE_IPV6: u32 = 0x86dd;
/** The outer tag of two (IEEE 802.1ad). */
export const ETHER_TYPE_SERVICE_VLAN: u32 = 0x88a8;

@unmanaged
export class Ethernet {
  @inline static at(address: usize): Ethernet { return changetype<Ethernet>(address); }
  /** Must hold before any accessor is used. */
  @inline isWellFormed(bytes: u32): bool { return bytes >= ETHERNET_BYTES; }
  @inline get destinationAt(): usize { return changetype<usize>(this) + DESTINATION; }
  @inline get sourceAt(): usize { return changetype<usize>(this) + SOURCE; }
  @inline get etherType(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), ETHER_TYPE)); }
  @inline setEtherType(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), ETHER_TYPE); }
  /** Copies a MAC address of 6 bytes from `from`. */
  @inline setDestination(from: usize): void { copyMac(this.destinationAt, from); }
  @inline setSource(from: usize): void { copyMac(this.sourceAt, from); }
  @inline get isGroup(): bool { return (load<u8>(changetype<usize>(this), DESTINATION) & 1) != 0; }
}

export function copyMac(to: usize, from: usize): void {
  const high = load<u32>(from);
  const low = load<u16>(from, 4);
  store<u32>(to, high);
  store<u16>(to, low, 4);
}

export function isSameMac(a: usize, b: usize): bool {
  return load<u32>(a) == load<u32>(b) && load<u16>(a, 4) == load<u16>(b, 4);
}
