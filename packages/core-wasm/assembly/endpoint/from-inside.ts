// The walk of a packet that this machine's kernel sends into the inside device: a proxy on its way to a VM of a VPC (P21), or a
// physical server that answers (P23). A plain user of a physical server came without a tunnel, so the answer leaves as it is.
import { EndpointKind, PacketFlag, PacketRecord, Reason } from '../layout.gen';
import { consume, drop } from '../verdict';
import { ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6 } from '../wire/ethernet';
import { find, isKnown, isNone, state } from './bank';
import { emit, isEthernet } from './emit';
import { answerArp, answerSolicitation, isSolicitation } from './gateway';
import { parse, parseLink } from './parse';
import { recallCoarse, recallExact } from './return-memory';
import { sendGre, sendIpip } from './tunnel';

export function fromInside(packet: PacketRecord): void {
  if (isEthernet(packet.portIn)) {
    if (!parseLink(packet)) return;
    if (<u32>packet.etherType == ETHER_TYPE_ARP) {
      answerArp(packet);
      return;
    }
    if (<u32>packet.etherType != ETHER_TYPE_IPV4 && <u32>packet.etherType != ETHER_TYPE_IPV6) {
      drop(packet, Reason.NotIp);
      return;
    }
  } else {
    packet.flags |= <u16>PacketFlag.Layer3;
    packet.l2Bytes = 0;
    packet.l3 = 0;
  }
  packet.net = 0;
  if (!parse(packet)) return;
  if (isSolicitation(packet)) {
    answerSolicitation(packet);
    return;
  }
  const source = find(EndpointKind.Source, 0, packet.source, 0, 0);
  if (!isNone(source)) {
    toVpc(packet, source.link);
    return;
  }
  if (isKnown(EndpointKind.Physical, packet.source)) {
    fromServer(packet);
    return;
  }
  // Router solicitations, MLD: what any kernel sends into a new device.
  consume(packet, Reason.KernelOnly);
}

function toVpc(packet: PacketRecord, net: u32): bool {
  packet.net = net;
  const place = find(EndpointKind.Place, net, packet.destination, 0, 0);
  return isNone(place) ? drop(packet, Reason.NoWayOut) : sendGre(packet, place.value);
}

/** Exact memory only, but for what has no ports: a direct user and a client of the VIP may share an address. */
function fromServer(packet: PacketRecord): bool {
  const exact = recallExact(packet);
  if (exact != 0) {
    state.recalledExact += 1;
    return sendIpip(packet, exact);
  }
  if (packet.sourcePort == 0) {
    const coarse = recallCoarse(packet);
    if (coarse != 0) {
      state.recalledCoarse += 1;
      return sendIpip(packet, coarse);
    }
  }
  state.unchanged += 1;
  return emit(packet, packet.destination);
}
