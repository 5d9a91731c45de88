// Records of the director's tables and of the memory map. One memory a process: `data-plane.md` P4, P5, P11, P12.
import { record } from './record.ts';

export const MemoryMap = record(
  'MemoryMap',
  256,
  'Where everything lies; written once by the planner at MAP_ADDRESS.',
  {
    magic: ['u32', 'MAP_MAGIC.'],
    layoutHash: ['u32', 'Hash of every record, enumeration and limit; a core with another one refuses this memory.'],
    pages: ['u32', 'WebAssembly pages (64 KiB) of the memory.'],
    workers: ['u32', 'Workers with regions of their own; the map of the explaining instance follows the last one.'],
    workerMaps: ['u32', 'Address of the first WorkerMap.'],
    control: ['u32', 'Address of the ControlBlock.'],
    bankA: ['u32', 'Image bank of even generations.'],
    bankB: ['u32', 'Image bank of odd generations.'],
    bankBytes: ['u32', 'Bytes of one bank.'],
    listenersMax: ['u32', 'Listener slots.'],
    targetsMax: ['u32', 'Target slots.'],
    groupsMax: ['u32', 'Group slots.'],
    hostsMax: ['u32', 'Host slots.'],
    eipsMax: ['u32', 'EIP rows.'],
    membersMax: ['u32', 'Group members of all groups together.'],
    maglevMax: ['u32', 'Maglev slots of all groups together.'],
    addressSlots: ['u32', 'Slots of the address table; a power of two.'],
    bankListeners: ['u32', 'Offset of the listener rows in a bank.'],
    bankTargets: ['u32', 'Offset of the target rows in a bank.'],
    bankGroups: ['u32', 'Offset of the group rows in a bank.'],
    bankHosts: ['u32', 'Offset of the host rows in a bank.'],
    bankEips: ['u32', 'Offset of the EIP rows in a bank.'],
    bankMembers: ['u32', 'Offset of the group members in a bank.'],
    bankTunnels: ['u32', 'Offset of our own tunnel rows, one a worker, in a bank.'],
    bankAddresses: ['u32', 'Offset of the address table in a bank.'],
    bankMaglev: ['u32', 'Offset of the Maglev slots (u16 member numbers) in a bank.'],
    health: ['u32', 'Live table: one byte (Health) a target slot, written by the main thread.'],
    hostPmtu: ['u32', 'Live table: HostPmtu a host slot.'],
    nextHops: ['u32', 'Address of the NextHopTable.'],
    routes: ['u32', 'Address of the RouteRows.'],
    neighbours: ['u32', 'Address of the NeighbourRows.'],
    portRows: ['u32', 'Address of the PortRows, PORTS_MAX of them.'],
    endpointShared: ['u32', 'Region of the endpoint’s image tables; laid out by the endpoint itself.'],
    endpointSharedBytes: ['u32', 'Bytes of it.'],
    standby: ['u32', 'Address of the StandbyState.'],
    bankPeers: ['u32', 'Offset of the peer rows in a bank.'],
    bankAccessNodes: ['u32', 'Offset of the AccessNodes in a bank.'],
    bankAccessRules: ['u32', 'Offset of the AccessRules in a bank.'],
    accessMax: ['u32', 'Rules of all access lists together; nodes are twice as many.'],
    cookies: ['u32', 'Address of the CookieState.'],
  },
);

