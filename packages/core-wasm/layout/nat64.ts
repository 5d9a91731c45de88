// Records of NAT64: settings and scratch of one translator (RFC 6052, RFC 7915, RFC 7757), and the tables of the stateful one (RFC 6146).
// Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; a `raw` IPv4 address is the four bytes as they lie on the wire.
import { enumeration, valuesOf } from './enumeration.ts';
import { record } from './record.ts';

export const nat64VerdictEnum = enumeration('Nat64Verdict', 'What the translator made of a packet.', {
  None: [0, 'Not decided.'],
  Translated: [1, 'A packet of the other family lies at the result address.'],
  Dropped: [2, 'Nothing is to be sent.'],
  Answered: [3, 'A packet of our own lies at the result address: an ICMP error for the sender, or a probe.'],
  Held: [
    4,
    'A SYN that waits for the IPv6 side, a fragment that waits for its datagram (RFC 6146, 3.5.2 and 3.4): nothing to send yet.',
  ],
});
export const Nat64Verdict = valuesOf(nat64VerdictEnum);

export const nat64ReasonEnum = enumeration('Nat64Reason', 'Why a packet was not translated; counted by number.', {
  None: [0, 'No reason: the packet was translated.'],
  TooShort: [1, 'A header is longer than what is left of the packet.'],
  BadHeader: [2, 'A header field has an impossible value.'],
  BadChecksum: [3, 'The IPv4 header checksum is wrong.'],
  NoRoom: [4, 'The result does not fit the room around the packet.'],
  NotTranslatable: [5, 'An address has no counterpart in the other family (RFC 6052, RFC 7757).'],
  Martian: [6, 'A source or destination that no translated packet may have: multicast, loopback, unspecified.'],
  NonGlobal: [7, 'A private IPv4 address behind the well-known prefix (RFC 6052, 3.1).'],
  HopLimit: [8, 'TTL or hop limit ran out.'],
  TooBig: [9, 'Larger than the next hop takes, and not to be fragmented.'],
  SourceRoute: [10, 'A source route that is not finished: IPv4 option or routing header with segments left.'],
  ExtensionHeaders: [11, 'More IPv6 extension headers than the limit, or one behind the fragment header.'],
  IcmpFragment: [12, 'Fragmented ICMP cannot be translated without reassembly (RFC 7915, 1.2).'],
  IcmpType: [13, 'An ICMP message that has no counterpart (RFC 7915, 4.2 and 5.2).'],
  IcmpQuote: [14, 'An ICMP error whose quoted packet cannot be translated.'],
  ZeroChecksum: [15, 'UDP over IPv4 without a checksum, as a fragment or by the settings (RFC 7915, 4.5).'],
  HairpinLoop: [16, 'An IPv6 source inside the prefix: a packet of our own (RFC 6146, 3.5).'],
  Protocol: [17, 'The stateful translator handles TCP, UDP and ICMP only.'],
  NoBinding: [18, 'No binding for the IPv4 destination, or none for a TCP packet that is no SYN.'],
  Filtered: [19, 'The peer was not spoken to before (address-dependent filtering).'],
  BindingsFull: [20, 'No free entry in the binding table.'],
  SessionsFull: [21, 'No free entry in the session table, or too many between two addresses.'],
  PortsFull: [22, 'No free port found on the IPv4 address of this client.'],
  NoSession: [23, 'An ICMP error about a packet of no session.'],
  EarlyFragment: [24, 'Not in use any more: a later fragment waits for its first one (FragmentHeld).'],
  SynHeld: [25, 'A SYN that waits for the IPv6 side.'],
  SynUnanswered: [26, 'The IPv6 side did not open within six seconds: the held SYN was answered.'],
  FragmentHeld: [27, 'A fragment that waits for the others of its datagram.'],
  FragmentTiny: [28, 'A fragment that cuts a transport header in two (RFC 1858, RFC 3128).'],
  FragmentOverlap: [29, 'A fragment that overlaps another one of its datagram, or comes twice.'],
  FragmentLimit: [30, 'No place for a fragment that has to wait: too many datagrams, of this source or of all.'],
  FragmentTimeout: [31, 'A datagram that was not whole in time; counted once each.'],
  SubscriberLimit: [32, 'The subscriber has as many bindings or sessions as one may have.'],
});
export const Nat64Reason = valuesOf(nat64ReasonEnum);

