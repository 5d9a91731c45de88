// The memory map (P11): the address of every table, set once by `init`, and the tables of the adopted image bank.
// Nothing is kept in data segments: a second instance on one memory would run them again and undo what a worker has changed.
import {
  BankHeader,
  BindingState,
  ControlBlock,
  CookieState,
  LAYOUT_HASH,
  MAP_MAGIC,
  MemoryMap,
  NextHopTable,
  StandbyState,
  WORKER_MAP_BYTES,
  WorkerMap,
  WorkerState,
} from './layout.gen';

export let map: MemoryMap = changetype<MemoryMap>(0);
export let workerMap: WorkerMap = changetype<WorkerMap>(0);
export let control: ControlBlock = changetype<ControlBlock>(0);
export let state: WorkerState = changetype<WorkerState>(0);
export let nextHops: NextHopTable = changetype<NextHopTable>(0);
/** Number of this worker; T(d,w) is its tunnel address. */
export let worker: u32 = 0;
/** The explaining instance reads live tables and never writes flows or traffic counters. */
export let readOnly: bool = false;

export let burst: usize = 0;
export let slab: usize = 0;
export let slabBytes: u32 = 0;
export let flows: usize = 0;
export let flowsMax: u32 = 0;
export let flowIndex: usize = 0;
export let flowIndexMask: u32 = 0;
export let listenerRefs: usize = 0;
export let targetRefs: usize = 0;
export let wrr: usize = 0;
export let reasons: usize = 0;
export let listenerCounters: usize = 0;
export let targetCounters: usize = 0;
export let eipCounters: usize = 0;
export let unresolved: usize = 0;
export let trace: usize = 0;
export let portStates: usize = 0;
export let endpoint: usize = 0;
export let ways: usize = 0;
export let asks: usize = 0;
export let meters: usize = 0;
export let binding: BindingState = changetype<BindingState>(0);
export let bindingListeners: usize = 0;
export let cookies: CookieState = changetype<CookieState>(0);
export let endpointShared: usize = 0;
export let standby: StandbyState = changetype<StandbyState>(0);

export let health: usize = 0;
export let hostPmtu: usize = 0;
export let routes: usize = 0;
export let neighbours: usize = 0;
export let portRows: usize = 0;
export let addressMask: u32 = 0;

/** Tables of the adopted bank; all 0 before the first image. */
export let bank: BankHeader = changetype<BankHeader>(0);
export let listeners: usize = 0;
export let targets: usize = 0;
export let groups: usize = 0;
export let hosts: usize = 0;
export let eips: usize = 0;
export let members: usize = 0;
export let tunnels: usize = 0;
export let addresses: usize = 0;
export let maglev: usize = 0;
export let peers: usize = 0;
export let accessNodes: usize = 0;
export let accessRules: usize = 0;

/** Time of the burst in hand, in milliseconds; wraps, so only differences mean something. */
export let nowMs: u32 = 0;
export function setNow(value: u32): void {
  nowMs = value;
}

/** Learns every address from the map. False: this memory was laid out for another core. */
export function init(mapAddress: usize, workerNumber: u32): bool {
  map = changetype<MemoryMap>(mapAddress);
  if (map.magic != MAP_MAGIC || map.layoutHash != LAYOUT_HASH || workerNumber > map.workers) return false;
  workerMap = changetype<WorkerMap>(<usize>map.workerMaps + <usize>workerNumber * WORKER_MAP_BYTES);
  control = changetype<ControlBlock>(map.control);
  nextHops = changetype<NextHopTable>(map.nextHops);
  health = map.health;
  hostPmtu = map.hostPmtu;
  routes = map.routes;
  neighbours = map.neighbours;
  portRows = map.portRows;
  endpointShared = map.endpointShared;
  standby = changetype<StandbyState>(map.standby);
  cookies = changetype<CookieState>(map.cookies);
  addressMask = map.addressSlots - 1;
  initWorker();
  setBank(0);
  return true;
}

function initWorker(): void {
  worker = workerMap.worker;
  readOnly = workerMap.readOnly != 0;
  state = changetype<WorkerState>(workerMap.state);
  burst = workerMap.burst;
  slab = workerMap.slab;
  slabBytes = workerMap.slabBytes;
  flows = workerMap.flows;
  flowsMax = workerMap.flowsMax;
  flowIndex = workerMap.flowIndex;
  flowIndexMask = workerMap.flowIndexSlots - 1;
  listenerRefs = workerMap.listenerRefs;
  targetRefs = workerMap.targetRefs;
  wrr = workerMap.wrr;
  reasons = workerMap.reasons;
  listenerCounters = workerMap.listenerCounters;
  targetCounters = workerMap.targetCounters;
  eipCounters = workerMap.eipCounters;
  unresolved = workerMap.unresolved;
  trace = workerMap.trace;
  portStates = workerMap.portStates;
  endpoint = workerMap.endpoint;
  ways = workerMap.ways;
  asks = workerMap.asks;
  meters = workerMap.meters;
  binding = changetype<BindingState>(workerMap.binding);
  bindingListeners = workerMap.bindingListeners;
}

/** Points the tables at the bank of a generation; 0 means none. */
export function setBank(generation: u32): void {
  const base: usize = generation == 0 ? 0 : (generation & 1) == 0 ? <usize>map.bankA : <usize>map.bankB;
  bank = changetype<BankHeader>(base);
  if (base == 0) return;
  listeners = base + map.bankListeners;
  targets = base + map.bankTargets;
  groups = base + map.bankGroups;
  hosts = base + map.bankHosts;
  eips = base + map.bankEips;
  members = base + map.bankMembers;
  tunnels = base + map.bankTunnels;
  addresses = base + map.bankAddresses;
  maglev = base + map.bankMaglev;
  peers = base + map.bankPeers;
  accessNodes = base + map.bankAccessNodes;
  accessRules = base + map.bankAccessRules;
}