export const WorkerMap = record('WorkerMap', 192, 'Regions of one worker.', {
  worker: ['u32', 'Number of the worker.'],
  readOnly: ['u32', '1 for the explaining instance: it never writes flows.'],
  state: ['u32', 'Address of the WorkerState.'],
  burst: ['u32', 'Address of the PacketRecords, BURST_MAX of them.'],
  slab: ['u32', 'Address of the slab; page-aligned. Every frame address is relative to it.'],
  slabBytes: ['u32', 'Bytes of the slab.'],
  injectChunk: ['u32', 'Slab-relative start of the chunks that no port owns: frames made by the main program.'],
  injectChunks: ['u32', 'How many of them.'],
  flows: ['u32', 'Address of the FlowEntries.'],
  flowsMax: ['u32', 'Flow entries.'],
  flowIndex: ['u32', 'Address of the index, u32 slots.'],
  flowIndexSlots: ['u32', 'Index slots; a power of two.'],
  listenerRefs: ['u32', 'Address of u32 reference counts, one a listener slot.'],
  targetRefs: ['u32', 'Address of u32 reference counts, one a target slot.'],
  wrr: ['u32', 'Address of i32 current weights, one a group member.'],
  reasons: ['u32', 'Address of u64 counters, one a Reason.'],
  listenerCounters: ['u32', 'Address of TrafficCounters, one a listener slot.'],
  targetCounters: ['u32', 'Address of TrafficCounters, one a target slot.'],
  eipCounters: ['u32', 'Address of TrafficCounters, one an EIP row.'],
  unresolved: ['u32', 'Address of the UnresolvedRows, UNRESOLVED_MAX of them.'],
  trace: ['u32', 'Address of the TraceRecords, TRACE_MAX of them.'],
  portStates: ['u32', 'Address of the PortStates.'],
  portsMax: ['u32', 'How many of them.'],
  portAreas: ['u32', 'Ring areas of the ports, PORT_AREA_BYTES each; page-aligned.'],
  endpoint: ['u32', 'Region of the endpoint’s own memory (return memory); laid out by the endpoint.'],
  endpointBytes: ['u32', 'Bytes of it.'],
  ways: ['u32', 'Address of the Ways, one a target slot.'],
  extraChunk: [
    'u32',
    'Slab-relative start of the chunks for packets that the core adds to a burst, EXTRA_MAX of them.',
  ],
  fragments: ['u32', 'Address of the FragmentState, or 0.'],
  asks: ['u32', 'Address of the AskRows, ASK_ROWS of them.'],
  sticky: ['u32', 'Address of the StickyEntries, STICKY_ROWS of them.'],
  meters: ['u32', 'Address of the meters, METER_ROW_BYTES each, one a listener slot.'],
  binding: ['u32', 'Address of the BindingState, or 0.'],
  bindingListeners: ['u32', 'Address of the BindingListeners, one a listener slot.'],
});

export const ControlBlock = record('ControlBlock', 64, 'Words between main thread and workers; one cache line.', {
  generation: [
    'u32',
    'Number of the newest complete bank: even in A, odd in B, 0 before the first image. Written atomically.',
  ],
  endpointGeneration: ['u32', 'The same for the endpoint’s own tables.'],
  stop: ['u32', 'Not 0: workers end.'],
  synSeenMs: ['u32', 'Idle time instead of SYN_SEEN_MS; 0 keeps that.'],
  synAckSeenMs: ['u32', 'Likewise.'],
  finSeenMs: ['u32', 'Likewise.'],
  timeWaitMs: ['u32', 'Likewise.'],
  closedMs: ['u32', 'Likewise.'],
  directClosedMs: ['u32', 'Likewise.'],
  datagramMs: ['u32', 'Likewise.'],
});

