// The memory planner (P11): one memory a process, laid out once at start; a size that does not fit is refused, never clipped.
import {
  AccessNode,
  AccessRule,
  AddressEntry,
  AskRow,
  BankHeader,
  BindingListener,
  ControlBlock,
  CookieState,
  EipRow,
  FlowEntry,
  FragmentEntry,
  FragmentHold,
  FragmentSource,
  FragmentState,
  GroupRow,
  HostPmtu,
  HostRow,
  LAYOUT_HASH,
  ListenerRow,
  MemberRow,
  MemoryMap,
  NeighbourRow,
  NextHopTable,
  PacketRecord,
  PeerRow,
  PortRow,
  PortState,
  RouteRow,
  StandbyRow,
  StandbyState,
  StickyEntry,
  TargetRow,
  TraceRecord,
  TrafficCounter,
  TunnelRow,
  UnresolvedRow,
  Way,
  WorkerMap,
  WorkerState,
  bindingLimits,
  limits,
  meterLimits,
  portLimits,
  syncLimits,
} from '../layout/index.ts';
import { bindingParts, writeBindingState } from './binding-plan.ts';
import { Space, powerOfTwo } from './space.ts';

/** The part of WebAssembly.Memory that this package needs; users without the DOM library can name it (toolchain.md T2.11). */
export interface LinearMemory {
  readonly buffer: ArrayBufferLike;
}

/** How many of everything; what is left out has a default. */
export interface PlanOptions {
  /** Workers with regions of their own; 1 by default. */
  workers?: number;
  /** Flow entries a worker; 1,048,576 by default. 0 for a process without flows (endpoint). */
  flows?: number;
  /** Flows of other directors kept ready, a process; as many as `flows` by default, at most 4,194,304. */
  standby?: number;
  /** Datagrams in fragments that a worker follows: a power of two; 65,536 by default, none without flows. */
  fragments?: number;
  /** Connections a worker that the director answers itself and that wait for their target; 4,096 by default, none without flows. */
  pending?: number;
  /** Ports a worker; 4 by default. */
  ports?: number;
  /** Chunks of 2,048 bytes a port: a power of two; 4,096 by default. */
  portChunks?: number;
  /** Chunks that no port owns, for frames made by the main program; 64 by default. */
  injectChunks?: number;
  listeners?: number;
  targets?: number;
  groups?: number;
  hosts?: number;
  eips?: number;
  /** Maglev slots of all groups together. */
  maglevSlots?: number;
  /** Rules of all access lists together: 72 bytes each in each of two banks; 131,072 by default, none without flows. */
  accessRules?: number;
  /** Bytes of the endpoint's image tables, shared; 0 by default. */
  endpointSharedBytes?: number;
  /** Bytes of the endpoint's own memory, a worker; 0 by default. */
  endpointBytes?: number;
}

/** Room of one port of one worker; all linear addresses but `arena`, which is relative to the slab. */
export interface PortPlan {
  readonly state: number;
  readonly area: number;
  readonly slab: number;
  readonly arena: number;
  readonly chunks: number;
}

/** The regions of one worker; addresses in bytes. */
export type WorkerPlan = { readonly [K in keyof typeof WorkerMap.fields]: number } & {
  readonly ports: readonly PortPlan[];
};
export type MapPlan = { readonly [K in keyof typeof MemoryMap.fields]: number };

/** Where everything lies: addresses in bytes, made by `planMemory`, needed by whoever opens the memory. */
export interface MemoryPlan {
  /** What `Core.open` hands to the core. */
  readonly mapAddress: number;
  readonly pages: number;
  readonly map: MapPlan;
  /** Entries of each fragment table. */
  readonly fragments: number;
  /** Rows of each table of delayed bindings. */
  readonly pending: number;
  /** Rows of the standby table. */
  readonly standby: number;
  readonly workers: readonly WorkerPlan[];
  /** Regions of the explaining instance: it shares the flow table of worker 0 and has records, chunks and trace of its own. */
  readonly explainer: WorkerPlan;
}

const PAGE = 65536;
const MEMORY_MAX = 65536 * PAGE;

/** As many standby rows as flows, up to here: with the largest flow tables they would not fit one memory beside them. */
const STANDBY_DEFAULT_MAX = 4_194_304;
const DEFAULTS: Required<Omit<PlanOptions, 'standby' | 'accessRules'>> = {
  workers: 1,
  flows: limits.FLOWS_DEFAULT,
  fragments: limits.FRAGMENTS_DEFAULT,
  pending: bindingLimits.PENDING_DEFAULT,
  ports: 4,
  portChunks: 4096,
  injectChunks: 64,
  listeners: 4096,
  targets: 16384,
  groups: 4096,
  hosts: 4096,
  eips: 4096,
  maglevSlots: 4 << 20,
  endpointSharedBytes: 0,
  endpointBytes: 0,
};

