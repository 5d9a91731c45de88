// Compile (walk 3): desired state → images by role. Pure: no I/O, no clock, no randomness, and the order of insertion does not matter.
// Per load balancer, then assembled per node (control-plane.md B3): one that fails keeps its last good fragment and is flagged.
import type { Generation, Image, LoadBalancerStatus } from '@openclb/model';
import { KEY, PREFIX } from '../desired/keys.ts';
import type { DesiredState, StoredInstance, StoredNode } from '../desired/state.ts';
import type { Pools } from '../options.ts';
import { directorBody, directorImage } from './director.ts';
import { endpointImage, proxyImage } from './endpoint.ts';
import { compileFragment } from './fragment.ts';
import { byId, type Fragment } from './parts.ts';
import { CompileProblem, type StableIds, stableIds } from './stable-id.ts';
import { type Placement, placementOf } from './targets.ts';
import { sharedTargets } from './warnings.ts';

/** Raised with every change of this folder that can change an image (B4). */
export const COMPILER_VERSION = 1;

export interface CompileOptions {
  readonly pools: Pools;
  readonly readyPort: number;
  /** Of the only machine, where there is only one. */
  readonly ownAddresses?: () => readonly string[];
}

export interface Assembly {
  readonly placement: Placement;
  readonly generation: Generation;
  readonly options: CompileOptions;
  /** Sorted by id. */
  readonly nodes: readonly StoredNode[];
  /** Fresh ones first, each part sorted by load balancer. */
  readonly fragments: readonly Fragment[];
  readonly instancesByHost: ReadonlyMap<string, readonly StoredInstance[]>;
  readonly instancesByVpc: ReadonlyMap<number, readonly StoredInstance[]>;
}

export interface Compiled {
  readonly generation: Generation;
  /** By node id. */
  readonly images: ReadonlyMap<string, Image>;
  /** Only those compiled now: they replace what is kept in the store. */
  readonly fragments: ReadonlyMap<string, Fragment>;
  readonly loadBalancers: readonly LoadBalancerStatus[];
  readonly warnings: readonly string[];
}

/** Fragments of earlier compiles by what they were made from. It saves work and changes no result. */
export interface CompileMemo {
  readonly ids: StableIds;
  readonly fragments: Map<string, { readonly inputs: readonly unknown[]; readonly result: Fragment | string }>;
}

export function compileMemo(): CompileMemo {
  return { ids: stableIds(), fragments: new Map() };
}

export function compile(
  state: DesiredState,
  kept: ReadonlyMap<string, Fragment>,
  options: CompileOptions,
  memo: CompileMemo = compileMemo(),
): Compiled {
  const placement = placementOf(state, options.ownAddresses?.());
  const generation: Generation = { revision: state.revision, compiler: COMPILER_VERSION };
  const { fresh, stale, statuses } = compileAll(placement, kept, memo);
  const nodes = [...state.node.values()].sort(byId);
  const instances = [...state.instance.values()].sort(byId);
  const assembly: Assembly = {
    placement,
    generation,
    options,
    nodes,
    fragments: [...fresh.values(), ...stale],
    instancesByHost: Map.groupBy(instances, ({ host }) => host ?? ''),
    instancesByVpc: Map.groupBy(instances, ({ vpcId }) => vpcId),
  };
  const warnings: string[] = [...state.broken]
    .map(([key, reason]) => `${key.slice(2)} cannot be read: ${reason}`)
    .sort();
  warnings.push(...sharedTargets(assembly.fragments.filter(({ isRelayed }) => isRelayed !== true)));
  const body = directorBody(assembly, warnings);
  const images = new Map<string, Image>();
  for (const node of nodes) {
    if (node.role === 'director') images.set(node.id, directorImage(body, node));
    else images.set(node.id, node.role === 'proxy' ? proxyImage(assembly, node) : endpointImage(assembly, node));
  }
  return { generation, images, fragments: fresh, loadBalancers: statuses, warnings };
}

function compileAll(placement: Placement, kept: ReadonlyMap<string, Fragment>, memo: CompileMemo) {
  const { state } = placement;
  const fresh = new Map<string, Fragment>();
  const stale: Fragment[] = [];
  const statuses: LoadBalancerStatus[] = [];
  const names = new Map([...state.loadBalancer.values()].map(({ id, name }) => [id, name] as const));
  for (const key of state.broken.keys()) {
    if (key.startsWith(PREFIX.loadBalancer)) names.set(key.slice(PREFIX.loadBalancer.length), '');
  }
  for (const id of memo.fragments.keys()) if (!names.has(id)) memo.fragments.delete(id);
  for (const id of [...names.keys()].sort()) {
    const name = names.get(id) ?? '';
    const result = remembered(placement, memo, id);
    if (typeof result !== 'string') {
      fresh.set(id, result);
      statuses.push({ id, name, compiled: true, problem: null, warnings: result.warnings });
      continue;
    }
    const last = kept.get(id);
    if (last) stale.push(last);
    const consequence = last ? 'its last good state is served' : 'nothing of it is served';
    statuses.push({ id, name, compiled: false, problem: `${result}; ${consequence}`, warnings: [] });
  }
  return { fresh, stale, statuses };
}

/** Objects of the state are replaced, never changed, so equal identity means equal content. */
function remembered(placement: Placement, memo: CompileMemo, id: string): Fragment | string {
  const { state } = placement;
  if (state.broken.size > 0) return tryFragment(placement, memo.ids, id);
  const listeners = placement.listenersByLoadBalancer.get(id) ?? [];
  const groups = listeners.flatMap(({ targetGroup, rules, relay }) => [
    targetGroup,
    ...rules.map((rule) => rule.targetGroup),
    ...(relay?.mysql?.targetGroups ?? []),
  ]);
  const inputs = [
    state.placementToken,
    state.loadBalancer.get(KEY.loadBalancer(id)),
    ...listeners,
    ...listeners.flatMap(({ certificates }) =>
      certificates.map((certificate) => state.certificate.get(KEY.certificate(certificate))?.certificate !== undefined),
    ),
    ...groups.map((group) => (group === undefined ? undefined : state.targetGroup.get(KEY.targetGroup(group)))),
  ];
  const known = memo.fragments.get(id);
  if (known && known.inputs.length === inputs.length && inputs.every((input, index) => input === known.inputs[index]))
    return known.result;
  const result = tryFragment(placement, memo.ids, id);
  memo.fragments.set(id, { inputs, result });
  return result;
}

/** The fragment, or the sentence that says why there is none. Used at write time as well, so that both say the same (B3). */
export function tryFragment(placement: Placement, ids: StableIds, id: string): Fragment | string {
  try {
    return compileFragment(placement, ids, id);
  } catch (error) {
    if (error instanceof CompileProblem) return error.message;
    throw error;
  }
}