export const WorkerState = record('WorkerState', 384, 'What one worker keeps between bursts.', {
  adopted: ['u32', 'Generation in use: the acknowledgement of the flip (P11). Written atomically.'],
  heartbeat: ['u32', 'Counts bursts and idle rounds; the watchdog looks at it (P2).'],
  flowFree: ['u32', 'First free flow entry + 1, or 0; free entries are chained through FlowEntry.next.'],
  flowFresh: ['u32', 'First flow entry that was never used.'],
  flowCount: ['u32', 'Flow entries in use.'],
  expireCursor: ['u32', 'Where expireFlows goes on.'],
  evictCursor: ['u32', 'Where the search for an entry to evict goes on.'],
  unresolvedHead: ['u32', 'Unresolved next hops reported so far.'],
  unresolvedTail: ['u32', 'Unresolved next hops taken so far; written by the main program.'],
  echoTokens: ['u32', 'Tokens of the echo bucket.'],
  errorTokens: ['u32', 'Tokens of the ICMP error bucket.'],
  tokensMs: ['u32', 'When the buckets were filled last.'],
  sipKey0: ['u64', 'Key of the flow hash, first half: random, set before the first packet.'],
  sipKey1: ['u64', 'Key of the flow hash, second half.'],
  flowsCreated: ['u64', 'Flows created.'],
  flowsExpired: ['u64', 'Flows ended by their idle time.'],
  flowsEvicted: ['u64', 'Half-open flows evicted by a full table.'],
  flowsPickedUp: ['u64', 'Flows recreated in mid-flow.'],
  portsRewritten: ['u64', 'Flows whose source port was rewritten (P6).'],
  received: ['u64', 'Packets that entered a walk.'],
  forwarded: ['u64', 'Packets with the verdict Forward.'],
  dropped: ['u64', 'Packets with the verdict Drop.'],
  punted: ['u64', 'Packets with the verdict Punt.'],
  consumed: ['u64', 'Packets with the verdict Consumed.'],
  held: ['u64', 'Packets with the verdict Held.'],
  generated: ['u64', 'Packets forwarded that the core made itself: echo replies and ICMP errors.'],
  added: ['u64', 'Packets that the core added to bursts: further pieces of packets, and fragments that were held.'],
  fragmented: ['u64', 'Packets cut into pieces because their tunnel takes less (P14).'],
  fragmentsHeld: ['u64', 'Fragments kept until the first of their datagram came.'],
  fragmentsExpired: ['u64', 'Fragments that waited in vain.'],
  fragmentsEvicted: ['u64', 'Datagrams that gave way in a full fragment table.'],
  trace: ['u32', 'Trace records written for the packet in hand.'],
  askTokens: ['u32', 'Tokens of the bucket of questions.'],
  askTokensMs: ['u32', 'When it was filled last.'],
  askSpare: ['u32', 'Room for a later field.'],
  flowsPromoted: ['u64', 'Flows taken over from the standby table (P9).'],
  asks: ['u64', 'Packets without a flow that all peers were asked about.'],
  asksLimited: ['u64', 'Packets without a flow that were above the rate of questions.'],
  asksAnswered: ['u64', 'Packets of peers that belonged to a flow of ours and went on.'],
  midFlowResets: ['u64', 'Clients told by RST that nobody has their connection.'],
  accessEpoch: ['u32', 'BankHeader.accessEpoch that flows were looked at under.'],
  accessLeft: ['u32', 'Flow entries still to be looked at.'],
});

export const BankHeader = record('BankHeader', 192, 'First bytes of an image bank.', {
  generation: ['u32', 'Generation of this bank.'],
  listeners: ['u32', 'Listener slots in use or tombstoned: one more than the highest.'],
  targets: ['u32', 'Target slots, likewise.'],
  groups: ['u32', 'Group slots, likewise.'],
  hosts: ['u32', 'Host slots, likewise.'],
  eips: ['u32', 'EIP rows.'],
  addresses: ['u32', 'Entries of the address table.'],
  internalVips: ['u32', 'VIPs inside VPCs; without any, a reply is not looked up as a request.'],
  anycast4: ['bytes16', 'E over IPv4, or zeros.'],
  anycast6: ['bytes16', 'E over IPv6, or zeros.'],
  probe4: ['bytes16', 'Source of our probes over IPv4, or zeros.'],
  probe6: ['bytes16', 'Source of our probes over IPv6, or zeros.'],
  lip4: ['bytes16', 'First local address for full NAT over IPv4 (P18).'],
  lip6: ['bytes16', 'First local address for full NAT over IPv6.'],
  ordinal: ['u32', 'Ordinal of this node: where wrr starts (P13).'],
  poolAddresses: ['u32', 'Local addresses of full NAT.'],
  poolFirst: ['u32', 'First port of each.'],
  poolPorts: ['u32', 'Ports of each.'],
  peerKey0: ['u64', 'Key of the tag on peer packets, first half; 0 and 0: no cluster.'],
  peerKey1: ['u64', 'Second half.'],
  peers: ['u32', 'Other directors, PEERS_MAX at most.'],
  accessEpoch: ['u32', 'Another number when access lists or their use have changed: flows are looked at again.'],
  handshakes: ['u32', 'Listeners whose connections are not left to the target from the first packet on (P26, P27).'],
});

