// What `clb ld` shows of a director: its listeners and targets with their traffic, flows, tunnels, routes and neighbours. What packets
// depend on is read from the tables that they are walked through, not from the configuration.
import { type LinearMemory, type MemoryPlan, type Slots } from '@openclb/core-wasm';
import { healthEnum } from '@openclb/core-wasm/layout';
import {
  type DirectorImage,
  type LookAnswer,
  type LookListener,
  LOOK_ROWS_MAX,
  type LookQuery,
  type LookTarget,
} from '@openclb/model';
import { clock } from '../clock.ts';
import { messageOf } from '../log.ts';
import { flowMatch } from './filter.ts';
import { type ActiveCounts, countActive, readFlows } from './flows.ts';
import { readNeighbours, readRoutes } from './hops.ts';
import { type MemoryRows, memoryRows, namer, protocolName } from './memory-rows.ts';

export interface LookOptions {
  readonly node: string;
  readonly tables: {
    readonly plan: MemoryPlan;
    readonly memory: LinearMemory;
    readonly slots: Slots;
    readonly image: DirectorImage | null;
  };
  counters(): Record<string, number>;
  readonly device: string;
  /** A page of a capture. */
  capture(query: LookQuery): LookAnswer;
}

export interface Looker {
  look(query: LookQuery): Promise<LookAnswer>;
}

const ROWS_DEFAULT = 200;
const healthOf = namer(healthEnum);

export function createLooker(options: LookOptions): Looker {
  const { node, tables } = options;
  const rows = memoryRows(tables.plan, tables.memory);
  const page = (all: readonly unknown[], { cursor = 0, limit = ROWS_DEFAULT }: LookQuery): LookAnswer => {
    const end = cursor + limit;
    return { node, rows: all.slice(cursor, end) as LookAnswer['rows'], next: end < all.length ? end : null };
  };
  async function answer(query: LookQuery): Promise<LookAnswer> {
    const { what, filter = {}, cursor = 0, limit = ROWS_DEFAULT } = query;
    if (what === 'capture') return options.capture(query);
    if (what === 'flows') {
      const { rows: found, next } = readFlows(tables.plan, rows, filter, { cursor, limit, nowMs: clock() });
      return { node, rows: found as unknown as LookAnswer['rows'], next };
    }
    if (what === 'counters') {
      const counters = Object.entries(options.counters()).map(([name, value]) => ({ name, value }));
      return page(counters, { ...query, limit: query.limit ?? LOOK_ROWS_MAX });
    }
    if (what === 'routes') return page(readRoutes(rows, tables.plan, options.device), query);
    if (what === 'neighbours') return page(readNeighbours(rows, tables.plan, options.device, clock()), query);
    if (what === 'tunnels') return page(tunnelsOf(tables.image), query);
    const listeners = await listenersOf(options, rows, query);
    return page(what === 'listeners' ? listeners : targetsOf(listeners), query);
  }
  return {
    async look(query) {
      try {
        return await answer(query);
      } catch (error) {
        // A filter that makes no sense: whoever asked must hear it, the log need not.
        return { node, rows: [], next: null, error: messageOf(error) };
      }
    },
  };
}

async function listenersOf(
  { tables }: LookOptions,
  rows: MemoryRows,
  { filter = {} }: LookQuery,
): Promise<LookListener[]> {
  const { image, slots, plan } = tables;
  if (image === null) return [];
  const match = flowMatch(filter);
  const active = await countActive(plan, rows);
  const groups = new Map(image.groups.map((group) => [group.id, group]));
  const targets = new Map(image.targets.map((target) => [target.id, target]));
  const wanted = image.listeners.filter(
    ({ vip, vport, protocol }) => match.vip(vip, vport) && match.protocol(protocolName(protocol)),
  );
  return wanted.flatMap((listener): LookListener[] => {
    const slot = slots.listeners.slotOf(listener.id);
    if (slot === undefined) return [];
    const members = groups.get(listener.group)?.targets ?? [];
    const shown = members.flatMap((member): LookTarget[] => {
      const row = targets.get(member.target);
      const targetSlot = slots.targets.slotOf(member.target);
      if (row === undefined || targetSlot === undefined || !match.target(row.address, row.port)) return [];
      return [targetOf(rows, plan, active, { listener, slot, row, targetSlot, weight: member.weight })];
    });
    const { name, vip, vport, net, scheduler } = listener;
    const facts = { name: `${name} of ${listener.loadBalancer}`, vip, vport, net, scheduler };
    return [
      {
        ...facts,
        protocol: protocolName(listener.protocol),
        ...rows.traffic('listenerCounters', slot),
        targets: shown,
      },
    ];
  });
}

interface Member {
  readonly listener: DirectorImage['listeners'][number];
  readonly slot: number;
  readonly row: DirectorImage['targets'][number];
  readonly targetSlot: number;
  readonly weight: number;
}

function targetOf(rows: MemoryRows, plan: MemoryPlan, active: ActiveCounts, member: Member): LookTarget {
  const { listener, slot, row, targetSlot, weight } = member;
  return {
    name: row.name,
    address: row.address,
    port: row.port === 0 ? listener.vport : row.port,
    net: row.net,
    forward: forwardOf(row.encapsulation, listener.translation),
    weight,
    health: healthOf(rows.view.getUint8(plan.map.health + targetSlot)),
    ...active.of(slot, targetSlot),
    ...rows.traffic('targetCounters', targetSlot),
  };
}

/** The words of ipvsadm where it has one: Masq, Route, Tunnel. */
function forwardOf(encapsulation: string, translation: string): string {
  if (encapsulation === 'gre') return 'Gre';
  if (encapsulation === 'ipip') return 'Tunnel';
  if (encapsulation === 'l2') return 'Route';
  return translation === 'fullnat' ? 'FullNat' : 'Masq';
}

/** Each target once, whatever number of listeners uses it. */
function targetsOf(listeners: readonly LookListener[]): unknown[] {
  const found = new Map<string, LookTarget & { listeners: number }>();
  for (const target of listeners.flatMap((listener) => listener.targets)) {
    const key = `${target.name} ${target.net} ${target.address} ${target.port}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, { ...target, listeners: 1 });
    else {
      const { active, inactive } = target;
      found.set(key, {
        ...known,
        active: known.active + active,
        inactive: known.inactive + inactive,
        listeners: known.listeners + 1,
      });
    }
  }
  return [...found.values()];
}

/** The tunnel addresses of the directors, and the far ends. */
function tunnelsOf(image: DirectorImage | null): unknown[] {
  if (image === null) return [];
  const own = image.tunnels.map(({ node, worker, v4, v6 }) => ({
    kind: node === image.self.id ? 'own' : 'peer',
    name: `${node}/${worker}`,
    addresses: [v4, v6].filter((text) => text !== undefined),
    targets: 0,
  }));
  const hosts = image.hosts.map(({ id, name, v4, v6 }) => ({
    kind: 'host',
    name,
    addresses: [v4, v6].filter((text) => text !== undefined),
    targets: image.targets.filter((target) => target.host === id).length,
  }));
  return [...own, ...hosts];
}
