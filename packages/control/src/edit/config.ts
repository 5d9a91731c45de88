// A whole document at once (`PUT /v1/config`, `clb apply -f`): one transaction, idempotent, and what did not change is not touched.
// Sections that are present replace what is stored; absent ones are left alone. Claims of everything named are given back first,
// so that two load balancers may swap their VIPs within one document.
import { createHash } from 'node:crypto';
import {
  type Config,
  type ConfigEip,
  type ConfigListener,
  type ConfigLoadBalancer,
  type ConfigResult,
  type ConfigRule,
  ClbError,
  type HealthCheck,
  ID_PREFIX,
  LIMITS,
  type Mirror,
  type TargetInput,
} from '@openclb/model';
import { KEY, PREFIX, type StoredKind } from '../desired/keys.ts';
import type { Stored } from '../desired/state.ts';
import { saveCertificate, saveLoadBalancer, saveTargetGroup } from './balancing.ts';
import { refuseIfBroken } from './check.ts';
import { releaseClaims } from './claims.ts';
import { type Edit, reject } from './context.ts';
import { allocate, bind } from './eips.ts';
import { saveListener, saveRule } from './listeners.ts';
import { answersItself, conditionOf } from './policy.ts';
import { saveInstance, saveNode, saveVpc } from './network.ts';
import { keyOf, removeObject, userOf } from './remove.ts';

/** Groups that belong to one listener or rule of a document carry this in their id; nobody else names them. */
const OWN_GROUP = `${ID_PREFIX.targetGroup}-own-`;

export function applyConfig(edit: Edit, config: Config): Omit<ConfigResult, 'revision'> {
  const before = snapshot(edit);
  const plan: Edit = { ...edit, freshId: (kind, name) => derivedId(kind, name) };
  const named = match(plan, config);
  const removed = release(plan, config, named);
  for (const { input, before: old } of named.node) saveNode(plan, input, old);
  for (const { input, before: old } of named.vpc) saveVpc(plan, input, old);
  for (const { input, before: old } of named.instance) saveInstance(plan, input, old);
  for (const { input, before: old } of named.certificate) saveCertificate(plan, input, old);
  for (const { input, before: old } of named.targetGroup)
    within('targetGroups', input.name, () => saveTargetGroup(plan, input, old));
  const ownGroups = new Set<string>();
  for (const { input, before: old } of named.loadBalancer)
    within('loadBalancers', input.name, () => saveTree(plan, input, old, ownGroups));
  if (config.loadBalancers) removeOwnGroups(plan, ownGroups);
  for (const { input, before: old } of named.eip) saveEip(plan, input, old);
  const state = edit.draft.preview();
  for (const { kind, id } of removed) {
    const owner = userOf(state, kind, id);
    if (owner !== undefined)
      throw new ClbError(
        'ResourceInUse',
        { kind, id, owner },
        'It is missing from the document but still used; list it, or remove what uses it.',
      );
  }
  refuseIfBroken(
    edit,
    [...state.loadBalancer.values()].map(({ id }) => id),
  );
  return difference(before, snapshot(edit));
}

interface Match<I, K extends StoredKind> {
  readonly input: I;
  readonly before: Stored[K] | undefined;
}
type Named = ReturnType<typeof match>;

/** Finds the stored object of each one in the document: by id, or else by name. Known ones first, then those with addresses of their own. */
function match(edit: Edit, config: Config) {
  const stored = <K extends StoredKind>(kind: K): Stored[K][] =>
    edit.draft.list<Stored[K]>(PREFIX[kind]).map(([, value]) => value);
  const pair = <I extends { id?: string | number; name?: string }, K extends StoredKind>(
    kind: K,
    inputs: readonly I[] | undefined,
    isGiven: (input: I) => boolean = () => false,
  ): Match<I, K>[] => {
    const all = stored(kind) as (Stored[K] & { id: string | number; name?: string })[];
    const seen = new Set<string | number>();
    const matches = (inputs ?? []).map((input, index) => {
      const found = all.find((value) =>
        input.id === undefined ? input.name !== undefined && value.name === input.name : value.id === input.id,
      );
      const identity = found?.id ?? input.id ?? input.name;
      if (identity !== undefined && seen.has(identity))
        reject(`/${kind}s/${index}`, `${identity} is in the document twice`);
      if (identity !== undefined) seen.add(identity);
      return { input, before: found };
    });
    const rank = ({ input, before }: Match<I, K>): number => (before ? 0 : isGiven(input) ? 1 : 2);
    return matches.sort((a, b) => rank(a) - rank(b));
  };
  return {
    node: pair('node', config.nodes),
    vpc: pair('vpc', config.vpcs),
    instance: pair('instance', config.instances),
    certificate: pair('certificate', config.certificates),
    targetGroup: pair('targetGroup', config.targetGroups),
    loadBalancer: pair('loadBalancer', config.loadBalancers, ({ vips }) => vips !== undefined),
    eip: pair(
      'eip',
      config.eips?.map((eip) => matchByAddress(eip, stored('eip'))),
      ({ address }) => address !== undefined,
    ),
  };
}