/** A hundred thousand, and the last word of each list. */
const ACCESS_RULES_DEFAULT = 131_072;

/** Lays the memory out. Throws a RangeError that says which option to lower when it does not fit 4 GiB. */
export function planMemory(options: PlanOptions = {}): MemoryPlan {
  const accessRules = options.flows === 0 ? 0 : ACCESS_RULES_DEFAULT;
  const standby = Math.min(options.flows ?? DEFAULTS.flows, STANDBY_DEFAULT_MAX);
  const sizes = { ...DEFAULTS, accessRules, standby, ...options };
  check(sizes);
  const space = new Space(limits.MAP_ADDRESS);
  const mapAddress = space.take(MemoryMap.bytes);
  const workerMaps = space.take(WorkerMap.bytes * (sizes.workers + 1));
  const shared = planShared(space, sizes);
  const workers = Array.from({ length: sizes.workers }, (_, worker) => planWorker(space, sizes, worker));
  const explainer = planExplainer(space, sizes, workers[0] as WorkerPlan);
  if (space.taken > MEMORY_MAX) {
    const gib = (space.taken / 2 ** 30).toFixed(2);
    throw new RangeError(
      `The memory plan needs ${gib} GiB and a WebAssembly memory ends at 4 GiB: lower flows (${sizes.flows} of 128 bytes a worker), ` +
        `standby (${sizes.standby} of 160 bytes), workers (${sizes.workers}), portChunks (${sizes.portChunks} of 2 KiB a port) or maglevSlots (${sizes.maglevSlots})`,
    );
  }
  const pages = Math.ceil(space.taken / PAGE);
  const map: MapPlan = { ...shared, pages, workerMaps, workers: sizes.workers };
  const { fragments, pending } = sizes;
  return { mapAddress, pages, map, fragments, pending, standby: sizes.standby, workers, explainer };
}

function check(sizes: Required<PlanOptions>): void {
  for (const [name, value] of Object.entries(sizes)) {
    if (!Number.isInteger(value) || value < 0) throw new RangeError(`${name} must be a whole number, not ${value}`);
  }
  if (sizes.workers < 1 || sizes.workers > limits.WORKERS_MAX)
    throw new RangeError(`workers must be 1 to ${limits.WORKERS_MAX}`);
  if (sizes.flows > limits.FLOWS_MAX) throw new RangeError(`flows must not exceed ${limits.FLOWS_MAX} a worker`);
  if (sizes.standby > limits.FLOWS_MAX) throw new RangeError(`standby must not exceed ${limits.FLOWS_MAX}`);
  if (sizes.ports < 1 || sizes.ports > limits.PORTS_MAX) throw new RangeError(`ports must be 1 to ${limits.PORTS_MAX}`);
  if (powerOfTwo(sizes.fragments) !== sizes.fragments || sizes.fragments < limits.FRAGMENT_WAYS)
    throw new RangeError(`fragments must be a power of two from ${limits.FRAGMENT_WAYS} on`);
  if (powerOfTwo(sizes.portChunks) !== sizes.portChunks) throw new RangeError('portChunks must be a power of two');
  if (sizes.pending < 1 || sizes.pending > 65_536) throw new RangeError('pending must be 1 to 65,536');
  if (sizes.injectChunks < 1) throw new RangeError('injectChunks must be at least 1');
}

