// A small director of one's own, in Node and browsers: tables as plain values in, the walk of any packet through them as data out. The core
// is the tracing one on plain memory with its assertions on; nothing is sent anywhere. Entry of @openclb/core-wasm/explain.
import { explainBase64 } from '#embedded-explain';
import { Health, PacketFlag, nameOf, reasonEnum, verdictEnum } from '../layout/index.ts';
import { Core } from './core.ts';
import { type Explanation, type ExplainNames, explain as explainOn } from './explain.ts';
import { hashText } from './hash.ts';
import type { DirectorTables, ListenerInput } from './image-input.ts';
import { ImageWriter } from './image.ts';
import { NextHopTable } from './next-hop.ts';
import { type MemoryPlan, allocate, planMemory } from './plan.ts';
import { type Slots, createSlots } from './slots.ts';

export type { ExplainedStep, Explanation } from './explain.ts';

export interface SmallTarget {
  /** `address:port` when absent. */
  readonly name?: string;
  readonly address: string;
  /** 0 (default) keeps the port of the listener. */
  readonly port?: number;
  /** 1 by default; 0 takes no new flows. */
  readonly weight?: number;
  /** GRE key; 0 (default) is no VPC. */
  readonly vpcId?: number;
  /** Tunnel address of the host; without it the packet is routed to the target as it is. */
  readonly host?: string;
  /** `gre` when there is a host and a VPC id, `ipip` with a host alone, `none` without. */
  readonly encapsulation?: 'none' | 'ipip' | 'gre';
  /** As the health checker sees it; true by default. */
  readonly isAlive?: boolean;
}

export interface SmallListener {
  /** `vip:port/protocol` when absent. */
  readonly name?: string;
  readonly vip: string;
  readonly port: number;
  /** TCP by default. */
  readonly protocol?: 'tcp' | 'udp';
  /** VPC of an internal VIP; 0 (default) is the Internet. */
  readonly vpcId?: number;
  /** DNAT by default; `none` for targets that own the VIP and answer directly. */
  readonly translation?: ListenerInput['translation'];
  readonly scheduler?: ListenerInput['scheduler'];
  readonly targets: readonly SmallTarget[];
  /** Seconds; 900 by default. */
  readonly idleSeconds?: number;
}

export interface SmallTables {
  readonly listeners?: readonly SmallListener[];
  /** 1:1 addresses of instances (P28). */
  readonly eips?: readonly {
    readonly eip: string;
    readonly vpcId: number;
    readonly address: string;
    /** Tunnel address of the instance's host. */
    readonly host: string;
  }[];
  /** Tunnel addresses of the director; 10.254.0.1 and fd00:254::1 by default. */
  readonly tunnel?: { readonly v4?: string; readonly v6?: string };
  /** Bytes that the only link takes; 1,500 by default. */
  readonly mtu?: number;
}

export interface Explainer {
  /** The walk of an IP packet, step by step, at a time in milliseconds. Changes nothing: a new flow is told, not made. */
  explain(packet: Uint8Array, nowMs?: number): Explanation;
  /** Forwards the packet in earnest: flows are made, so that replies and later packets can be explained. */
  forward(
    packet: Uint8Array,
    nowMs?: number,
  ): { readonly verdict: string; readonly reason: string; readonly packet: Uint8Array };
  /** Other tables; flows live on as on a director whose config changes. Throws a RangeError that names the row that does not fit. */
  apply(tables: SmallTables): void;
  /** Flows in the table, and packets by verdict and reason. */
  counters(): Record<string, number>;
}

const SIZES = {
  flows: 4096,
  ports: 1,
  portChunks: 2,
  injectChunks: 2,
  listeners: 256,
  targets: 1024,
  groups: 256,
  hosts: 256,
  eips: 256,
  maglevSlots: 256 * 251,
};
const MAGLEV_SLOTS = 251;
const PROTOCOLS = { tcp: 6, udp: 17 } as const;
const TUNNEL = { v4: '10.254.0.1', v6: 'fd00:254::1' } as const;

/**
 * A director of at most 256 listeners, 1,024 targets and 4,096 flows, about 6 MB. Rejects with a RangeError when a table row makes no
 * sense: an address that is none, a family that does not fit. The walk is that of docs/explanation/life-of-a-packet.md.
 */
export async function createExplainer(tables: SmallTables): Promise<Explainer> {
  const module = await WebAssembly.compile(Uint8Array.from(atob(explainBase64()), (char) => char.charCodeAt(0)));
  const plan = planMemory(SIZES);
  const memory = allocate(plan, 'plain');
  const options = { memory, plan, artefact: 'check', module } as const;
  const worker = await Core.open({ ...options, worker: 0 });
  const explainer = new SmallDirector(plan, worker, await Core.open({ ...options, worker: 'explainer' }));
  explainer.apply(tables);
  return explainer;
}

/** One packet, once: `createExplainer(tables)` and its `explain`. */
export async function explain(packet: Uint8Array, tables: SmallTables): Promise<Explanation> {
  return (await createExplainer(tables)).explain(packet);
}

class SmallDirector implements Explainer {
  private readonly worker: Core;
  private readonly explainer: Core;
  private readonly slots: Slots;
  private readonly writer: ImageWriter;
  private readonly hops: NextHopTable;
  private names = new Map<string, string>();

