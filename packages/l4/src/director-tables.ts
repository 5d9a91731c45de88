// The shared memory of one director and what the main thread writes into it: images, two banks of them, and the health overlay.
import { hkdfSync } from 'node:crypto';
import {
  Core,
  type ExplainNames,
  ImageWriter,
  type LinearMemory,
  type MemoryPlan,
  type PlanOptions,
  type ServiceMeters,
  type Slots,
  allocate,
  createSlots,
  planMemory,
} from '@openclb/core-wasm';
import { Health, TrafficCounter } from '@openclb/core-wasm/layout';
import { type DirectorImage } from '@openclb/model';
import { type HealthVerdict } from './health-state.ts';

export interface DirectorTables {
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  /** The main thread's view of worker 0: reads counters, takes no packets. */
  readonly core: Core;
  /** Which slot an id has. */
  readonly slots: Slots;
  /** What slots stand for. */
  readonly names: Required<ExplainNames>;
  /** The image that serves. */
  readonly image: DirectorImage | null;
  /** Writes the bank that no burst reads, flips, and waits until the worker has adopted it. A throw leaves the last image serving. */
  write(image: DirectorImage): Promise<void>;
  setHealth(target: string, verdict: HealthVerdict): void;
  /** Token buckets of the services of the image, by the names of their listeners (P33). */
  readonly meters: ServiceMeters;
  /** Packets in both directions that each service has had, by name. */
  served(): Map<string, number>;
  /** Traffic of the listeners, targets and EIPs of the image, by resource name; what is zero is left out. */
  traffic(): Record<string, number>;
  /** Slot of a target of the image. */
  targetSlot(id: string): number | undefined;
}

const FREE_MS_MAX = 2_000;
const APPLIED_MS_MAX = 1_000;
const VERDICTS: Readonly<Record<HealthVerdict, number>> = {
  alive: Health.Alive,
  dead: Health.Dead,
  probing: Health.Unknown,
  unknown: Health.Alive,
};

/** `asksPeers`: packets that nobody here knows go to the other directors (P9). */
export async function createDirectorTables(options: PlanOptions, asksPeers = true): Promise<DirectorTables> {
  const plan = planMemory(options);
  const memory = allocate(plan);
  const core = await Core.open({ memory, plan, worker: 0, artefact: 'shared' });
  const slots = createSlots(plan, memory);
  const writer = new ImageWriter(plan, memory, slots);
  let image: DirectorImage | null = null;
  let names = new Map<string, string>();

  const nameOf = (kind: 'listeners' | 'targets' | 'hosts' | 'eips', slot: number): string | undefined => {
    const id = slots[kind].idOf(slot);
    return id === undefined ? undefined : (names.get(id) ?? id);
  };
  return {
    plan,
    memory,
    core,
    slots,
    names: {
      listener: (slot) => nameOf('listeners', slot),
      target: (slot) => nameOf('targets', slot),
      host: (slot) => nameOf('hosts', slot),
      eip: (slot) => nameOf('eips', slot),
    },
    get image() {
      return image;
    },
    async write(next) {
      await until(() => writer.isFree(), FREE_MS_MAX);
      writer.write({ ...next, ...(asksPeers ? peersOf(next) : {}) });
      image = next;
      // Names of rows that are gone stay, because flows and traces may still speak of them.
      names = new Map([...[...names].slice(-NAMES_MAX), ...namesOf(next)]);
      await until(() => writer.isApplied(), APPLIED_MS_MAX);
    },
    meters: writer.meters,
    served: () => readServed(core, slots, image?.listeners ?? []),
    setHealth: (target, verdict) => writer.setHealth(target, VERDICTS[verdict]),
    traffic: () => (image === null ? {} : { ...readTraffic(core, slots, image), ...readMeters(writer.meters, image) }),
    targetSlot: (id) => slots.targets.slotOf(id),
  };
}

