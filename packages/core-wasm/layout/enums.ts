// Every enumeration that both sides of the wasm boundary know: numbers never change their meaning, new ones go to the end of their block.
import { endpointFlagEnum, endpointKindEnum } from './endpoint.ts';
import { enumeration, valuesOf } from './enumeration.ts';
import { cookieVerdictEnum, meterVerdictEnum, tcpOptionEnum } from './meters.ts';
import { nat64FlagEnum, nat64ReasonEnum, nat64TcpEnum, nat64VerdictEnum } from './nat64.ts';

export const verdictEnum = enumeration('Verdict', 'What becomes of a packet.', {
  None: [0, 'Not decided yet; no packet leaves a burst with it.'],
  Forward: [1, 'Sent out of portOut.'],
  Drop: [2, 'Counted under its reason and forgotten.'],
  Punt: [3, 'Handed to the main thread: kept or answered there.'],
  Consumed: [4, 'Absorbed; the core keeps nothing of it.'],
  Held: [5, 'Complete but for its link header: the next hop is not resolved yet.'],
});
export const Verdict = valuesOf(verdictEnum);

/** Blocks: 1–79 the director's walks, 80–111 the endpoint's, 112–127 ports; append inside the block. */
export const reasonEnum = enumeration(
  'Reason',
  'Why a packet was not forwarded. Counted by number, named in metrics and explain.',
  {
    None: [0, 'No reason: the packet was forwarded.'],
    TooShort: [1, 'A header is longer than what is left of the frame.'],
    BadHeader: [2, 'A header field has an impossible value (version, header length, total length).'],
    BadChecksum: [3, 'The IPv4 header checksum is wrong.'],
    NotIp: [4, 'The EtherType is neither IPv4 nor IPv6: left to the kernel.'],
    Fragment: [5, 'A fragment of what must come whole: tunnels and ICMP to a VIP (P15).'],
    ExtensionHeaders: [6, 'More IPv6 extension headers than the limit, or one that is refused.'],
    Protocol: [7, 'A transport protocol that nothing here handles.'],
    NotOurs: [8, 'The destination is no VIP, EIP or tunnel address of ours.'],
    NoListener: [9, 'A VIP of ours, but no listener on that port and protocol.'],
    Martian: [10, 'A source address that no packet may have: multicast, loopback, unspecified.'],
    SourceIsVip: [11, 'The source is the VIP itself (land attack).'],
    Loopback: [12, 'The chosen target is the client itself.'],
    UntrustedTunnel: [13, 'A tunnelled packet from an outer source that the image does not know (P38).'],
    BadTunnel: [14, 'GRE of another version or with routing, or a tunnelled protocol that is not IP.'],
    NestedTunnel: [15, 'A tunnel inside a tunnel.'],
    NoFlow: [16, 'A reply that belongs to no flow and from which none can be recreated (P8).'],
    MidFlow: [17, 'A TCP packet that is no SYN, without a flow, on a listener whose choice cannot be recomputed (P8).'],
    FlowTableFull: [18, 'No free flow entry and none that may be evicted.'],
    NoTarget: [19, 'The target group has no targets.'],
    NoHost: [20, 'The target needs a tunnel, and its host has no address of a usable family.'],
    NoRoute: [21, 'No route to the next hop.'],
    Unresolved: [22, 'The next hop has no link address yet: held, then dropped.'],
    TooBig: [
      23,
      'Larger than the path takes: answered with packet-too-big, or dropped when the answer is rate-limited (P14).',
    ],
    TtlExceeded: [24, 'TTL or hop limit ran out; answered with time-exceeded (P17).'],
    NoHeadroom: [25, 'The frame leaves no room for the outer headers.'],
    Tombstone: [26, 'The flow belongs to a removed target whose policy ends it.'],
    EchoLimited: [27, 'An ICMP echo over the rate limit.'],
    ErrorLimited: [28, 'An ICMP error that should have been sent, over the rate limit.'],
    IcmpUnmatched: [29, 'An ICMP error whose quoted packet belongs to no flow (P16).'],
    IcmpType: [30, 'An ICMP type that a VIP neither answers nor translates.'],
    TunnelPmtu: [31, 'An ICMP packet-too-big about a tunnel of ours: learned, then absorbed (P14).'],
    Probe: [32, 'A reply to a health probe: handed to the health checker (P24).'],
    NoEip: [33, 'Tunnelled to the stateless tier, but the source has no EIP (P28).'],
    NotTunnelledEip: [34, 'The host of an EIP has no usable tunnel address.'],
    PortPool: [35, 'No free source port towards this target (P6, P18).'],
    FamilyMismatch: [
      36,
      'Client and target are of different IP families and the listener does not translate between them.',
    ],
    BadTcp: [37, 'TCP with an impossible data offset or flag combination.'],
    NoImage: [38, 'No image has been applied yet.'],
    WalkBug: [39, 'A walk ended without a verdict: a bug, counted so that it shows.'],
    Reset: [40, 'A packet of a flow whose target was removed with the reset policy.'],
    TunnelToSibling: [41, 'A tunnel address of another worker; hand-over is not there yet (P10).'],
    ZeroChecksum: [42, 'UDP over IPv6 without a checksum.'],
    KernelOnly: [43, 'Left to the kernel: ARP, ND and other link-local traffic on this port.'],
    BadAddress: [44, 'A record whose frame would lie outside its chunk.'],
    FragmentTiny: [
      45,
      'A first fragment without its whole transport header, or a later one inside it (RFC 1858, 3128).',
    ],
    FragmentOverlap: [46, 'Fragments that overlap: the whole datagram is refused (RFC 5722; IPv4 likewise).'],
    FragmentBad: [47, 'A fragment with an impossible length or offset (RFC 791, RFC 8200).'],
    FragmentHeld: [48, 'Kept until the first fragment of its datagram comes, then sent or forgotten after 5 s (P15).'],
    FragmentLimit: [
      49,
      'More fragments than may be held, of this source or of all, or too many holes in the datagram.',
    ],
    FragmentDuplicate: [50, 'A fragment that has been here before.'],
    BurstFull: [51, 'No room in the burst for the pieces of a packet.'],
    TunnelChecksum: [52, 'GRE whose checksum is wrong (RFC 2784).'],
    TunnelKey: [53, 'GRE without a key, so no net is named (RFC 2890).'],
    TunnelLoop: [54, 'The way to the target leads to a tunnel address of our own.'],
    NewFlowLimit: [55, 'A new flow above the limit of its listener.'],
    Asked: [56, 'In mid-flow and unknown here: the packet itself went to all peers (P9).'],
    AskLimited: [57, 'In mid-flow and unknown here, above the rate of questions to the peers.'],
    PeerUnknown: [58, 'A packet of a peer that belongs to no flow of ours either.'],
    PeerTag: [59, 'A packet with the key of peers whose tag is wrong or missing.'],
    Handshake: [64, 'Of a connection whose target is not chosen yet: on its way to delayed binding (P26, P27).'],
    NoCookie: [65, 'A SYN that the director would answer itself, but it has no keys for SYN cookies yet (P26).'],
    Kept: [66, 'Taken in for a connection whose target is not connected yet (P26).'],
    PendingFull: [67, 'As many connections wait for their target as may (P27).'],
    DoubleTag: [70, 'Two VLAN tags, or an 802.1ad one: a frame may carry one 802.1Q tag.'],
    UdpLite: [71, 'UDP-Lite (RFC 3828) to a VIP: no listener takes it. To and from EIPs it is forwarded.'],
    LimitPackets: [72, 'Over the packet rate of its service (P33).'],
    LimitBits: [73, 'Over the bit rate of its service (P33).'],
    LimitConnections: [74, 'A new flow over the connection rate of its service (P33).'],
    AccessDenied: [75, 'A new flow that the access list of the load balancer does not let in.'],
    SpoofedSource: [80, 'A VM sent from an address, link or IP, that is not its own (P38).'],
    NoWayOut: [81, 'No rule of the endpoint names a way out for this packet of a VM (P7).'],
    UnknownVm: [82, 'A tunnelled packet for an address that is not here.'],
    UnknownNet: [83, 'A tunnelled packet whose VPC id does not fit its destination.'],
    SourceElsewhere: [84, 'A tunnelled packet whose inner source does not live behind its outer source (P38).'],
    Congestion: [85, 'The tunnel marked congestion and the inner packet cannot carry the mark (RFC 6040).'],
  },
);
export const Reason = valuesOf(reasonEnum);

