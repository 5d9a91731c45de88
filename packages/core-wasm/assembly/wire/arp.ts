/** ARP for IPv4 over Ethernet (RFC 826); duplicate-address probes are RFC 5227. */
const HARDWARE_TYPE: usize = 0;
const LENGTHS: usize = 4;
const OPERATION: usize = 6;
const SENDER_MAC: usize = 8;
const SENDER: usize = 14;
const TARGET_MAC: usize = 18;
const TARGET: usize = 24;
const ETHERNET_AND_IPV4: u32 = 0x00080100;
const LENGTHS_6_AND_4: u16 = 0x0406;

export const ARP_BYTES: u32 = 28;
export const ARP_REQUEST: u32 = 1;
export const ARP_REPLY: u32 = 2;

@unmanaged
export class Arp {
  @inline static at(address: usize): Arp { return changetype<Arp>(address); }
  /** Must hold before any accessor is used. */
  @inline isWellFormed(bytes: u32): bool {
    return bytes >= ARP_BYTES && load<u32>(changetype<usize>(this), HARDWARE_TYPE) == ETHERNET_AND_IPV4
      && load<u16>(changetype<usize>(this), LENGTHS) == LENGTHS_6_AND_4;
  }
  @inline get operation(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), OPERATION)); }
  @inline get senderMacAt(): usize { return changetype<usize>(this) + SENDER_MAC; }
  @inline get sender(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), SENDER)); }
  @inline get targetMacAt(): usize { return changetype<usize>(this) + TARGET_MAC; }
  @inline get target(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), TARGET)); }
  /** A probe asks "is this taken?" with sender 0.0.0.0: whoever answers takes the address away from the asker. */
  @inline get isProbe(): bool { return this.sender == 0; }
  /** Sender and target equal: an announcement, not a question. */
  @inline get isAnnouncement(): bool { return this.sender == this.target; }
  @inline setFixedFields(): void {
    store<u32>(changetype<usize>(this), ETHERNET_AND_IPV4, HARDWARE_TYPE);
    store<u16>(changetype<usize>(this), LENGTHS_6_AND_4, LENGTHS);
  }
  @inline setOperation(value: u32): void { store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), OPERATION); }
  @inline setSender(value: u32): void { store<u32>(changetype<usize>(this), bswap<u32>(value), SENDER); }
  @inline setTarget(value: u32): void { store<u32>(changetype<usize>(this), bswap<u32>(value), TARGET); }
}