export const nat64FlagEnum = enumeration('Nat64Flag', 'Bits of the flags of Nat64State.', {
  AllowNonGlobal: [1, 'Private IPv4 addresses pass behind the well-known prefix.'],
  DropZeroChecksum: [2, 'UDP without a checksum is dropped instead of being given one.'],
  ZeroTrafficClass: [4, 'TOS and traffic class are set to zero instead of being copied.'],
  AddressDependent: [8, 'Stateful: address-dependent filtering instead of endpoint-independent.'],
  RefuseInbound: [16, 'Stateful: TCP connections that the IPv4 side opens are dropped.'],
  SimpleHairpin: [32, 'A source with a mapping gets the prefix when its peer has a mapping too (RFC 7757, 4.2.1).'],
  IntrinsicHairpin: [64, 'Packets between two mapped hosts are turned round here (RFC 7757, 4.2.2).'],
});
export const Nat64Flag = valuesOf(nat64FlagEnum);

export const nat64TcpEnum = enumeration('Nat64Tcp', 'States of a session (RFC 6146, 3.5.2.2); 0 is a free entry.', {
  Free: [0, 'Not in use.'],
  Datagram: [1, 'UDP or an ICMP query.'],
  V4Init: [2, 'The IPv4 side has sent a SYN.'],
  V6Init: [3, 'The IPv6 side has sent a SYN.'],
  Established: [4, 'Both have.'],
  V4Fin: [5, 'The IPv4 side has sent a FIN.'],
  V6Fin: [6, 'The IPv6 side has sent a FIN.'],
  BothFin: [7, 'Both have.'],
  Trans: [8, 'A RST has passed, or the session was idle for too long.'],
});
export const Nat64Tcp = valuesOf(nat64TcpEnum);

export const nat64Limits = {
  /** IPv6 extension headers in front of the transport header. */
  NAT64_EXTENSIONS_MAX: 8,
  /** Mapping rows (RFC 7757); they are searched one by one. */
  NAT64_EAM_MAX: 256,
  /** Ports tried for a new binding. */
  NAT64_PORT_TRIES: 128,
  /** Sessions between one binding and one IPv4 address. */
  NAT64_PEER_SESSIONS_MAX: 64,
  /** Sessions that one call of the expiry looks at. */
  NAT64_EXPIRE_STEP: 1024,
  /** Datagrams that are put together at a time, those of one source, and their bytes. */
  NAT64_REASSEMBLIES: 16,
  NAT64_SOURCE_REASSEMBLIES: 4,
  NAT64_SOURCE_BYTES: 65_536,
  /** A reassembly: record, one bit for each eight bytes, head for the translated header, data, tail for an error's quote. */
  NAT64_REASSEMBLY_MAP: 1_024,
  NAT64_REASSEMBLY_HEAD: 128,
  NAT64_REASSEMBLY_SLOT: 67_072,
  /** Stretches that one datagram may have come in. */
  NAT64_RANGES: 4,
  /** Idle connections that wait for their probe. */
  NAT64_PROBES_MAX: 256,
  /** Sets of the fragment memory, two rows each. */
  NAT64_FRAGMENT_SETS: 512,
  /** SYNs that may wait for the IPv6 side. */
  NAT64_HELD_MAX: 64,
  /** Bytes kept of a held SYN: IPv4 header with options and eight more, rounded up. */
  NAT64_HELD_BYTES: 72,
  /** RFC 6146, section 4: the minima of the timers. */
  NAT64_UDP_MIN_MS: 120_000,
  NAT64_UDP_MS: 300_000,
  NAT64_TCP_TRANSITORY_MS: 240_000,
  NAT64_TCP_ESTABLISHED_MS: 7_440_000,
  NAT64_TCP_INCOMING_SYN_MS: 6_000,
  NAT64_ICMP_MS: 60_000,
  NAT64_FRAGMENT_MS: 2_000,
  /** Bytes of Nat64State with its two views and two pairs of ends behind it. */
  NAT64_BYTES: 512,
} as const;