export const packetFlagEnum = enumeration('PacketFlag', 'Bits of PacketRecord.flags.', {
  Layer3: [1, 'Received on a port without link headers: the frame begins with the IP header. Set by the port.'],
  PartialChecksum: [2, 'The transport checksum is not filled in (offload). Set by the port.'],
  NewFlow: [4, 'This packet made its flow.'],
  PickedUp: [8, 'The flow was recreated in mid-flow (P8).'],
  FromTunnel: [16, 'Decapsulated.'],
  Generated: [32, 'Made by the core in place of the received packet: echo reply, ICMP error.'],
  Clamped: [64, 'The MSS option was lowered.'],
  Encapsulated: [128, 'Carries outer headers of ours.'],
  FromPeer: [1024, 'Handed over by another director: never handed on (P9).'],
  Tagged: [512, 'Came with an 802.1Q tag, kept in spare0; goes out with it on the same port.'],
  NextHopIsTarget: [256, 'Encapsulation L2: the next hop is the target itself, whatever the destination says.'],
});
export const PacketFlag = valuesOf(packetFlagEnum);

export const directionEnum = enumeration('Direction', 'Which walk a packet takes (P3).', {
  None: [0, 'Not dispatched.'],
  Inbound: [1, 'Client to target, through a listener.'],
  Outbound: [2, 'Target to client, out of a tunnel.'],
  EipInbound: [3, 'To an EIP, without state (P28).'],
  EipOutbound: [4, 'From the owner of an EIP, without state (P28).'],
  Icmp: [5, 'ICMP to an address of ours (P16, P17).'],
  Probe: [6, 'A reply to a health probe (P24).'],
  Tunnel: [7, 'Out of a tunnel: asked again when the inner packet is known.'],
  TunnelIcmp: [8, 'ICMP about a tunnel of ours (P14).'],
});
export const Direction = valuesOf(directionEnum);

