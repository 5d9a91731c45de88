// ProxyImage → compiled routes, swapped whole (walk 3 of design.md). Targets that do not change keep pool, health and counters.
import { checkImage, type ProxyImage, type Scheduler, type TlsPolicy } from '@openclb/model';
import {
  type CompiledListenerPolicy,
  compileListenerPolicy,
  type CompiledPolicy,
  compilePolicy,
} from './policy/compile.ts';
import { type CompiledCustom, compileCustom, limitsOf, withCustom } from './policy/custom.ts';
import { Matcher } from './policy/match.ts';
import { type CompiledRelay, compileRelay } from './relay/policy.ts';
import { DEFAULT_LIMITS, type Limits } from './limits.ts';
import { RouteTable, type RouteRule } from './routes.ts';
import { Group, type Member, type SchedulerName } from './scheduler.ts';
import { identityKey, Target } from './upstream.ts';

export interface CompiledRule extends RouteRule {
  readonly id: string;
  readonly name: string;
  readonly group: Group;
  readonly scheduler: SchedulerName;
  readonly matcher: Matcher | null;
  /** Rules of the same domain and path that have conditions, in the order in which they are asked. */
  readonly variants: readonly CompiledRule[];
  /** There are variants, or this rule itself has conditions. */
  readonly hasConditions: boolean;
  readonly policy: CompiledPolicy | null;
}