/** An EIP may be named by its address alone. */
function matchByAddress(input: ConfigEip, stored: readonly Stored['eip'][]): ConfigEip {
  if (input.id !== undefined || input.name !== undefined) return input;
  if (input.address === undefined) reject('/eips', 'an EIP of a document needs a name, an id or an address');
  const found = stored.find(({ address }) => address === input.address);
  return found ? { ...input, id: found.id } : { ...input, name: input.address };
}

const SECTION = {
  eip: 'eips',
  loadBalancer: 'loadBalancers',
  targetGroup: 'targetGroups',
  certificate: 'certificates',
  instance: 'instances',
  vpc: 'vpcs',
  node: 'nodes',
} as const satisfies Record<keyof Named, keyof Config>;

/** Removes what a present section no longer names, and gives back the claims of what it does name. */
function release(edit: Edit, config: Config, named: Named): { kind: StoredKind; id: string | number }[] {
  const removed: { kind: StoredKind; id: string | number }[] = [];
  for (const kind of Object.keys(SECTION) as (keyof Named)[]) {
    if (config[SECTION[kind]] === undefined) continue;
    const kept = new Set(named[kind].flatMap(({ before }) => (before ? [before.id] : [])));
    for (const [, value] of edit.draft.list<Stored[typeof kind]>(PREFIX[kind])) {
      if (kept.has(value.id)) {
        releaseClaims(edit, kind, value);
      } else if (!(kind === 'targetGroup' && String(value.id).startsWith(OWN_GROUP))) {
        removeObject(edit, kind, value);
        removed.push({ kind, id: value.id });
      }
    }
  }
  return removed;
}

function removeOwnGroups(edit: Edit, kept: ReadonlySet<string>): void {
  for (const [, group] of edit.draft.list<Stored['targetGroup']>(PREFIX.targetGroup)) {
    if (group.id.startsWith(OWN_GROUP) && !kept.has(group.id)) removeObject(edit, 'targetGroup', group);
  }
}

/** A load balancer with its listeners and rules; listeners that the document does not name any more go. */
function saveTree(
  edit: Edit,
  input: ConfigLoadBalancer,
  before: Stored['loadBalancer'] | undefined,
  ownGroups: Set<string>,
): void {
  const { listeners = [], ...own } = input;
  const loadBalancer = saveLoadBalancer(edit, own, before);
  const stored = edit.draft.list<Stored['listener']>(`${PREFIX.listener}${loadBalancer.id}/`).map(([, value]) => value);
  const matched = listeners.map((listener) => ({ listener, before: findListener(stored, listener) }));
  for (const value of stored)
    if (!matched.some((entry) => entry.before === value)) removeObject(edit, 'listener', value);
  for (const { listener, before: old } of matched) {
    within('listeners', `${listener.protocol} ${listener.port}`, () =>
      saveListenerTree(edit, loadBalancer, listener, old, ownGroups),
    );
  }
}

function findListener(stored: readonly Stored['listener'][], wanted: ConfigListener): Stored['listener'] | undefined {
  if (wanted.id !== undefined) return stored.find(({ id }) => id === wanted.id);
  return stored.find(({ protocol, port }) => protocol === wanted.protocol && port === wanted.port);
}

function saveListenerTree(
  edit: Edit,
  loadBalancer: Stored['loadBalancer'],
  input: ConfigListener,
  before: Stored['listener'] | undefined,
  ownGroups: Set<string>,
): void {
  const { rules = [], targets, healthCheck, targetGroup, certificates, ...fields } = input;
  const name = `${loadBalancer.name}/${input.protocol}-${input.port}`;
  if (before && (before.protocol !== input.protocol || before.port !== input.port)) {
    removeObject(edit, 'listener', before);
    before = undefined;
  }
  const group = groupFor(edit, { targetGroup, targets, healthCheck }, name, ownGroups);
  const ids = certificates?.map((text, index) => nameToId(edit, 'certificate', text, `/certificates/${index}`));
  const listener = saveListener(
    edit,
    {
      ...fields,
      loadBalancer: loadBalancer.id,
      ...(group === undefined ? {} : { targetGroup: group }),
      ...(ids ? { certificates: ids } : {}),
    },
    before,
  );
  const key = KEY.listener(loadBalancer.id, listener.id);
  const old = listener.rules;
  edit.draft.put(key, { ...listener, rules: [] });
  for (const rule of rules) saveConfigRule(edit, key, name, rule, old, ownGroups);
}