  constructor(plan: MemoryPlan, worker: Core, explainer: Core) {
    this.worker = worker;
    this.explainer = explainer;
    this.slots = createSlots(plan, worker.memory);
    this.writer = new ImageWriter(plan, worker.memory, this.slots);
    this.hops = new NextHopTable(plan, worker.memory);
    this.hops.setRoute('0.0.0.0', 0, null, 0);
    this.hops.setRoute('::', 0, null, 0);
  }

  apply(tables: SmallTables): void {
    const image = imageOf(tables);
    this.hops.setPort(0, { mtu: tables.mtu ?? 1500, kind: 'ip' });
    this.writer.write(image.tables);
    this.worker.adopt();
    this.names = image.names;
    for (const [id, isAlive] of image.health) this.writer.setHealth(id, isAlive ? Health.Alive : Health.Dead);
  }

  explain(packet: Uint8Array, nowMs = 1000): Explanation {
    return explainOn(this.explainer, packet, nowMs, this.namesBySlot());
  }

  forward(
    packet: Uint8Array,
    nowMs = 1000,
  ): { readonly verdict: string; readonly reason: string; readonly packet: Uint8Array } {
    const core = this.worker;
    core.inject([packet], 0, PacketFlag.Layer3);
    core.forwardBurst(1, nowMs);
    return {
      verdict: nameOf(verdictEnum, core.verdict(0)),
      reason: nameOf(reasonEnum, core.reason(0)),
      packet: core.frame(0).slice(),
    };
  }

  counters(): Record<string, number> {
    return this.worker.counters();
  }

  private namesBySlot(): ExplainNames {
    const by = (kind: 'listeners' | 'targets' | 'hosts' | 'eips'): ((slot: number) => string | undefined) => {
      const names = new Map([...this.names].map(([id, name]) => [this.slots[kind].slotOf(id), name]));
      return (slot) => names.get(slot);
    };
    return { listener: by('listeners'), target: by('targets'), host: by('hosts'), eip: by('eips') };
  }
}

interface Image {
  readonly tables: DirectorTables;
  /** Id → name for people, of all kinds: ids differ by kind. */
  readonly names: Map<string, string>;
  readonly health: Map<string, boolean>;
}

/** Sixteen hexadecimal digits that follow from the kind and the name alone. */
function idOf(kind: string, name: string): string {
  const half = (seed: number): string => hashText(`${kind}\0${name}`, seed).toString(16).padStart(8, '0');
  return half(0x6f70656e) + half(0x636c6221);
}

function imageOf(small: SmallTables): Image {
  const names = new Map<string, string>();
  const health = new Map<string, boolean>();
  const named = (kind: string, name: string): string => {
    const id = idOf(kind, name);
    names.set(id, name);
    return id;
  };
  const hosts = new Map<string, DirectorTables['hosts'][number]>();
  const hostOf = (address: string): string => {
    const id = named('host', address);
    hosts.set(id, { id, ...(address.includes(':') ? { v6: address } : { v4: address }) });
    return id;
  };
  const targets = new Map<string, DirectorTables['targets'][number]>();
  const targetOf = (target: SmallTarget): { target: string; weight: number } => {
    const { address, port = 0, vpcId = 0, host } = target;
    const id = idOf('target', `${vpcId} ${address} ${port}`);
    names.set(id, target.name ?? `${address}:${port}`);
    health.set(id, target.isAlive ?? true);
    const encapsulation = target.encapsulation ?? (host === undefined ? 'none' : vpcId === 0 ? 'ipip' : 'gre');
    targets.set(id, { id, net: vpcId, address, port, encapsulation, host: host === undefined ? null : hostOf(host) });
    return { target: id, weight: target.weight ?? 1 };
  };
  const listeners: ListenerInput[] = [];
  const groups: DirectorTables['groups'][number][] = [];
  for (const listener of small.listeners ?? []) {
    const { vip, port, protocol = 'tcp', vpcId = 0, translation = 'dnat' } = listener;
    const key = `${vpcId} ${vip} ${port} ${protocol}`;
    const id = idOf('listener', key);
    names.set(id, listener.name ?? `${vip}:${port}/${protocol}`);
    groups.push({ id, slots: MAGLEV_SLOTS, targets: listener.targets.map(targetOf), check: { type: 'tcp' } });
    listeners.push({
      id,
      net: vpcId,
      vip,
      vport: port,
      protocol: PROTOCOLS[protocol],
      translation,
      scheduler: listener.scheduler ?? 'maglev',
      group: id,
      directReturn: translation === 'none',
      idleSeconds: listener.idleSeconds ?? 900,
      onRemove: 'run',
    });
  }
  const eips = (small.eips ?? []).map(({ eip, vpcId, address, host }) => {
    return { id: named('eip', eip), eip, net: vpcId, address, host: hostOf(host) };
  });
  const tables: DirectorTables = {
    self: { id: 'self', ordinal: 1 },
    tunnels: [{ node: 'self', worker: 0, ...TUNNEL, ...small.tunnel }],
    anycast: { v4: '10.254.255.1', v6: 'fd00:254:ff::1' },
    probe: { v4: '100.64.16.1', v6: 'fd00:254:fe::1' },
    vips: [],
    listeners,
    groups,
    targets: [...targets.values()],
    hosts: [...hosts.values()],
    eips,
    trusted: [],
  };
  return { tables, names, health };
}
