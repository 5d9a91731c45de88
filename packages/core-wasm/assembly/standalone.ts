// Single functions of the core for programs that use it alone (src/standalone.ts): no tables, no image, one packet in record 0.
import { Encapsulation, NONE, PacketFlag, PacketRecord, Reason, Verdict } from './layout.gen';
import { burst, slab } from './memory';
import { encapsulate } from './path/encapsulate';
import { unwrap } from './path/decapsulate';
import { parse } from './path/parse';
import { rewriteDestination, rewriteDestinationPort, rewriteSource, rewriteSourcePort } from './path/rewrite';
import { complement, sumOf } from './wire/checksum';
import { isMapped } from './wire/ipv4';

/** Reads the packet in record 0. False: its reason says why. */
export function parseOne(): bool {
  const packet = PacketRecord.at(burst);
  packet.verdict = <u8>Verdict.None;
  packet.reason = <u8>Reason.None;
  packet.l3 = 0;
  packet.family = 0;
  packet.net = 0;
  packet.hostSlot = NONE;
  return parse(packet);
}

/** Puts the outer header between outerSource and outerDestination in front of the parsed packet, with tunnelKey for GRE. */
export function encapsulateOne(encapsulation: u32): bool {
  const packet = PacketRecord.at(burst);
  const base: u32 = encapsulation == Encapsulation.Gre ? 28 : 20;
  packet.outerOverhead = base + (isMapped(packet.outerDestination) ? 0 : 20);
  packet.flags |= <u16>PacketFlag.Encapsulated;
  return encapsulate(packet, encapsulation);
}

/** Takes the tunnel of the parsed packet off, whoever sent it. */
export function decapsulateOne(): bool {
  return unwrap(PacketRecord.at(burst));
}

/** Gives the parsed packet other ends: outerSource and outerDestination hold the new addresses, the ports are NONE where they stay. */
export function rewriteOne(sourcePort: u32, destinationPort: u32): void {
  const packet = PacketRecord.at(burst);
  rewriteSource(packet, packet.outerSource);
  rewriteDestination(packet, packet.outerDestination);
  if (sourcePort != NONE) rewriteSourcePort(packet, sourcePort);
  if (destinationPort != NONE) rewriteDestinationPort(packet, destinationPort);
}

/** Internet checksum (RFC 1071) of bytes in the slab, in host order. */
export function checksumOne(address: u32, bytes: u32): u32 {
  return bswap<u16>(complement(sumOf(slab + <usize>address, bytes)));
}
