// Names of numbers on the wire (IANA registries), those that a balancer meets.
export const ETHER_TYPES: Readonly<Record<number, string>> = {
  0x0800: 'IPv4',
  0x0806: 'ARP',
  0x8100: '802.1Q',
  0x86dd: 'IPv6',
  0x88a8: '802.1ad (QinQ)',
  0x9100: 'QinQ, old',
  0x8847: 'MPLS',
  0x8863: 'PPPoE discovery',
  0x8864: 'PPPoE',
  0x88cc: 'LLDP',
  0x6558: 'Ethernet (transparent bridging)',
};

/** EtherType → key of a dissector. */
export const NETWORK_PROTOCOLS: Readonly<Record<number, string>> = {
  0x0800: 'ipv4',
  0x0806: 'arp',
  0x8100: 'vlan',
  0x86dd: 'ipv6',
  0x88a8: 'vlan',
  0x9100: 'vlan',
  0x6558: 'ethernet',
};

export const IP_PROTOCOLS: Readonly<Record<number, string>> = {
  0: 'Hop-by-hop options',
  1: 'ICMP',
  2: 'IGMP',
  4: 'IP in IP',
  6: 'TCP',
  17: 'UDP',
  41: 'IPv6 in IP',
  43: 'Routing header',
  44: 'Fragment header',
  47: 'GRE',
  50: 'ESP',
  51: 'Authentication header',
  58: 'ICMPv6',
  59: 'No next header',
  60: 'Destination options',
  89: 'OSPF',
  112: 'VRRP',
  132: 'SCTP',
  135: 'Mobility header',
  136: 'UDP-Lite',
};

/** IP protocol → key of a dissector. */
export const TRANSPORT_PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'icmp',
  4: 'ipv4',
  6: 'tcp',
  17: 'udp',
  41: 'ipv6',
  47: 'gre',
  51: 'ah',
  58: 'icmpv6',
  132: 'sctp',
  136: 'udp-lite',
};

/** IPv6 extension headers → key of a dissector (RFC 8200, section 4). */
export const EXTENSIONS: Readonly<Record<number, string>> = {
  0: 'hop-by-hop',
  43: 'routing',
  44: 'fragment',
  51: 'ah',
  60: 'destination-options',
};

export const ECN: readonly string[] = ['not ECN-capable', 'ECT(1)', 'ECT(0)', 'congestion experienced'];

export const ICMP_TYPES: Readonly<Record<number, string>> = {
  0: 'echo reply',
  3: 'destination unreachable',
  4: 'source quench',
  5: 'redirect',
  8: 'echo request',
  9: 'router advertisement',
  10: 'router solicitation',
  11: 'time exceeded',
  12: 'parameter problem',
  13: 'timestamp request',
  14: 'timestamp reply',
};

export const ICMP_UNREACHABLE: readonly string[] = [
  'network unreachable',
  'host unreachable',
  'protocol unreachable',
  'port unreachable',
  'fragmentation needed',
  'source route failed',
  'network unknown',
  'host unknown',
  'source host isolated',
  'network prohibited',
  'host prohibited',
  'network unreachable for this service',
  'host unreachable for this service',
  'communication prohibited',
  'host precedence violation',
  'precedence cutoff',
];

export const ICMPV6_TYPES: Readonly<Record<number, string>> = {
  1: 'destination unreachable',
  2: 'packet too big',
  3: 'time exceeded',
  4: 'parameter problem',
  128: 'echo request',
  129: 'echo reply',
  130: 'multicast listener query',
  131: 'multicast listener report',
  132: 'multicast listener done',
  133: 'router solicitation',
  134: 'router advertisement',
  135: 'neighbour solicitation',
  136: 'neighbour advertisement',
  137: 'redirect',
  143: 'multicast listener report v2',
};

export const ICMPV6_UNREACHABLE: readonly string[] = [
  'no route',
  'prohibited',
  'beyond scope of source',
  'address unreachable',
  'port unreachable',
  'source address failed policy',
  'reject route',
];

export const SCTP_CHUNKS: Readonly<Record<number, string>> = {
  0: 'DATA',
  1: 'INIT',
  2: 'INIT ACK',
  3: 'SACK',
  4: 'HEARTBEAT',
  5: 'HEARTBEAT ACK',
  6: 'ABORT',
  7: 'SHUTDOWN',
  8: 'SHUTDOWN ACK',
  9: 'ERROR',
  10: 'COOKIE ECHO',
  11: 'COOKIE ACK',
  14: 'SHUTDOWN COMPLETE',
};
