// ProxyImage → compiled routes, swapped whole (walk 3 of design.md). Targets that do not change keep pool, health and counters.
import { checkImage, type ProxyImage, type Scheduler } from '@openclb/model';
import { RouteTable, type RouteRule } from './routes.ts';
import { Group, type Member, type SchedulerName } from './scheduler.ts';
import { identityKey, Target } from './upstream.ts';

export interface CompiledRule extends RouteRule {
  readonly id: string;
  readonly name: string;
  readonly group: Group;
  readonly scheduler: SchedulerName;
}

export interface CompiledListener {
  readonly id: string;
  readonly name: string;
  readonly loadBalancer: string;
  readonly vips: readonly string[];
  readonly port: number;
  readonly protocol: ProxyImage['listeners'][number]['protocol'];
  readonly certificates: readonly string[];
  readonly routes: RouteTable<CompiledRule>;
  /** Of a relay listener. */
  readonly group: Group | null;
  readonly scheduler: SchedulerName;
}

export interface CompiledImage {
  readonly source: ProxyImage;
  readonly listeners: readonly CompiledListener[];
  readonly groups: ReadonlyMap<string, Group>;
  /** By whole peer identity. */
  readonly targets: ReadonlyMap<string, Target>;
}

/** One part of the proxy that is ready to take an image over. What fails, fails before anything has changed. */
export interface Prepared {
  commit(): void;
  abort(): void;
}

/** Refused as a whole; the image before keeps serving (B14). */
export class ImageRefused extends Error {
  readonly code = 'ImageRefused';
}

export const EMPTY_IMAGE: CompiledImage = {
  source: {
    role: 'proxy',
    generation: { revision: 0, compiler: 0 },
    self: { id: '', underlay: {} },
    listeners: [],
    groups: [],
    targets: [],
    readyPort: 0,
  },
  listeners: [],
  groups: new Map(),
  targets: new Map(),
};

export function compileImage(
  source: ProxyImage,
  previous: CompiledImage,
  schedulers: readonly Scheduler[],
): CompiledImage {
  const problem = checkImage(source);
  if (problem !== null) throw new ImageRefused(`the image is not well formed: ${problem}`);
  const targets = new Map<string, Target>();
  const byId = new Map<string, Target>();
  for (const row of source.targets) {
    const key = identityKey(row);
    const target = previous.targets.get(key) ?? new Target(row);
    targets.set(key, target);
    byId.set(row.id, target);
  }
  const groups = new Map<string, Group>();
  for (const row of source.groups) {
    const before = previous.groups.get(row.id);
    const members = row.targets.map(({ target: id, weight }): Member => {
      const target = byId.get(id) ?? refuse(`group ${row.name} names target ${id}, which the image does not hold`);
      // Round robin goes on where it was, so that frequent changes do not favour the first target.
      const known = before?.members.find((member) => member.target === target);
      const health = row.check.type === 'none' ? 'alive' : (known?.health ?? 'unknown');
      return { target, weight, health, current: known?.current ?? 0 };
    });
    groups.set(row.id, new Group(row, members, schedulers));
  }
  const listeners = source.listeners.map((row): CompiledListener => {
    const groupOf = (id: string): Group =>
      groups.get(id) ?? refuse(`listener ${row.name} names group ${id}, which the image does not hold`);
    const isRelay = row.protocol !== 'http' && row.protocol !== 'https';
    if (isRelay && row.group === undefined) refuse(`relay listener ${row.name} has no group`);
    return {
      id: row.id,
      name: row.name,
      loadBalancer: row.loadBalancer,
      vips: row.vips,
      port: row.port,
      protocol: row.protocol,
      certificates: row.certificates,
      routes: routesOf(row, groupOf),
      group: row.group === undefined ? null : groupOf(row.group),
      scheduler: row.scheduler ?? 'wrr',
    };
  });
  refuseDoubles(listeners);
  return { source, listeners, groups, targets };
}

function routesOf(row: ProxyImage['listeners'][number], groupOf: (id: string) => Group): RouteTable<CompiledRule> {
  try {
    return new RouteTable(row.rules.map((rule): CompiledRule => ({ ...rule, group: groupOf(rule.group) })));
  } catch (error) {
    if (error instanceof RangeError) return refuse(`listener ${row.name}: ${error.message}`);
    throw error;
  }
}

/** TCP and UDP may share a port; two stream listeners on one vip:vport may not (E3). */
function refuseDoubles(listeners: readonly CompiledListener[]): void {
  const taken = new Map<string, string>();
  for (const { vips, port, protocol, name } of listeners) {
    for (const vip of vips) {
      const key = `${protocol === 'udp' ? 'udp' : 'stream'} ${vip} ${port}`;
      const owner = taken.get(key);
      if (owner !== undefined) refuse(`listeners ${owner} and ${name} both want ${vip} port ${port}`);
      taken.set(key, name);
    }
  }
}

function refuse(reason: string): never {
  throw new ImageRefused(reason);
}