export const translationEnum = enumeration('Translation', 'What a listener changes in the packet itself.', {
  None: [0, 'Nothing: the target owns the VIP.'],
  Dnat: [1, 'Destination becomes the target; the client stays visible.'],
  FullNat: [2, 'Source becomes a local address of the director as well (P18).'],
  Nat64: [3, 'FullNat between families (P32).'],
});
export const Translation = valuesOf(translationEnum);

export const encapsulationEnum = enumeration('Encapsulation', 'How a packet reaches its target.', {
  None: [0, 'Routed as it is.'],
  L2: [1, 'As it is, to the link address of the target (LVS-DR).'],
  Ipip: [2, 'IP in IP.'],
  Gre: [3, 'GRE whose key is the VPC id.'],
});
export const Encapsulation = valuesOf(encapsulationEnum);

export const schedulerEnum = enumeration('Scheduler', 'How a listener picks the target of a new flow.', {
  Maglev: [0, 'Consistent hash of addresses and ports (P12).'],
  Wrr: [1, 'Smooth weighted round robin, state per worker (P13).'],
  SourceHash: [2, 'Consistent hash of the client address alone.'],
  LeastConnections: [3, 'Fewest flows by weight, counted per worker (P13).'],
});
export const Scheduler = valuesOf(schedulerEnum);

export const onRemoveEnum = enumeration('OnRemove', 'What happens to the flows of a removed target.', {
  Run: [0, 'They run on to their end.'],
  Reset: [1, 'They are ended.'],
  Reschedule: [2, 'Their next packet is given another target.'],
});
export const OnRemove = valuesOf(onRemoveEnum);

