// eip: the stateless 1:1 translation of an EIP, both ways (P28). Any director serves any packet: nothing is remembered.
import { AddressKind, Encapsulation, NONE, PacketRecord, Reason, Step } from '../layout.gen';
import { findAddress } from '../table/address';
import { countEip } from '../table/counter';
import { eipAt } from '../table/rows';
import { drop } from '../verdict';
import { copyAddress, isSameAddress } from '../wire/ipv6';
import { answer } from './answer';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { fit } from './fit';
import { ipBytes } from './frame';
import { hop } from './hop';
import { isIcmpError } from './icmp';
import {
  quoteDestinationPort,
  quoteSourcePort,
  readQuote,
  rewriteQuotedDestination,
  rewriteQuotedSource,
} from './quote';
import { emitPieces, mayBeCut } from './pieces';
import { rewriteDestination, rewriteSource } from './rewrite';
import { routeTo, routeToHost } from './route';
import { trace } from './trace';

export function eipInbound(packet: PacketRecord): void {
  const row = findAddress(AddressKind.Eip, 0, packet.destination, 0, 0);
  const eip = eipAt(row);
  trace(packet, Step.Eip, row, eip.net, 0, 0);
  if (isSameAddress(packet.source, packet.destination)) {
    drop(packet, Reason.SourceIsVip);
    return;
  }
  // An error quotes what the VM had sent, with the EIP as its source. Read before route takes the outer addresses for itself.
  const isQuoted =
    isIcmpError(packet) &&
    readQuote(packet, packet.outerSource, packet.outerDestination) &&
    isSameAddress(packet.outerSource, eip.eip);
  if (routeToHost(packet, eip.host, eip.net) && fit(packet) && hop(packet)) {
    countEip(row, ipBytes(packet), true);
    if (isQuoted) rewriteQuotedSource(packet, eip.eip, eip.address, quoteSourcePort);
    rewriteDestination(packet, eip.address);
    if (encapsulate(packet, Encapsulation.Gre)) emit(packet);
    return;
  }
  if (mayBeCut(packet) && hop(packet)) {
    countEip(row, ipBytes(packet), true);
    rewriteDestination(packet, eip.address);
    emitPieces(packet, Encapsulation.Gre);
    return;
  }
  if (answer(packet) && routeTo(packet, packet.destination)) emit(packet);
}

/** Out of a tunnel to E: (net, private source) names the EIP. */
export function eipOutbound(packet: PacketRecord): void {
  const row = findAddress(AddressKind.EipPrivate, packet.net, packet.source, 0, 0);
  if (row == NONE) {
    drop(packet, Reason.NoEip);
    return;
  }
  const eip = eipAt(row);
  trace(packet, Step.Eip, row, eip.net, 1, 0);
  // What a VM starts must come from the host where it lives, or any host could speak for any EIP (P38).
  if (findAddress(AddressKind.Trusted, 0, packet.outerSource, 0, 0) != eip.host) {
    drop(packet, Reason.SourceElsewhere);
    return;
  }
  const isQuoted =
    isIcmpError(packet) &&
    readQuote(packet, packet.outerSource, packet.outerDestination) &&
    isSameAddress(packet.outerDestination, eip.address);
  if (!routeTo(packet, packet.destination) || !fit(packet) || !hop(packet)) {
    refuseOutbound(packet, row);
    return;
  }
  countEip(row, ipBytes(packet), false);
  if (isQuoted) rewriteQuotedDestination(packet, eip.address, eip.eip, quoteDestinationPort);
  rewriteSource(packet, eip.eip);
  emit(packet);
}

/** Cut where that is allowed; else the VM hears of it from its own EIP, the address that stands on this hop (P28). */
function refuseOutbound(packet: PacketRecord, row: u32): void {
  const eip = eipAt(row);
  if (mayBeCut(packet) && hop(packet)) {
    countEip(row, ipBytes(packet), false);
    rewriteSource(packet, eip.eip);
    emitPieces(packet, Encapsulation.None);
    return;
  }
  copyAddress(packet.destination, eip.eip);
  if (answer(packet) && routeToHost(packet, eip.host, eip.net) && encapsulate(packet, Encapsulation.Gre)) emit(packet);
}