export const Nat64State = record(
  'Nat64State',
  192,
  'Settings and result of one translator. Two Nat64View (outer, quoted) and two Nat64Ends (outer, quoted) follow.',
  {
    remotePrefix: ['bytes16', 'Prefix that IPv4 hosts have in IPv6 (Pref64).'],
    localPrefix: ['bytes16', 'Stateless: prefix that IPv6 hosts take their translatable addresses from.'],
    own6: ['bytes16', 'Source of ICMPv6 errors, or zeros: none are sent.'],
    own4: [
      'u32',
      'Raw source of ICMPv4 errors and of translated ICMPv6 errors of untranslatable routers (RFC 6791), or 0.',
    ],
    remoteBits: ['u32', 'Length of remotePrefix: 32, 40, 48, 56, 64 or 96.'],
    localBits: ['u32', 'Length of localPrefix.'],
    mtu6: ['u32', 'MTU of the IPv6 next hop.'],
    mtu4: ['u32', 'MTU of the IPv4 next hop.'],
    lowestMtu6: ['u32', 'Packets without DF are fragmented to this; 1280 unless the network is known (RFC 7915, 4).'],
    flags: ['u32', 'Nat64Flag bits.'],
    roomStart: ['u32', 'Nothing is written below this address.'],
    roomEnd: ['u32', 'Nothing is written at or above this address.'],
    identification: ['u32', 'Next IPv4 identification; begins at random.'],
    eam: ['u32', 'Linear address of the Nat64Eam rows.'],
    eamRows: ['u32', 'Rows in use.'],
    tables: ['u32', 'Linear address of Nat64Tables, or 0: stateless.'],
    address: ['u32', 'Result: the packet.'],
    bytes: ['u32', 'Result: its length.'],
    reason: ['u32', 'Result: Nat64Reason.'],
    splitMtu: ['u32', 'Result: the packet is to be split to this MTU (nat64Split), or 0.'],
    nowMs: ['u32', 'Time of the call in hand.'],
    errorsPerSecond: ['u32', 'ICMP errors that are sent in a second, and at once; 0: all (RFC 4443, 2.4 (f)).'],
    errorCredit: ['u32', 'Thousandths of an error that may be sent.'],
    errorMs: ['u32', 'When the credit was counted.'],
  },
);

export const Nat64View = record('Nat64View', 88, 'One IP packet, as read.', {
  source: ['bytes16', 'Source address.'],
  destination: ['bytes16', 'Destination address.'],
  sum: ['u32', 'Sum of both addresses.'],
  l3: ['u32', 'Address of the IP header.'],
  l4: ['u32', 'Address of what follows IP, its options and extension headers.'],
  l4Bytes: ['u32', 'Bytes there; fewer than stated in a quoted packet.'],
  stated: ['u32', 'Bytes there should be.'],
  identification: ['u32', 'Identification of a fragment.'],
  segmentsLeft: ['u32', 'Offset of a segments-left field that is not zero, or 0.'],
  fragment: ['u16', 'Offset and M bit as in an IPv6 fragment header.'],
  family: ['u8', '4 or 6.'],
  protocol: ['u8', 'What follows.'],
  hops: ['u8', 'TTL or hop limit.'],
  trafficClass: ['u8', 'TOS or traffic class.'],
  dontFragment: ['u8', '1: DF.'],
  hasFragmentHeader: ['u8', '1: an IPv6 fragment header was there, or the IPv4 packet is a fragment.'],
});

export const Nat64Ends = record('Nat64Ends', 48, 'Ends that a packet gets.', {
  source: ['bytes16', 'New source.'],
  destination: ['bytes16', 'New destination.'],
  sourcePort: ['u32', 'New source port, or identifier of an ICMP query; NONE: as it is.'],
  destinationPort: ['u32', 'New destination port, or identifier of an ICMP query; NONE: as it is.'],
});

export const Nat64Eam = record('Nat64Eam', 32, 'An explicit address mapping (RFC 7757).', {
  prefix6: ['bytes16', 'IPv6 prefix.'],
  prefix4: ['u32', 'Raw IPv4 prefix.'],
  bits6: ['u8', 'Length of prefix6.'],
  bits4: ['u8', 'Length of prefix4.'],
});

