/** IPv6 (RFC 8200) and the walk over its extension headers. */
const VERSION_CLASS_LABEL: usize = 0;
const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
const HOP_LIMIT: usize = 7;
const SOURCE: usize = 8;
const DESTINATION: usize = 24;

const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;
const MOBILITY: u32 = 135;
const HIP: u32 = 139;
const SHIM6: u32 = 140;
/** More extension headers than this are refused; real packets carry one or two. */
const EXTENSION_HEADERS_MAX: u32 = 8;
const FRAGMENT_BIT: u32 = 1 << 30;
const LATER_FRAGMENT_BIT: u32 = 1 << 29;

export const IPV6_BYTES: u32 = 40;
/** The answer of `findTransport` for a header chain that is cut, too long or source-routed. */
export const MALFORMED: u32 = 0xffffffff;

@unmanaged
export class Ipv6 {
  @inline static at(address: usize): Ipv6 { return changetype<Ipv6>(address); }
  /**
   * Must hold before any accessor is used. `bytes` may include Ethernet padding. Jumbograms (length 0) are not ours.
   */
  @inline isWellFormed(bytes: u32): bool {
    return bytes >= IPV6_BYTES && load<u8>(changetype<usize>(this), VERSION_CLASS_LABEL) >> 4 == 6
      && this.payloadLength != 0 && this.payloadLength + IPV6_BYTES <= bytes;
  }
  @inline get trafficClass(): u32 {
    return (bswap<u16>(load<u16>(changetype<usize>(this), VERSION_CLASS_LABEL)) >> 4) & 0xff;
  }
  @inline get ecn(): u32 { return this.trafficClass & 3; }
  @inline get flowLabel(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), VERSION_CLASS_LABEL)) & 0xfffff; }
  @inline get payloadLength(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), PAYLOAD_LENGTH)); }
  /** Bytes of the whole packet, as `totalLength` of IPv4. */
  @inline get totalLength(): u32 { return this.payloadLength + IPV6_BYTES; }
  @inline get nextHeader(): u32 { return load<u8>(changetype<usize>(this), NEXT_HEADER); }
  @inline get hopLimit(): u32 { return load<u8>(changetype<usize>(this), HOP_LIMIT); }
  @inline get sourceAt(): usize { return changetype<usize>(this) + SOURCE; }
  @inline get destinationAt(): usize { return changetype<usize>(this) + DESTINATION; }
  @inline copySourceTo(to: usize): void { copyAddress(to, this.sourceAt); }
  @inline copyDestinationTo(to: usize): void { copyAddress(to, this.destinationAt); }

  @inline setVersionClassAndLabel(trafficClass: u32, flowLabel: u32): void {
    const word = (<u32>6 << 28) | ((trafficClass & 0xff) << 20) | (flowLabel & 0xfffff);
    store<u32>(changetype<usize>(this), bswap<u32>(word), VERSION_CLASS_LABEL);
  }
  @inline setPayloadLength(value: u32): void {
    store<u16>(changetype<usize>(this), bswap<u16>(<u16>value), PAYLOAD_LENGTH);
  }
  @inline setNextHeader(value: u32): void { store<u8>(changetype<usize>(this), <u8>value, NEXT_HEADER); }
  @inline setHopLimit(value: u32): void { store<u8>(changetype<usize>(this), <u8>value, HOP_LIMIT); }
  @inline setSource(from: usize): void { copyAddress(this.sourceAt, from); }
  @inline setDestination(from: usize): void { copyAddress(this.destinationAt, from); }

  /** IPv6 has no header checksum, so a rewrite only writes; the transport checksum is the transport header's affair. */
  @inline rewriteSource(from: usize): void { this.setSource(from); }
  @inline rewriteDestination(from: usize): void { this.setDestination(from); }
  @inline rewriteEcn(value: u32): void {
    this.setVersionClassAndLabel((this.trafficClass & 0xfc) | (value & 3), this.flowLabel);
  }
}

/**
 * Walks the extension headers of a well-formed packet. The answer packs the upper-layer protocol (bits 0–7), its
 * offset from the IPv6 header (bits 8–23) and whether the packet is a fragment; read it by the four functions below.
 * An atomic fragment (RFC 6946) is no fragment. A routing header with segments left names another destination than the
 * header does: refused.
 */
export function findTransport(ip: Ipv6): u32 {
  const start = changetype<usize>(ip);
  const end = ip.totalLength;
  let protocol = ip.nextHeader;
  let offset = IPV6_BYTES;
  let fragment: u32 = 0;
  for (let count: u32 = 0; count <= EXTENSION_HEADERS_MAX; count++) {
    const isExtension = protocol == HOP_BY_HOP || protocol == DESTINATION_OPTIONS || protocol == ROUTING
      || protocol == FRAGMENT || protocol == AUTHENTICATION || protocol == MOBILITY || protocol == HIP
      || protocol == SHIM6;
    if (!isExtension) return fragment | (offset << 8) | protocol;
    if (offset + 8 > end) return MALFORMED;
    const next = <u32>load<u8>(start + offset);
    const length = <u32>load<u8>(start + offset, 1);
    // Hop-by-hop options stand first or not at all (RFC 8200, 4.1).
    if (protocol == HOP_BY_HOP && count != 0) return MALFORMED;
    if (protocol == ROUTING && load<u8>(start + offset, 3) != 0) return MALFORMED;
    if (protocol == FRAGMENT) {
      const field = <u32>bswap<u16>(load<u16>(start + offset, 2));
      if ((field & 0xfff9) != 0) fragment |= FRAGMENT_BIT;
      offset += 8;
      // What follows the header of a later fragment is data, not a header.
      if ((field & 0xfff8) != 0) return fragment | LATER_FRAGMENT_BIT | (offset << 8) | next;
    } else {
      offset += protocol == AUTHENTICATION ? (length + 2) << 2 : (length + 1) << 3;
    }
    if (offset > end) return MALFORMED;
    protocol = next;
  }
  return MALFORMED;
}

export function transportProtocol(found: u32): u32 { return found & 0xff; }
export function transportOffset(found: u32): u32 { return (found >> 8) & 0xffff; }
export function isFragment(found: u32): bool { return (found & FRAGMENT_BIT) != 0; }
export function isLaterFragment(found: u32): bool { return (found & LATER_FRAGMENT_BIT) != 0; }

export function copyAddress(to: usize, from: usize): void {
  const high = load<u64>(from);
  const low = load<u64>(from, 8);
  store<u64>(to, high);
  store<u64>(to, low, 8);
}

export function isSameAddress(a: usize, b: usize): bool {
  return load<u64>(a) == load<u64>(b) && load<u64>(a, 8) == load<u64>(b, 8);
}

/** Offset of the fragment header of a packet that `findTransport` has called a fragment. */
export function findFragmentHeader(ip: Ipv6): u32 {
  const start = changetype<usize>(ip);
  let protocol = ip.nextHeader;
  let offset = IPV6_BYTES;
  for (let count: u32 = 0; count <= EXTENSION_HEADERS_MAX && protocol != FRAGMENT; count++) {
    const length = <u32>load<u8>(start + offset, 1);
    const bytes = protocol == AUTHENTICATION ? (length + 2) << 2 : (length + 1) << 3;
    protocol = <u32>load<u8>(start + offset);
    offset += bytes;
  }
  return offset;
}