export const flowStateEnum = enumeration('FlowState', 'State of a flow entry; the timeout follows from it.', {
  Free: [0, 'Not in use.'],
  SynSeen: [1, 'TCP: only the client has been seen, by its SYN or in mid-flow. Half-open: evicted first.'],
  SynAckSeen: [2, 'TCP: SYN/ACK of the target passed. Half-open.'],
  Established: [3, 'TCP: both sides have spoken, or a direct-return flow whose client sent its ACK.'],
  FinSeen: [4, 'TCP: one side has sent FIN.'],
  TimeWait: [5, 'TCP: both sides have sent FIN.'],
  Closed: [6, 'TCP: RST passed.'],
  Datagram: [7, 'UDP and the rest: only one side has spoken.'],
  DatagramReplied: [8, 'UDP and the rest: both sides have spoken.'],
});
export const FlowState = valuesOf(flowStateEnum);

export const fragmentProgressEnum = enumeration('FragmentProgress', 'What is known of a datagram in fragments.', {
  Free: [0, 'Not in use.'],
  Waiting: [1, 'The first fragment has not come.'],
  Known: [2, 'Its ports are known: every further fragment follows the first.'],
  Refused: [3, 'Fragments have overlapped: nothing of it passes any more.'],
});
export const FragmentProgress = valuesOf(fragmentProgressEnum);

export const flowFlagEnum = enumeration('FlowFlag', 'Bits of FlowEntry.flags.', {
  PickedUp: [1, 'Recreated in mid-flow: the window of the client is unchecked.'],
  PortRewritten: [2, 'The source port seen by the target is not the client’s (P6).'],
  FinInbound: [4, 'The client has sent FIN.'],
  FinOutbound: [8, 'The target has sent FIN.'],
  Rescheduled: [16, 'Given another target after its own was removed or died.'],
  OneWay: [32, 'Without a reverse key: replies do not pass here.'],
  Promoted: [128, 'Taken over from the standby table.'],
  Binding: [256, 'The director itself speaks with the target, or with the client for it (P26).'],
  Translated: [
    512,
    'Sequence numbers, timestamps and windows are translated; bits 12 to 15 hold the window shift + 8.',
  ],
  WasEstablished: [64, 'Closed by a reset of the client that may be forged: it goes on when the client does.'],
});
export const FlowFlag = valuesOf(flowFlagEnum);

export const flowSyncEnum = enumeration('FlowSync', 'What the peers know of a flow (P9).', {
  Fresh: [0, 'Nothing yet: told at the age that its listener says.'],
  Due: [1, 'Told at once: taken over, or asked for by a peer, or nobody could recompute it.'],
  Sent: [2, 'Told; again while it is active.'],
  Ended: [3, 'Its end was told.'],
});
export const FlowSync = valuesOf(flowSyncEnum);

export const onUnknownEnum = enumeration('OnUnknown', 'What a client gets whose connection no director knows (P8).', {
  Reset: [0, 'RST, rate-limited.'],
  Drop: [1, 'Nothing.'],
});
export const OnUnknown = valuesOf(onUnknownEnum);

export const handshakeEnum = enumeration('Handshake', 'Who answers the SYN of a client (P26, P27).', {
  Target: [0, 'The target.'],
  Director: [1, 'The director, which connects to the target when the client has proved itself.'],
  Auto: [2, 'The target, and above a rate of SYNs the director.'],
  Domain: [3, 'The director, which reads the name that the client asks for before it chooses a target.'],
});
export const Handshake = valuesOf(handshakeEnum);

export const pendingStateEnum = enumeration('PendingState', 'How far a delayed binding is.', {
  Free: [0, 'Not in use.'],
  Proved: [1, 'The client has proved itself; its first data is awaited.'],
  Connecting: [2, 'A SYN is on its way to the target.'],
  Delivering: [3, 'The target is connected; it has not acknowledged all that was kept.'],
});
export const PendingState = valuesOf(pendingStateEnum);

export const addressKindEnum = enumeration('AddressKind', 'What an entry of the address table says about its key.', {
  Empty: [0, 'Not in use.'],
  Listener: [1, '(net, VIP, vport, protocol) → listener slot.'],
  Vip: [2, '(net, VIP) → 0.'],
  Eip: [3, '(EIP) → row of the EIP.'],
  EipPrivate: [4, '(net, private address) → row of the EIP.'],
  Tunnel: [5, '(tunnel address) → worker in the low byte, 256 when it is another director’s.'],
  Anycast: [6, '(E) → 0.'],
  Probe: [7, '(probe address) → 0.'],
  Trusted: [8, '(outer source from which tunnels are accepted) → 0.'],
  Target: [9, '(net, target address, port, protocol) → target slot: the reverse key.'],
  Rebuild: [10, 'As Target → the only listener slot that uses it, or NONE when there are several (P8).'],
  Domain: [12, '(listener slot, digest of a domain name) → group slot (P27).'],
  Routed: [11, '(net 0, target address) of encapsulation none: replies come back untunnelled (LVS-NAT).'],
});
export const AddressKind = valuesOf(addressKindEnum);