function readTraffic(core: Core, slots: Slots, image: DirectorImage): Record<string, number> {
  const traffic: Record<string, number> = {};
  const read = (kind: string, name: string, base: number, slot: number | undefined): void => {
    if (slot === undefined) return;
    for (const [field, offset] of Object.entries(TrafficCounter.at)) {
      const value = Number(core.view.getBigUint64(base + slot * TrafficCounter.bytes + offset, true));
      // A listener has a row for each of its VIPs, a target one for each family: under their one name they add up.
      const key = `${kind}.${name}.${field}`;
      if (value !== 0) traffic[key] = (traffic[key] ?? 0) + value;
    }
  };
  const { listenerCounters, targetCounters, eipCounters } = core.worker;
  for (const { id, name } of image.listeners) read('listener', name, listenerCounters, slots.listeners.slotOf(id));
  for (const { id, name } of image.targets) read('target', name, targetCounters, slots.targets.slotOf(id));
  for (const { id, name } of image.eips) read('eip', name, eipCounters, slots.eips.slotOf(id));
  return traffic;
}

function readServed(core: Core, slots: Slots, listeners: DirectorImage['listeners']): Map<string, number> {
  const served = new Map<string, number>();
  for (const { id, name } of listeners) {
    const slot = slots.listeners.slotOf(id);
    if (slot === undefined) continue;
    const at = core.worker.listenerCounters + slot * TrafficCounter.bytes;
    const of = (field: 'packetsIn' | 'packetsOut'): number =>
      Number(core.view.getBigUint64(at + TrafficCounter.at[field], true));
    served.set(name, (served.get(name) ?? 0) + of('packetsIn') + of('packetsOut'));
  }
  return served;
}

const REFUSED = ['refusedPackets', 'refusedBits', 'refusedConnections', 'denied'] as const;

/** What limits and access lists have kept from a service; what is zero is left out. */
function readMeters(meters: ServiceMeters, { listeners }: DirectorImage): Record<string, number> {
  const refused: Record<string, number> = {};
  for (const name of new Set(listeners.map((row) => row.name))) {
    const counters = meters.counters(name);
    for (const field of REFUSED) if (counters?.[field]) refused[`listener.${name}.${field}`] = counters[field];
  }
  return refused;
}

/** Where questions go: a tunnel address of each of the others, and the key that both sides make of the secret (RFC 5869). */
export function peersOf({ sync, tunnels }: DirectorImage): { peers: PeerInput[]; peerKey: Uint8Array } | undefined {
  if (sync === undefined) return undefined;
  const peers = sync.peers.flatMap(({ node, ordinal }): PeerInput[] => {
    const tunnel = tunnels.find((row) => row.node === node);
    return tunnel === undefined ? [] : [{ ordinal, v4: tunnel.v4, v6: tunnel.v6 }];
  });
  const key = hkdfSync('sha256', Buffer.from(sync.secret, 'hex'), '', 'openclb peer packets 1', 16);
  return { peers, peerKey: new Uint8Array(key) };
}

export interface PeerInput {
  readonly ordinal: number;
  readonly v4: string | undefined;
  readonly v6: string | undefined;
}

const NAMES_MAX = 65_536;

function namesOf(image: DirectorImage): [id: string, name: string][] {
  const listeners = image.listeners.map((row): [string, string] => [row.id, `${row.name} of ${row.loadBalancer}`]);
  const targets = image.targets.map((row): [string, string] => [row.id, `${row.name} ${row.address}:${row.port}`]);
  return [
    ...listeners,
    ...targets,
    ...[...image.hosts, ...image.eips].map((row): [string, string] => [row.id, row.name]),
  ];
}

/** Waits for a condition; gives up in silence, because a worker that is being remade adopts the newest bank anyway. */
async function until(condition: () => boolean, msMax: number): Promise<void> {
  const end = performance.now() + msMax;
  while (!condition() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 1));
}