function planShared(space: Space, sizes: Required<PlanOptions>): MapPlan {
  const bank = new Space(BankHeader.bytes);
  const members = sizes.targets * 2;
  // Listeners, targets (three kinds of entry), EIPs (two) and addresses of the cluster, at a load of at most one half.
  const addressSlots = powerOfTwo(
    2 * (2 * sizes.listeners + 3 * sizes.targets + 2 * sizes.eips + 2 * sizes.hosts + 1024),
  );
  const offsets = {
    bankListeners: bank.take(sizes.listeners * ListenerRow.bytes),
    bankTargets: bank.take(sizes.targets * TargetRow.bytes),
    bankGroups: bank.take(sizes.groups * GroupRow.bytes),
    bankHosts: bank.take(sizes.hosts * HostRow.bytes),
    bankEips: bank.take(sizes.eips * EipRow.bytes),
    bankMembers: bank.take(members * MemberRow.bytes),
    bankTunnels: bank.take(limits.WORKERS_MAX * TunnelRow.bytes),
    bankPeers: bank.take(syncLimits.PEERS_MAX * PeerRow.bytes),
    bankAddresses: bank.take(addressSlots * AddressEntry.bytes),
    bankMaglev: bank.take(sizes.maglevSlots * 2),
    // Node 0 is none; a prefix adds itself and at most one node where paths part; the roots of lists are listeners' at most.
    bankAccessNodes: bank.take((2 * sizes.accessRules + 1) * AccessNode.bytes),
    bankAccessRules: bank.take(sizes.accessRules * AccessRule.bytes),
  };
  return {
    ...offsets,
    magic: limits.MAP_MAGIC,
    layoutHash: LAYOUT_HASH,
    pages: 0,
    workers: 0,
    workerMaps: 0,
    control: space.take(ControlBlock.bytes),
    bankBytes: bank.taken,
    bankA: space.take(bank.taken, limits.PAGE_BYTES),
    bankB: space.take(bank.taken, limits.PAGE_BYTES),
    listenersMax: sizes.listeners,
    targetsMax: sizes.targets,
    groupsMax: sizes.groups,
    hostsMax: sizes.hosts,
    eipsMax: sizes.eips,
    membersMax: members,
    maglevMax: sizes.maglevSlots,
    accessMax: sizes.accessRules,
    addressSlots,
    health: space.take(sizes.targets),
    hostPmtu: space.take(sizes.hosts * HostPmtu.bytes),
    nextHops: space.take(NextHopTable.bytes),
    routes: space.take(limits.ROUTES_MAX * RouteRow.bytes),
    neighbours: space.take(limits.NEIGHBOURS_MAX * NeighbourRow.bytes),
    portRows: space.take(limits.PORTS_MAX * PortRow.bytes),
    endpointShared: space.take(sizes.endpointSharedBytes, limits.PAGE_BYTES),
    endpointSharedBytes: sizes.endpointSharedBytes,
    standby: space.take(standbyParts(0, sizes.standby).end),
    cookies: space.take(CookieState.bytes),
  };
}

/** A bucket of the index has STANDBY_WAYS words; two of eight words a row are in use when the table is full. */
function standbyParts(at: number, rows: number) {
  const space = new Space(at + StandbyState.bytes);
  const buckets = powerOfTwo((rows * 8) / syncLimits.STANDBY_WAYS);
  return {
    buckets,
    buffer: space.take(syncLimits.SYNC_ROWS * StandbyRow.bytes),
    index: space.take(buckets * syncLimits.STANDBY_WAYS * 4),
    rows: space.take(rows * StandbyRow.bytes),
    end: space.taken,
  };
}

function planWorker(space: Space, sizes: Required<PlanOptions>, worker: number): WorkerPlan {
  const flowIndexSlots = powerOfTwo(sizes.flows * 4);
  const chunks = sizes.ports * sizes.portChunks;
  const slabBytes = (chunks + sizes.injectChunks + limits.EXTRA_MAX) * limits.CHUNK_BYTES;
  const plan = {
    ...planCounters(space, sizes),
    worker,
    readOnly: 0,
    // One more than there are: the explaining instance prepares the flow that it never makes in the last one.
    flows: space.take((sizes.flows + 1) * FlowEntry.bytes),
    flowsMax: sizes.flows,
    flowIndex: space.take(flowIndexSlots * 4),
    flowIndexSlots,
    listenerRefs: space.take(sizes.listeners * 4),
    targetRefs: space.take(sizes.targets * 4),
    wrr: space.take(sizes.targets * 2 * 4),
    sticky: sizes.flows === 0 ? 0 : space.take(limits.STICKY_ROWS * StickyEntry.bytes),
    ways: space.take(sizes.targets * Way.bytes),
    portStates: space.take(sizes.ports * PortState.bytes),
    portsMax: sizes.ports,
    portAreas: space.take(sizes.ports * portLimits.PORT_AREA_BYTES, limits.PAGE_BYTES),
    endpoint: space.take(sizes.endpointBytes, limits.PAGE_BYTES),
    endpointBytes: sizes.endpointBytes,
    slab: space.take(slabBytes, limits.PAGE_BYTES),
    slabBytes,
    injectChunk: chunks * limits.CHUNK_BYTES,
    injectChunks: sizes.injectChunks,
    extraChunk: (chunks + sizes.injectChunks) * limits.CHUNK_BYTES,
    fragments: sizes.flows === 0 ? 0 : space.take(fragmentBytes(sizes.fragments)),
    binding: sizes.flows === 0 ? 0 : space.take(bindingParts(0, sizes.pending).end),
    bindingListeners: space.take(sizes.listeners * BindingListener.bytes),
  };
  const ports = Array.from({ length: sizes.ports }, (_, index) => ({
    state: plan.portStates + index * PortState.bytes,
    area: plan.portAreas + index * portLimits.PORT_AREA_BYTES,
    slab: plan.slab,
    arena: index * sizes.portChunks * limits.CHUNK_BYTES,
    chunks: sizes.portChunks,
  }));
  return { ...plan, ports };
}

