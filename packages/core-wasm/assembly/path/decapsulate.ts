// decapsulate: takes GRE with a key (RFC 2890) or IP in IP off, from outer sources of the image only (P38), one level deep (P17).
// Merges the ECN marks of the tunnel into the packet (RFC 6040). Leaves the inner packet as the current one and its net.
import { AddressKind, NONE, PacketFlag, PacketRecord, Reason, Step } from '../layout.gen';
import { findAddress } from '../table/address';
import { drop } from '../verdict';
import { sumOf } from '../wire/checksum';
import { ETHER_TYPE_IPV4, ETHER_TYPE_IPV6 } from '../wire/ethernet';
import { GRE_BYTES, Gre } from '../wire/gre';
import { PROTOCOL_GRE, PROTOCOL_IPIP } from '../wire/ipv4';
import { copyAddress } from '../wire/ipv6';
import { ipv4Of, ipv6Of, l4At, l4Bytes } from './frame';
import { parseIp } from './parse';
import { acceptPeer, isPeerKey } from './peer';
import { trace } from './trace';

const CONGESTION: u32 = 3;
/** Value of a tunnel address that is another director's. */
const OTHER_DIRECTOR: u32 = 256;

export function decapsulate(packet: PacketRecord): bool {
  if (findAddress(AddressKind.Trusted, 0, packet.source, 0, 0) != NONE) return unwrap(packet);
  // What a director has sent itself comes back only by a loop of the underlay.
  const owner = findAddress(AddressKind.Tunnel, 0, packet.source, 0, 0);
  if (owner == OTHER_DIRECTOR && packet.protocol == <u8>PROTOCOL_GRE) return unwrapPeer(packet);
  return drop(packet, owner != NONE ? Reason.TunnelLoop : Reason.UntrustedTunnel);
}

/** From another director: its tag is what is trusted, for anybody may write an address (P9). */
function unwrapPeer(packet: PacketRecord): bool {
  const end = packet.l3End;
  if (!unwrap(packet)) return false;
  return isPeerKey(packet.tunnelKey) ? acceptPeer(packet, end) : drop(packet, Reason.UntrustedTunnel);
}

/** The same for whoever has no image to trust: the standalone functions. */
export function unwrap(packet: PacketRecord): bool {
  copyAddress(packet.outerSource, packet.source);
  copyAddress(packet.outerDestination, packet.destination);
  const ecn = packet.family == 4 ? ipv4Of(packet).ecn : ipv6Of(packet).ecn;
  let inner: u32 = packet.l4;
  let etherType: u32 = packet.protocol == <u8>PROTOCOL_IPIP ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6;
  packet.tunnelKey = 0;
  if (packet.protocol == <u8>PROTOCOL_GRE) {
    const gre = Gre.at(l4At(packet));
    let header = GRE_BYTES;
    if (gre.isWellFormed(l4Bytes(packet))) packet.tunnelKey = gre.vpcId;
    else {
      header = readGre(packet, gre);
      if (header == 0) return false;
    }
    etherType = gre.protocol;
    inner += header;
    if (etherType != ETHER_TYPE_IPV4 && etherType != ETHER_TYPE_IPV6) return drop(packet, Reason.BadTunnel);
  }
  const taken = inner - packet.l3;
  packet.net = packet.tunnelKey;
  packet.flags |= <u16>PacketFlag.FromTunnel;
  const isWhole = parseIp(packet, inner, etherType, packet.l3End);
  // A fragment is a packet as well, and its walk goes on in fragment.
  if (!isWhole && packet.reason != <u8>Reason.Fragment) return false;
  if (!mergeEcn(packet, ecn)) return false;
  trace(packet, Step.Decapsulate, packet.tunnelKey, taken, 0, 0);
  return isWhole;
}

/** A header with more than a key: the checksum must be right, the sequence number is of no use to us (RFC 2784, RFC 2890). Its length, or 0. */
function readGre(packet: PacketRecord, gre: Gre): u32 {
  const bytes = l4Bytes(packet);
  const header = gre.headerBytesOf(bytes);
  if (header == 0) {
    drop(packet, Reason.BadTunnel);
    return 0;
  }
  if (gre.hasChecksum && sumOf(changetype<usize>(gre), bytes) != 0xffff) {
    drop(packet, Reason.TunnelChecksum);
    return 0;
  }
  // Without a key no net is named, and net 0 is not guessed.
  if (!gre.hasKey) {
    drop(packet, Reason.TunnelKey);
    return 0;
  }
  packet.tunnelKey = gre.anyKey;
  return header;
}

function mergeEcn(packet: PacketRecord, outer: u32): bool {
  if (outer == 0) return true;
  const inner = packet.family == 4 ? ipv4Of(packet).ecn : ipv6Of(packet).ecn;
  if (inner == 0) return outer == CONGESTION ? drop(packet, Reason.Congestion) : true;
  if (inner == CONGESTION || outer == inner) return true;
  // ECT(0) outside never changes what is inside; ECT(1) and CE do.
  if (outer == 2) return true;
  if (packet.family == 4) ipv4Of(packet).rewriteEcn(outer);
  else ipv6Of(packet).rewriteEcn(outer);
  return true;
}