export const rowFlagEnum = enumeration('RowFlag', 'Bits of the flags of listener, target, host and EIP rows.', {
  Present: [1, 'The row belongs to the image.'],
  Tombstone: [2, 'Removed from the image, kept for the flows that refer to it (P5).'],
  DirectReturn: [4, 'Listener: replies do not come back through the director.'],
  Limited: [
    8,
    'Listener: its packets take tokens of the meter of its service (P33). Changes while the bank is in use.',
  ],
  Guarded: [16, 'Listener: new flows are looked up in its access list.'],
});
export const RowFlag = valuesOf(rowFlagEnum);

export const healthEnum = enumeration(
  'Health',
  'Live verdict on a target, written by the health checker between images.',
  {
    Unknown: [0, 'Never probed: no traffic while a target of the group is known alive (P24).'],
    Alive: [1, 'Usable.'],
    Dead: [2, 'Passed over while another target of the group is usable.'],
  },
);
export const Health = valuesOf(healthEnum);

export const stepEnum = enumeration('Step', 'Steps of the walks, as trace records name them.', {
  None: [0, 'No step.'],
  Parse: [1, 'Headers read. a = protocol, b = source port, c = destination port, d = TCP flags.'],
  Dispatch: [2, 'Walk chosen. a = Direction, b = net.'],
  Classify: [3, 'Listener looked up. a = listener slot.'],
  Admit: [4, 'Let in.'],
  Track: [5, 'Flow looked up. a = flow slot or NONE, b = state, c = flags, d = keyed hash.'],
  Schedule: [6, 'Target chosen. a = target slot, b = Maglev slot or NONE, c = re-hashes, d = scheduler.'],
  Translate: [7, 'Addresses rewritten. a = Translation, b = source port, c = destination port.'],
  Encapsulate: [8, 'Outer headers put in front. a = Encapsulation, b = key, c = host slot, d = bytes added.'],
  Decapsulate: [9, 'Outer headers taken off. a = key, b = bytes taken.'],
  Emit: [10, 'Next hop. a = port, b = neighbour row or NONE.'],
  Icmp: [11, 'ICMP handled. a = type, b = code.'],
  Eip: [12, 'EIP translated. a = row, b = net.'],
  Verdict: [13, 'End of the walk. a = Verdict, b = Reason.'],
  Guard: [14, 'Access list asked. a = 1 when it lets the flow in.'],
  Handshake: [15, 'Left to delayed binding. a = Handshake, b = 1 when the flow has its target.'],
});
export const Step = valuesOf(stepEnum);

export const portKindEnum = enumeration('LinkKind', 'What a port row says about the link.', {
  Absent: [0, 'No such port.'],
  Ethernet: [1, 'Frames carry an Ethernet header.'],
  Ip: [2, 'Frames begin with the IP header (tun).'],
});
export const LinkKind = valuesOf(portKindEnum);

export const ENUMS = [
  verdictEnum,
  reasonEnum,
  packetFlagEnum,
  directionEnum,
  translationEnum,
  encapsulationEnum,
  schedulerEnum,
  onRemoveEnum,
  flowStateEnum,
  flowFlagEnum,
  flowSyncEnum,
  onUnknownEnum,
  handshakeEnum,
  pendingStateEnum,
  fragmentProgressEnum,
  addressKindEnum,
  rowFlagEnum,
  healthEnum,
  stepEnum,
  portKindEnum,
  endpointKindEnum,
  endpointFlagEnum,
  nat64VerdictEnum,
  nat64ReasonEnum,
  nat64FlagEnum,
  nat64TcpEnum,
  meterVerdictEnum,
  cookieVerdictEnum,
  tcpOptionEnum,
] as const;