export const ListenerRow = record('ListenerRow', 64, 'A listener, by slot.', {
  id: ['u64', 'Stable id.'],
  vip: ['bytes16', 'VIP.'],
  net: ['u32', '0, or the VPC id of an internal VIP.'],
  group: ['u32', 'Group slot.'],
  idleMs: ['u32', 'Idle time of an established flow.'],
  vport: ['u16', 'Port clients use.'],
  protocol: ['u8', 'IP protocol.'],
  translation: ['u8', 'Translation.'],
  scheduler: ['u8', 'Scheduler.'],
  flags: ['u8', 'RowFlag bits.'],
  onRemove: ['u8', 'OnRemove.'],
  family: ['u8', '4 or 6.'],
  newFlowsPerSecond: ['u32', 'New flows a second that a worker lets in, as many at once; 0: no limit.'],
  syncAfterMs: ['u32', 'Age from which a flow is told to the peers (P9).'],
  meter: ['u32', 'Meter of the service: rows of one listener under several VIPs share one.'],
  access: ['u32', 'First node of the access list in the family of the VIP.'],
  stickySeconds: ['u16', 'How long a client keeps its target for new flows (P34); 0: not at all.'],
  onUnknown: ['u8', 'OnUnknown.'],
  handshake: ['u8', 'Handshake.'],
});

export const TargetRow = record('TargetRow', 64, 'A target, by slot.', {
  id: ['u64', 'Stable id.'],
  address: ['bytes16', 'Address of the target inside its net.'],
  net: ['u32', 'VPC id, 0 for the underlay.'],
  host: ['u32', 'Host slot, or NONE.'],
  port: ['u16', 'Port of the target; 0 keeps the vport.'],
  encapsulation: ['u8', 'Encapsulation.'],
  flags: ['u8', 'RowFlag bits.'],
  family: ['u8', '4 or 6.'],
});

export const GroupRow = record('GroupRow', 48, 'A target group, by slot.', {
  id: ['u64', 'Stable id.'],
  members: ['u32', 'First row of its members.'],
  memberCount: ['u32', 'Members, weight 0 included.'],
  maglev: ['u32', 'First of its Maglev slots.'],
  slots: ['u32', 'Maglev slots; 0 when no member has a weight.'],
  weightSum: ['u32', 'Sum of the weights.'],
});

export const MemberRow = record('MemberRow', 8, 'A target in a group, sorted by stable id.', {
  target: ['u32', 'Target slot.'],
  weight: ['u32', '0 drains.'],
});

export const HostRow = record('HostRow', 48, 'A tunnel end, by slot.', {
  id: ['u64', 'Stable id.'],
  v4: ['bytes16', 'Underlay IPv4 address, or zeros.'],
  v6: ['bytes16', 'Underlay IPv6 address, or zeros.'],
  flags: ['u32', 'RowFlag bits.'],
});

export const HostPmtu = record('HostPmtu', 8, 'Learned MTU of the tunnel to a host (P14).', {
  mtu: ['u32', 'Bytes, or 0 when nothing is learned.'],
  untilMs: ['u32', 'When it is forgotten.'],
});

export const EipRow = record('EipRow', 64, 'An EIP (P28), by row.', {
  id: ['u64', 'Stable id.'],
  eip: ['bytes16', 'Public address.'],
  address: ['bytes16', 'Private address.'],
  net: ['u32', 'VPC id of the private address.'],
  host: ['u32', 'Host slot.'],
  flags: ['u32', 'RowFlag bits.'],
});

export const TunnelRow = record('TunnelRow', 32, 'Our own tunnel addresses T(d,w), by worker.', {
  v4: ['bytes16', 'IPv4, or zeros.'],
  v6: ['bytes16', 'IPv6, or zeros.'],
});