export const Nat64Tables = record('Nat64Tables', 320, 'Tables and counters of a stateful translator (RFC 6146).', {
  key0: ['u64', 'Random keys of the multilinear hashes: nobody outside can aim at a chain.'],
  key1: ['u64', 'Second key.'],
  key2: ['u64', 'Third key.'],
  key3: ['u64', 'Fourth key.'],
  key4: ['u64', 'Fifth key.'],
  translated: ['u64', 'Packets translated.'],
  answered: ['u64', 'ICMP errors generated.'],
  hairpins: ['u64', 'Packets from one IPv6 host to another.'],
  bindingsMade: ['u64', 'Bindings ever made.'],
  sessionsMade: ['u64', 'Sessions ever made.'],
  reassembled: ['u64', 'Datagrams put together.'],
  probed: ['u64', 'Probes sent.'],
  pool: ['u32', 'Linear address of the IPv4 pool: raw addresses.'],
  poolSize: ['u32', 'Addresses in it.'],
  portFirst: ['u32', 'First port of the pool.'],
  portLast: ['u32', 'Last port.'],
  index6: ['u32', 'Chains of bindings by IPv6 address and port: u32 each.'],
  index4: ['u32', 'Chains of bindings by IPv4 address and port.'],
  indexSession: ['u32', 'Chains of sessions by binding and IPv4 peer.'],
  bindingMask: ['u32', 'Chains of index6 and index4, minus one.'],
  sessionMask: ['u32', 'Chains of indexSession, minus one.'],
  bindings: ['u32', 'Linear address of the Nat64Binding rows; row 0 is never used.'],
  sessions: ['u32', 'Linear address of the Nat64Session rows; row 0 is never used.'],
  bindingsMax: ['u32', 'Rows, row 0 included.'],
  sessionsMax: ['u32', 'Rows, row 0 included.'],
  bindingFree: ['u32', 'First of the freed rows, or 0.'],
  sessionFree: ['u32', 'First of the freed rows, or 0.'],
  bindingNext: ['u32', 'First row that was never used.'],
  sessionNext: ['u32', 'First row that was never used.'],
  bindingsUsed: ['u32', 'Rows in use.'],
  sessionsUsed: ['u32', 'Rows in use.'],
  cursor: ['u32', 'Where the expiry goes on.'],
  fragments: ['u32', 'Linear address of the Nat64Fragment rows.'],
  held: ['u32', 'Linear address of the Nat64HeldSyn rows, NAT64_HELD_BYTES behind each.'],
  heldUsed: ['u32', 'Rows in use.'],
  reasons: ['u32', 'Linear address of the counters by Nat64Reason: u64 each.'],
  udpMs: ['u32', 'Lifetime of a UDP session.'],
  tcpTransitoryMs: ['u32', 'Lifetime of a TCP session that opens or closes.'],
  tcpEstablishedMs: ['u32', 'Lifetime of an established TCP session.'],
  icmpMs: ['u32', 'Lifetime of an ICMP query session.'],
  nowMs: ['u32', 'Time of the call in hand.'],
  fragmentMs: ['u32', 'How long fragments wait for each other.'],
  reassemblies: ['u32', 'Linear address of the Nat64Reassembly slots.'],
  reassembling: ['u32', 'Slots in use.'],
  probes: ['u32', 'Linear address of a ring of sessions that are to be probed: u32 each.'],
  probeHead: ['u32', 'First of them, counted on and on.'],
  probeTail: ['u32', 'Behind the last.'],
  subscribers: ['u32', 'Linear address of the Nat64Subscriber rows, or 0: not counted; row 0 is never used.'],
  indexSubscriber: ['u32', 'Chains of subscribers by prefix; as many as bindings have.'],
  subscriberFree: ['u32', 'First of the freed rows, or 0.'],
  subscriberNext: ['u32', 'First row that was never used.'],
  subscriberBits: ['u32', 'Length of the IPv6 prefix that is one subscriber.'],
  subscriberBindings: ['u32', 'Most bindings of one.'],
  subscriberSessions: ['u32', 'Most sessions of one.'],
});