function saveConfigRule(
  edit: Edit,
  key: string,
  name: string,
  input: ConfigRule,
  old: readonly Stored['listener']['rules'][number][],
  ownGroups: Set<string>,
): void {
  const { targetGroup, targets, healthCheck, policy, ...fields } = input;
  const named = policy?.mirror === undefined ? policy : { ...policy, mirror: mirrorById(edit, policy.mirror) };
  const condition = conditionOf(policy);
  const place = `${input.domain ?? ''}${input.path ?? '/'}${condition}`;
  const group = groupFor(edit, { targetGroup, targets, healthCheck }, `${name}/${place}`, ownGroups);
  if (group === undefined && !answersItself(input.policy))
    reject('/rules', `the rule for ${place} needs targetGroup or targets`);
  const listener = edit.draft.get<Stored['listener']>(key);
  if (!listener) return;
  const domain = (input.domain ?? '').toLowerCase();
  const before = old.find((rule) =>
    input.id === undefined
      ? rule.domain === domain && rule.path === (input.path ?? '/') && conditionOf(rule.policy) === condition
      : rule.id === input.id,
  );
  saveRule(
    edit,
    listener,
    {
      ...fields,
      listener: listener.id,
      ...(named === undefined ? {} : { policy: named }),
      ...(group === undefined ? {} : { targetGroup: group }),
    },
    before,
  );
}

function mirrorById(edit: Edit, mirror: Mirror): Mirror {
  return { ...mirror, targetGroup: nameToId(edit, 'targetGroup', mirror.targetGroup, '/policy/mirror/targetGroup') };
}

interface GroupChoice {
  readonly targetGroup: string | undefined;
  readonly targets: readonly TargetInput[] | undefined;
  readonly healthCheck: HealthCheck | undefined;
}

/** The id of the group that a listener or rule names, or of the one made for its own targets. */
function groupFor(edit: Edit, choice: GroupChoice, name: string, ownGroups: Set<string>): string | undefined {
  if (choice.targetGroup !== undefined) {
    if (choice.targets !== undefined || choice.healthCheck !== undefined)
      reject('/targetGroup', 'excludes targets and healthCheck, which belong to the group');
    return nameToId(edit, 'targetGroup', choice.targetGroup, '/targetGroup');
  }
  if (choice.targets === undefined) return undefined;
  const id = `${OWN_GROUP}${derivedId('targetGroup', name)}`;
  const short =
    name.length <= LIMITS.nameCharsMax
      ? name
      : `${name.slice(0, LIMITS.nameCharsMax - 9)}-${derivedId('targetGroup', name)}`;
  const before = edit.draft.get<Stored['targetGroup']>(KEY.targetGroup(id));
  saveTargetGroup(
    edit,
    {
      id,
      name: short,
      targets: [...choice.targets],
      ...(choice.healthCheck ? { healthCheck: choice.healthCheck } : {}),
    },
    before,
  );
  ownGroups.add(id);
  return id;
}

function nameToId(edit: Edit, kind: 'certificate' | 'targetGroup', text: string, field: string): string {
  if (edit.draft.get(`${PREFIX[kind]}${text}`) !== undefined) return text;
  const claim = edit.draft.get<{ owner: string }>(KEY.name(kind, text));
  if (!claim) throw new ClbError('BadReference', { field, value: text });
  return claim.owner;
}

function saveEip(edit: Edit, input: ConfigEip, before: Stored['eip'] | undefined): void {
  const { bind: binding, ...own } = input;
  if (before && own.address !== undefined && own.address !== before.address)
    reject('/eips', `${before.id} has another address; release it and allocate a new one`);
  if (before) edit.draft.delete(KEY.eip(before.id));
  const { id } = allocate(
    edit,
    before ? { id: before.id, name: own.name ?? before.name, address: before.address } : own,
  );
  if (binding) bind(edit, id, binding);
}

function within<T>(section: string, name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ClbError) || error.data['field'] === undefined) throw error;
    const field = String(error.data['field']);
    throw new ClbError(
      error.code,
      { ...error.data, field: `/${section}/${name}${field.startsWith('/') ? field : ''}` },
      error.hint,
    );
  }
}

function derivedId(kind: string, name: string): string {
  const digest = createHash('sha256').update(`${kind}/${name}`).digest();
  return BigInt(`0x${digest.subarray(0, 8).toString('hex')}`)
    .toString(36)
    .padStart(13, '0')
    .slice(-8);
}

const KINDS = Object.keys(PREFIX).filter((kind) => kind !== 'address') as StoredKind[];

function snapshot(edit: Edit): Map<string, string> {
  const all = new Map<string, string>();
  for (const kind of KINDS) {
    for (const [, value] of edit.draft.list<Stored[typeof kind]>(PREFIX[kind]))
      all.set(keyOf(kind, value), JSON.stringify(sorted(value)));
  }
  return all;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  );
}

function difference(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): Omit<ConfigResult, 'revision'> {
  const idOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1);
  const keys = [...after.keys()];
  return {
    created: keys.filter((key) => !before.has(key)).map(idOf),
    updated: keys.filter((key) => before.has(key) && before.get(key) !== after.get(key)).map(idOf),
    deleted: [...before.keys()].filter((key) => !after.has(key)).map(idOf),
    unchanged: keys.filter((key) => before.get(key) === after.get(key)).length,
  };
}
