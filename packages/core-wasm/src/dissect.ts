// Dissection for people: a frame as layers of fields, with offset, value, meaning and what is wrong. Written from the RFCs on its own,
// so the core's verdict beside it (standalone.ts) is a second opinion. Any bytes are fine; nothing throws.
import { authentication, destinationOptions, fragment, hopByHop, ip, ipv4, ipv6, routing } from './dissect/ip.ts';
import { icmp, icmpv6 } from './dissect/icmp.ts';
import { type DissectedLayer, type Dissector, Layer, type Next } from './dissect/layer.ts';
import { arp, ethernet, loopback, sll, sll2, vlan } from './dissect/link.ts';
import { sctp, tcp, udp, udpLite } from './dissect/transport.ts';
import { geneve, gre, gue, vxlan } from './dissect/tunnel.ts';
import { LinkType } from './pcap/types.ts';

export type { DissectedField, DissectedLayer } from './dissect/layer.ts';

/** The headers of a frame, from the outside in, and what is left behind them. */
export interface Dissection {
  /** From the outside in. */
  readonly layers: readonly DissectedLayer[];
  /** What follows the last header that is known, as offset and length in the frame; without Ethernet padding. */
  readonly payload: { readonly offset: number; readonly bytes: number };
  /** Bytes behind the end of the outermost IP packet: Ethernet padding. */
  readonly padding: number;
  /** Every layer's problem with the layer's title in front. */
  readonly problems: readonly string[];
}

/** How a frame begins: its link type, as in pcap. */
export interface DissectOptions {
  /** LINKTYPE of the tcpdump registry, as CapturedFrame.interface.linkType has it: 1 Ethernet (default), 101 IP, 113, 276, 0. */
  readonly linkType?: number;
}

const DISSECTORS: Readonly<Record<string, Dissector>> = {
  ethernet,
  vlan,
  arp,
  sll,
  sll2,
  null: loopback,
  ip,
  ipv4,
  ipv6,
  'hop-by-hop': hopByHop,
  'destination-options': destinationOptions,
  routing,
  fragment,
  ah: authentication,
  tcp,
  udp,
  'udp-lite': udpLite,
  sctp,
  icmp,
  icmpv6,
  gre,
  vxlan,
  geneve,
  gue,
};

const FIRST: Readonly<Record<number, string>> = {
  [LinkType.Null]: 'null',
  [LinkType.Ethernet]: 'ethernet',
  [LinkType.RawIp]: 'ip',
  [LinkType.Ipv4]: 'ipv4',
  [LinkType.Ipv6]: 'ipv6',
  [LinkType.LinuxSll]: 'sll',
  [LinkType.LinuxSll2]: 'sll2',
};

/** Headers of one frame, at most; a frame of tunnels in tunnels ends here. */
const LAYERS_MAX = 48;
const DEPTH_MAX = 8;

/**
 * The headers of a frame, from the outside in. Follows tunnels (GRE, IP in IP, VXLAN, Geneve, GUE) and the packets that ICMP errors
 * quote. Reads Ethernet II, 802.1Q, QinQ, ARP, IPv4, IPv6 with extension headers, TCP, UDP, UDP-Lite, SCTP, ICMP, ICMPv6 with ND.
 */
export function dissect(frame: Uint8Array, options: DissectOptions = {}): Dissection {
  const layers: DissectedLayer[] = [];
  const first = FIRST[options.linkType ?? LinkType.Ethernet] ?? 'payload';
  let next: Next | undefined = { protocol: first, at: 0, end: frame.length, isQuoted: false, depth: 0 };
  let last = { at: 0, end: frame.length };
  let packetEnd = frame.length;
  const problems: string[] = [];
  while (next !== undefined && layers.length < LAYERS_MAX) {
    last = next;
    const dissector: Dissector | undefined = DISSECTORS[next.protocol];
    if (dissector === undefined || (next.at >= frame.length && next.isQuoted)) break;
    if (next.depth > DEPTH_MAX) {
      problems.push(`more than ${DEPTH_MAX} tunnels or quotes in each other`);
      break;
    }
    const layer: Layer = new Layer(frame, next);
    const following: Next | undefined = dissector(layer, next);
    const result = layer.result();
    layers.push(result);
    if (result.problem !== undefined) problems.push(`${result.title}: ${result.problem}`);
    if (
      following !== undefined &&
      (result.protocol === 'ipv4' || result.protocol === 'ipv6') &&
      last.end === frame.length
    )
      packetEnd = Math.min(packetEnd, following.end);
    last = following ?? { at: result.offset + result.bytes, end: Math.min(next.end, frame.length) };
    next = following;
  }
  const offset = Math.min(last.at, frame.length);
  const end = Math.min(last.end, frame.length);
  return {
    layers,
    payload: { offset, bytes: Math.max(0, end - offset) },
    padding: frame.length - packetEnd,
    problems,
  };
}