export const Nat64Binding = record('Nat64Binding', 48, 'BIB entry: (X’, x) ↔ (T, t).', {
  address: ['bytes16', 'X’.'],
  local: ['u32', 'T, raw.'],
  sessions: ['u32', 'Sessions that use it.'],
  next6: ['u32', 'Next row of its chain in index6, or of the free list.'],
  next4: ['u32', 'Next row of its chain in index4.'],
  port6: ['u16', 'x.'],
  port4: ['u16', 't.'],
  protocol: ['u8', 'TCP, UDP or ICMP, by its IPv4 number.'],
  isStatic: ['u8', '1: made by the operator; stays without sessions.'],
  unused: ['u16', 'Zero.'],
  subscriber: ['u32', 'Row of the subscriber, or 0.'],
});

export const Nat64Session = record('Nat64Session', 24, 'Session entry: a binding and its peer (Z, z).', {
  binding: ['u32', 'Row of the binding.'],
  peer: ['u32', 'Z, raw.'],
  next: ['u32', 'Next row of its chain, or of the free list.'],
  expiresMs: ['u32', 'When it ends.'],
  peerPort: ['u16', 'z; 0 for ICMP.'],
  state: ['u8', 'Nat64Tcp.'],
  isProbed: ['u8', '1: idle, to be probed (RFC 6146, 3.5.2.2).'],
});

export const Nat64Subscriber = record('Nat64Subscriber', 32, 'What one subscriber has (RFC 6888, REQ-4).', {
  prefix: ['bytes16', 'IPv6 prefix, zeros behind it.'],
  bindings: ['u32', 'Its bindings.'],
  sessions: ['u32', 'Its sessions.'],
  next: ['u32', 'Next row of its chain, or of the free list.'],
});

export const Nat64Reassembly = record(
  'Nat64Reassembly',
  64,
  'A datagram that is put together; bits and bytes follow.',
  {
    source: ['bytes16', 'Source: key.'],
    destination: ['bytes16', 'Destination: key.'],
    identification: ['u32', 'Identification: key.'],
    expiresMs: ['u32', 'When it is given up.'],
    bytes: ['u32', 'Bytes that have come.'],
    total: ['u32', 'Length of the whole, or 0 while the last fragment is missing.'],
    protocol: ['u8', 'Protocol: key; 0: free.'],
    family: ['u8', '4 or 6: key.'],
    hops: ['u8', 'TTL or hop limit of the first fragment.'],
    trafficClass: ['u8', 'TOS or traffic class of the first fragment; CE of any (RFC 3168, 5.3).'],
  },
);

export const Nat64Fragment = record('Nat64Fragment', 80, 'What the first fragment of a datagram told.', {
  source: ['bytes16', 'Source of the fragments.'],
  destination: ['bytes16', 'Destination of the fragments.'],
  other: ['bytes16', 'The new address that only the ports could tell: T of an IPv6 packet, X’ of an IPv4 one.'],
  identification: ['u32', 'Identification.'],
  expiresMs: ['u32', 'When it is forgotten.'],
  protocol: ['u8', 'Protocol; 0: free.'],
  rangeCount: ['u8', 'Stretches in use.'],
  unused: ['u16', 'Zero.'],
  range0: ['u32', 'Stretches that have come: first unit of 8 bytes, and the one behind the last in the high half.'],
  range1: ['u32', 'Likewise.'],
  range2: ['u32', 'Likewise.'],
  range3: ['u32', 'Likewise.'],
  end: ['u32', 'Units of the whole, or 0 while the last fragment is missing.'],
});

export const Nat64HeldSyn = record('Nat64HeldSyn', 24, 'A SYN of the IPv4 side that waits (RFC 6146, 3.5.2.2).', {
  source: ['u32', 'Z, raw.'],
  destination: ['u32', 'T, raw.'],
  expiresMs: ['u32', 'When it is answered with port unreachable.'],
  bytes: ['u32', 'Bytes kept; 0: free.'],
  sourcePort: ['u16', 'z.'],
  destinationPort: ['u16', 't.'],
});