/** Head, entries, holds, sources and held packets in one piece: `writeMap` fills the head in. */
const fragmentBytes = (entries: number): number => fragmentParts(0, entries).end;

function fragmentParts(at: number, entries: number) {
  const space = new Space(at + FragmentState.bytes);
  return {
    entries: space.take(entries * FragmentEntry.bytes),
    holds: space.take(limits.FRAGMENT_HOLDS * FragmentHold.bytes),
    sources: space.take(limits.FRAGMENT_SOURCES * FragmentSource.bytes),
    data: space.take(limits.FRAGMENT_HOLDS * limits.CHUNK_BYTES),
    end: space.taken,
  };
}

function planCounters(space: Space, sizes: Required<PlanOptions>) {
  return {
    state: space.take(WorkerState.bytes),
    burst: space.take((limits.BURST_MAX + limits.EXTRA_MAX) * PacketRecord.bytes),
    reasons: space.take(limits.REASONS_MAX * 8),
    listenerCounters: space.take(sizes.listeners * TrafficCounter.bytes),
    targetCounters: space.take(sizes.targets * TrafficCounter.bytes),
    eipCounters: space.take(sizes.eips * TrafficCounter.bytes),
    unresolved: space.take(limits.UNRESOLVED_MAX * UnresolvedRow.bytes),
    trace: space.take(limits.TRACE_MAX * TraceRecord.bytes),
    asks: space.take(syncLimits.ASK_ROWS * AskRow.bytes),
    meters: space.take(sizes.listeners * meterLimits.METER_ROW_BYTES),
  };
}

function planExplainer(space: Space, sizes: Required<PlanOptions>, first: WorkerPlan): WorkerPlan {
  const slabBytes = (sizes.injectChunks + limits.EXTRA_MAX) * limits.CHUNK_BYTES;
  const extraChunk = sizes.injectChunks * limits.CHUNK_BYTES;
  const own = {
    ...planCounters(space, sizes),
    wrr: space.take(sizes.targets * 2 * 4),
    slab: space.take(slabBytes, limits.PAGE_BYTES),
  };
  return { ...first, ...own, slabBytes, extraChunk, injectChunk: 0, readOnly: 1, portsMax: 0, ports: [] };
}

/** Makes the memory of a plan: fixed size, so a view over it never detaches. Shared unless said otherwise. */
export function allocate(plan: MemoryPlan, kind: 'shared' | 'plain' = 'shared'): LinearMemory {
  const memory = new WebAssembly.Memory({ initial: plan.pages, maximum: plan.pages, shared: kind === 'shared' });
  writeMap(plan, memory);
  return memory;
}

/** Writes the map records; `allocate` has done it. For a memory that comes from elsewhere. */
export function writeMap(plan: MemoryPlan, memory: LinearMemory): void {
  const words = new Uint32Array(memory.buffer);
  for (const [name, offset] of Object.entries(MemoryMap.at))
    words[(plan.mapAddress + offset) / 4] = plan.map[name as keyof MapPlan];
  for (const [number, worker] of [...plan.workers, plan.explainer].entries()) {
    const at = plan.map.workerMaps + number * WorkerMap.bytes;
    for (const [name, offset] of Object.entries(WorkerMap.at))
      words[(at + offset) / 4] = worker[name as keyof typeof WorkerMap.at];
  }
  for (const worker of plan.workers) writeFragmentState(plan, worker, words);
  for (const worker of plan.workers) writeBindingState(plan, worker, words);
  writeStandbyState(plan, words);
}

function writeStandbyState({ map, standby }: MemoryPlan, words: Uint32Array): void {
  const parts = standbyParts(map.standby, standby);
  const word = (field: keyof typeof StandbyState.at, value: number): void => {
    words[(map.standby + StandbyState.at[field]) / 4] = value;
  };
  for (const part of ['buffer', 'index', 'rows'] as const) word(part, parts[part]);
  word('rowsMax', standby);
  word('bucketMask', parts.buckets - 1);
}

function writeFragmentState(plan: MemoryPlan, { fragments }: WorkerPlan, words: Uint32Array): void {
  if (fragments === 0) return;
  const parts = fragmentParts(fragments, plan.fragments);
  for (const part of ['entries', 'holds', 'sources', 'data'] as const)
    words[(fragments + FragmentState.at[part]) / 4] = parts[part];
  words[(fragments + FragmentState.at.bucketMask) / 4] = plan.fragments / limits.FRAGMENT_WAYS - 1;
}
