// Named maxima and constants of the core; [value, meaning]. The generator hands them to AssemblyScript and to the reference page.

export const LIMITS = {
  NONE: [0xffffffff, 'No slot.'],
  MAP_ADDRESS: [65536, 'Address of the MemoryMap record: right behind the page that holds the core’s own static data.'],
  MAP_MAGIC: [0x424c436f, 'First word of a memory that the planner has laid out.'],
  PAGE_BYTES: [4096, 'Alignment of every region that a system call sees.'],
  CHUNK_BYTES: [2048, 'A frame never crosses a multiple of this inside the slab.'],
  BURST_MAX: [64, 'Packets of one call.'],
  WORKERS_MAX: [64, 'Workers of one memory.'],
  PORTS_MAX: [256, 'Rows of the port table; portIn and portOut are one byte.'],
  REASONS_MAX: [256, 'Reason counters of a worker.'],
  ROUTES_MAX: [256, 'Rows of the route table.'],
  NEIGHBOURS_MAX: [4096, 'Rows of the neighbour table; a power of two.'],
  UNRESOLVED_MAX: [64, 'Next hops that a worker can report at once; a power of two.'],
  TRACE_MAX: [32, 'Trace records of one explained packet.'],
  FLOWS_MAX: [16777215, 'Entries of a flow table: an index slot has 24 bits for them.'],
  FLOWS_DEFAULT: [1048576, 'Entries of a flow table when nothing is said.'],
  EXPIRE_STEP: [2048, 'Flow entries that one call of expireFlows looks at.'],
  EVICT_TRIES: [64, 'Flow entries that a full table looks at for a half-open one to evict.'],
  PROBE_MAX: [128, 'Index slots that a lookup looks at before it gives up.'],
  PORT_TRIES: [32, 'Source ports tried for a flow whose own is taken.'],
  LIPS: [16, 'Local addresses of a director for full NAT (P18).'],
  MAGLEV_RETRIES: [8, 'Further Maglev slots tried when the target of the first is unusable (P12).'],
  SLOTS_MAX: [65537, 'Largest Maglev table.'],
  ICMP_BURST: [256, 'Bucket depth of ICMP answers of a worker.'],
  ICMP_PER_SECOND: [1000, 'ICMP answers a second of a worker, echoes and errors each.'],
  PMTU_MIN_V4: [576, 'Floor of a learned tunnel MTU over IPv4.'],
  PMTU_MIN_V6: [1280, 'Floor of a learned tunnel MTU over IPv6.'],
  PMTU_LIFE_MS: [600000, 'How long a learned tunnel MTU holds.'],
  SYN_SEEN_MS: [15000, 'Idle time of a half-open flow.'],
  SYN_ACK_SEEN_MS: [30000, 'Idle time of a flow that has seen SYN and SYN/ACK.'],
  FIN_SEEN_MS: [120000, 'Idle time of a flow after one FIN.'],
  TIME_WAIT_MS: [60000, 'Idle time of a flow after both FINs.'],
  CLOSED_MS: [10000, 'Idle time of a flow after RST.'],
  DIRECT_CLOSED_MS: [30000, 'Idle time after FIN or RST of the client when replies do not pass here (P20).'],
  DATAGRAM_MS: [30000, 'Idle time of a one-sided flow that is not TCP.'],
} as const satisfies Record<string, readonly [number, string]>;

type Values = { readonly [K in keyof typeof LIMITS]: (typeof LIMITS)[K][0] };

/** The values alone: `limits.BURST_MAX`. */
export const limits: Values = Object.fromEntries(
  Object.entries(LIMITS).map(([name, [value]]) => [name, value]),
) as Values;