export const AddressEntry = record(
  'AddressEntry',
  32,
  'A slot of the address table: open addressing, linear probing, never full.',
  {
    address: ['bytes16', 'Address of the key.'],
    net: ['u32', 'Net of the key.'],
    port: ['u16', 'Port of the key, or 0.'],
    protocol: ['u8', 'Protocol of the key, or 0.'],
    kind: ['u8', 'AddressKind; Empty ends a probe.'],
    value: ['u32', 'What the kind says.'],
    hash: ['u32', 'Hash of the key.'],
  },
);

export const FlowEntry = record(
  'FlowEntry',
  128,
  'A flow under two keys (P4). The first cache line holds all that a known flow needs.',
  {
    client: ['bytes16', 'Client address: forward key.'],
    seen: ['bytes16', 'Source that the target sees: reverse key. The client itself but in full NAT.'],
    listener: ['u32', 'Listener slot: forward key.'],
    target: ['u32', 'Target slot: reverse key.'],
    clientPort: ['u16', 'Client port, or ICMP identifier.'],
    seenPort: ['u16', 'Source port that the target sees.'],
    state: ['u8', 'FlowState.'],
    protocol: ['u8', 'IP protocol.'],
    flags: ['u16', 'FlowFlag bits.'],
    inboundMs: ['u32', 'Last packet of the client.'],
    outboundMs: ['u32', 'Last packet of the target.'],
    packetsIn: ['u32', 'Packets of the client.'],
    packetsOut: ['u32', 'Packets of the target.'],
    forwardHash: ['u32', 'Hash of the forward key.'],
    reverseHash: ['u32', 'Hash of the reverse key.'],
    worker: ['u32', 'T(last): the worker whose tunnel address carries this flow.'],
    sequenceDelta: ['u32', 'Added to outbound sequence numbers (P26).'],
    timestampDelta: ['u32', 'Added to outbound timestamps (P26).'],
    epoch: ['u32', 'Sync: how often the flow has changed its owner (P9).'],
    syncedMs: ['u32', 'Sync: last record sent.'],
    ordinal: ['u16', 'Sync: ordinal of the owner.'],
    sync: ['u8', 'FlowSync.'],
    spare: ['u8', 'Room for a later field.'],
    clientHost: ['bytes16', 'Outer source of a client inside a VPC (internal VIP): replies go back to it.'],
    createdMs: ['u32', 'First packet.'],
    next: ['u32', 'Next free entry + 1, or 0, while free.'],
    endSequence: [
      'u32',
      'Behind the FIN of the client: the sequence number that the target expects of it, or 0 (P18).',
    ],
    endTimestamp: ['u32', 'TSval of the client from its FIN on, or 0 (P18).'],
  },
);

export const StickyEntry = record('StickyEntry', 32, 'The target that a client of a listener had last (P34).', {
  client: ['bytes16', 'Client address.'],
  listener: ['u32', 'Listener slot.'],
  target: ['u32', 'Target slot; it counts only while it is a member of the group of the listener.'],
  untilMs: ['u32', 'When it is forgotten.'],
  isUsed: ['u32', '0 before the first use.'],
});

export const Way = record(
  'Way',
  128,
  'The tunnel to a target as the walk found it last: headers ready to be copied, and under what they hold.',
  {
    generation: ['u32', 'Generation of the image, or 0 when nothing is known.'],
    sequence: ['u32', 'NextHopTable.sequence.'],
    limit: ['u32', 'Largest inner packet by route and port; what is learned about the host comes on top.'],
    overhead: ['u32', 'Bytes of the outer headers without the link header.'],
    host: ['u32', 'Host slot.'],
    neighbour: ['u32', 'Neighbour row.'],
    sum: ['u32', 'Sum of the outer IPv4 header without its first word and checksum.'],
    headerBytes: ['u8', 'Bytes of link header and outer headers.'],
    innerFamily: ['u8', '4 or 6.'],
    outerFamily: ['u8', '4 or 6.'],
    port: ['u8', 'Port index.'],
    header0: ['bytes16', 'The headers; they end where this block of 64 bytes ends.'],
    header1: ['bytes16', 'Second quarter.'],
    header2: ['bytes16', 'Third quarter.'],
    header3: ['bytes16', 'Last quarter.'],
  },
);