export interface CompiledListener {
  readonly id: string;
  readonly name: string;
  readonly loadBalancer: string;
  readonly vips: readonly string[];
  readonly port: number;
  readonly protocol: ProxyImage['listeners'][number]['protocol'];
  readonly certificates: readonly string[];
  readonly tls: TlsPolicy | null;
  /** Offered by ALPN, and taken from clients that know it. */
  readonly http2: boolean;
  readonly routes: RouteTable<CompiledRule>;
  /** Of a relay listener. */
  readonly group: Group | null;
  readonly scheduler: SchedulerName;
  readonly policy: CompiledListenerPolicy | null;
  /** Of a relay listener. */
  readonly relay: CompiledRelay | null;
  /** The proxy's own, with those of a personalised config before them. */
  readonly limits: Limits;
  readonly custom: CompiledCustom | null;
  /** Path → answer to an ACME authority; null where nobody waits for one. */
  readonly challenges: ReadonlyMap<string, string> | null;
  /** Something looks at the host although one rule takes every one. */
  readonly needsHost: boolean;
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

/** How long one slice of a compile may hold requests up. */
const SLICE_MS = 5;
/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 32;

export function compileImage(
  source: ProxyImage,
  previous: CompiledImage,
  schedulers: readonly Scheduler[],
  limits: Limits = DEFAULT_LIMITS,
): CompiledImage {
  const compiling = compileSteps(source, previous, schedulers, limits);
  for (;;) {
    const step = compiling.next();
    if (step.done === true) return step.value;
  }
}

/** The same while requests go on: between slices the event loop turns. What was learnt of targets meanwhile is in the result. */
export async function compileInSlices(
  source: ProxyImage,
  previous: CompiledImage,
  schedulers: readonly Scheduler[],
  limits: Limits = DEFAULT_LIMITS,
): Promise<CompiledImage> {
  const compiling = compileSteps(source, previous, schedulers, limits);
  let sliceEnds = performance.now() + SLICE_MS;
  for (;;) {
    const step = compiling.next();
    if (step.done === true) {
      takeVerdicts(step.value, previous);
      return step.value;
    }
    if (performance.now() < sliceEnds) continue;
    await new Promise((resolve) => setImmediate(resolve));
    sliceEnds = performance.now() + SLICE_MS;
  }
}

/** Health, ejection and turns of members that both images have, as they are now. */
function takeVerdicts({ source, groups }: CompiledImage, previous: CompiledImage): void {
  for (const { id, check } of source.groups) {
    const before = previous.groups.get(id);
    if (before === undefined) continue;
    const group = groups.get(id)!;
    for (const member of group.members) {
      const known = before.members.find(({ target }) => target === member.target);
      if (known === undefined) continue;
      member.health = check.type === 'none' ? 'alive' : known.health;
      member.current = known.current;
      member.since = known.since;
      member.isAwake = known.isAwake;
      member.isEjected = known.isEjected;
      member.isEjectedElsewhere = known.isEjectedElsewhere;
    }
    group.refresh();
  }
}

function* compileSteps(
  source: ProxyImage,
  previous: CompiledImage,
  schedulers: readonly Scheduler[],
  limits: Limits,
): Generator<void, CompiledImage> {
  const problem = checkImage(source);
  if (problem !== null) throw new ImageRefused(`the image is not well formed: ${problem}`);
  yield;
  const targets = new Map<string, Target>();
  const byId = new Map<string, Target>();
  for (const row of source.targets) {
    const key = identityKey(row);
    const target = previous.targets.get(key) ?? new Target(row);
    targets.set(key, target);
    byId.set(row.id, target);
  }
  const groups = new Map<string, Group>();
  for (const [index, row] of source.groups.entries()) {
    if (index % ROWS_PER_LOOK === 0) yield;
    const before = previous.groups.get(row.id);
    const members = row.targets.map(({ target: id, weight }): Member => {
      const target = byId.get(id) ?? refuse(`group ${row.name} names target ${id}, which the image does not hold`);
      // Round robin goes on where it was, so that frequent changes do not favour the first target.
      const known = before?.members.find((member) => member.target === target);
      const health = row.check.type === 'none' ? 'alive' : (known?.health ?? 'unknown');
      const isEjected = known?.isEjected ?? false;
      return {
        target,
        weight,
        health,
        current: known?.current ?? 0,
        effective: weight,
        since: known?.since ?? 0,
        isAwake: known?.isAwake ?? false,
        isEjected,
        isEjectedElsewhere: known?.isEjectedElsewhere ?? false,
      };
    });
    groups.set(row.id, new Group(row, members, schedulers, before ?? null));
  }
  const before = new Map(previous.listeners.map((listener) => [listener.id, listener] as const));
  const listeners: CompiledListener[] = [];
  for (const row of source.listeners) {
    yield;
    const groupOf = (id: string): Group =>
      groups.get(id) ?? refuse(`listener ${row.name} names group ${id}, which the image does not hold`);
    const isRelay = row.protocol !== 'http' && row.protocol !== 'https';
    if (isRelay && row.group === undefined) refuse(`relay listener ${row.name} has no group`);
    listeners.push({
      id: row.id,
      name: row.name,
      loadBalancer: row.loadBalancer,
      vips: row.vips,
      port: row.port,
      protocol: row.protocol,
      certificates: row.certificates,
      tls: row.tls ?? null,
      http2: row.http2 ?? true,
      limits: limitsOf(limits, row.custom),
      custom: compileCustom(row.custom),
      ...(yield* routesOf(row, groupOf, before.get(row.id) ?? null)),
      group: row.group === undefined ? null : groupOf(row.group),
      scheduler: row.scheduler ?? 'wrr',
      relay: isRelay ? compileRelay(row, groupOf) : null,
      challenges: row.protocol === 'http' ? challengesOf(source) : null,
    });
  }
  refuseDoubles(listeners);
  return { source, listeners, groups, targets };
}

function challengesOf({ challenges }: ProxyImage): ReadonlyMap<string, string> | null {
  if (challenges === undefined) return null;
  return new Map(challenges.map(({ token, answer }) => [`/.well-known/acme-challenge/${token}`, answer] as const));
}

const NO_TARGETS = new Group({ id: '', name: '(none)', slots: 251 }, []);
type Row = ProxyImage['listeners'][number];

function* routesOf(
  row: Row,
  groupOf: (id: string) => Group,
  before: CompiledListener | null,
): Generator<void, Pick<CompiledListener, 'routes' | 'policy' | 'needsHost'>> {
  const policies = new Map<string, CompiledPolicy>();
  for (const rule of before?.routes.rules ?? []) {
    for (const { id, policy } of [rule, ...rule.variants]) if (policy !== null) policies.set(id, policy);
  }
  try {
    const custom = compileCustom(row.custom);
    const rules: CompiledRule[] = [];
    for (const [index, rule] of row.rules.entries()) {
      if (index % ROWS_PER_LOOK === 0) yield;
      const match = rule.policy?.match;
      rules.push({
        ...rule,
        group: rule.group === undefined ? NO_TARGETS : groupOf(rule.group),
        matcher: match === undefined ? null : new Matcher(match, rule.id),
        variants: [],
        hasConditions: match !== undefined,
        policy: compilePolicy(
          withCustom(rule.policy, row.custom),
          rule.path,
          row.policy,
          policies.get(rule.id) ?? null,
          groupOf,
          custom,
        ),
      });
    }
    yield;
    const placed = withVariants(rules);
    yield;
    const routes = new RouteTable(placed);
    yield;
    const policy = compileListenerPolicy(row.policy ?? entryOf(row.relay), before?.policy ?? null);
    const isPlain = rules.every((rule) => rule.policy === null && !rule.hasConditions);
    return { routes, policy, needsHost: routes.single === null || policy !== null || !isPlain };
  } catch (error) {
    if (error instanceof RangeError) return refuse(`listener ${row.name}: ${error.message}`);
    throw error;
  }
}

/** What a relay says about connections before they are read, in the words of HTTP listeners. */
function entryOf(relay: Row['relay']): Row['policy'] {
  if (relay === undefined) return undefined;
  const { connectionsMax, connectionsPerClientMax, proxyProtocolFrom } = relay;
  const given = { connectionsMax, connectionsPerClientMax, proxyProtocolFrom };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** One rule for each domain and path, the one without conditions if there is one; the others hang on it. */
function withVariants(rules: readonly CompiledRule[]): CompiledRule[] {
  const places = new Map<string, CompiledRule[]>();
  for (const rule of rules) {
    const place = `${rule.domain.startsWith('~') ? rule.domain : rule.domain.toLowerCase()} ${rule.path}`;
    const known = places.get(place);
    if (known === undefined) places.set(place, [rule]);
    else known.push(rule);
  }
  return [...places.values()].map((here) => {
    const conditional = here
      .filter(({ matcher }) => matcher !== null)
      .sort((a, b) => a.matcher!.order - b.matcher!.order);
    if (conditional.length === 0) return here[0]!;
    const plain = here.find(({ matcher }) => matcher === null) ?? conditional[0]!;
    const isDefault = here.some((rule) => rule.isDefault);
    return { ...plain, isDefault, variants: conditional, hasConditions: true };
  });
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