export const TrafficCounter = record(
  'TrafficCounter',
  64,
  'Traffic of a listener, target or EIP, seen by one worker.',
  {
    packetsIn: ['u64', 'Packets towards the target.'],
    bytesIn: ['u64', 'Bytes of them, IP header included, tunnel excluded.'],
    packetsOut: ['u64', 'Packets towards the client.'],
    bytesOut: ['u64', 'Bytes of them.'],
    flowsCreated: ['u64', 'Flows created.'],
    flowsActive: ['u64', 'Flows alive.'],
    dropped: [
      'u64',
      'Of a target: new flows that found no free source port (P18). Of a listener: new flows above its limit.',
    ],
    newTokens: ['u32', 'Of a listener: new flows that it may still have.'],
    newTokensMs: ['u32', 'When they were refilled.'],
  },
);

export const NextHopTable = record(
  'NextHopTable',
  64,
  'Head of the live next-hop table, under one seqlock: routes and neighbours change seldom.',
  {
    sequence: ['u32', 'Odd while the main thread writes.'],
    routes: ['u32', 'Route rows in use, longest prefix first.'],
  },
);

export const RouteRow = record('RouteRow', 80, 'A route. Prefix and mask are those of the 16-byte form.', {
  prefix: ['bytes16', 'Prefix, host bits zero.'],
  mask: ['bytes16', 'Mask.'],
  gateway: ['bytes16', 'Gateway, or zeros when the destination is on the link.'],
  port: ['u32', 'Port index.'],
  mtu: ['u32', 'MTU of the route, or 0 for that of the port.'],
  family: ['u32', '4 or 6: a default route of IPv6 must not take IPv4.'],
  length: ['u32', 'Prefix length in 128 bits.'],
  neighbour: ['u32', 'Row of the gateway in the neighbour table + 1, or 0 while it is unresolved.'],
});

export const NeighbourRow = record(
  'NeighbourRow',
  32,
  'A resolved neighbour: open addressing by address, linear probing.',
  {
    address: ['bytes16', 'Address; zeros when empty.'],
    mac: ['bytes6', 'Link address.'],
    port: ['u16', 'Port index.'],
    usedMs: ['u32', 'Last packet sent to it; written by the core, so the main program knows what to keep fresh (P36).'],
    flags: ['u32', '1 = resolved.'],
  },
);

export const PortRow = record('PortRow', 32, 'A port as the path sees it.', {
  mac: ['bytes6', 'Own link address.'],
  kind: ['u16', 'LinkKind.'],
  mtu: ['u32', 'Largest IP packet.'],
  flags: ['u32', 'RowFlag bits.'],
});

export const UnresolvedRow = record(
  'UnresolvedRow',
  32,
  'A next hop without a link address, reported to the main program.',
  {
    address: ['bytes16', 'Address to resolve.'],
    port: ['u32', 'Port index.'],
    atMs: ['u32', 'When.'],
  },
);

export const TraceRecord = record('TraceRecord', 96, 'What one step of the walk saw (explain).', {
  step: ['u8', 'Step.'],
  verdict: ['u8', 'Verdict after the step.'],
  reason: ['u8', 'Reason after the step.'],
  family: ['u8', '4 or 6.'],
  a: ['u32', 'As the step says.'],
  b: ['u32', 'As the step says.'],
  c: ['u32', 'As the step says.'],
  d: ['u32', 'As the step says.'],
  net: ['u32', 'Net of the packet after the step.'],
  source: ['bytes16', 'Source after the step.'],
  destination: ['bytes16', 'Destination after the step.'],
  outerSource: ['bytes16', 'Outer source after the step.'],
  outerDestination: ['bytes16', 'Outer destination after the step.'],
});
