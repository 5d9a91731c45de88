// Deletions: who still uses an object, and what goes with it. Tencent cascades load balancer → listeners → rules.
import { ClbError } from '@openclb/model';
import { KEY, PREFIX, type StoredKind } from '../desired/keys.ts';
import type { DesiredState, Stored } from '../desired/state.ts';
import { releaseClaims } from './claims.ts';
import type { Edit } from './context.ts';

/** The id of one user of the object, which makes its deletion a refusal. */
export function userOf(state: DesiredState, kind: StoredKind, id: string | number): string | undefined {
  switch (kind) {
    case 'targetGroup':
      return find(
        state.listener,
        (value) =>
          value.targetGroup === id ||
          value.rules.some((rule) => rule.targetGroup === id || rule.policy?.mirror?.targetGroup === id) ||
          (value.domains ?? []).some(({ targetGroup }) => targetGroup === id) ||
          (value.relay?.mysql?.targetGroups ?? []).includes(String(id)),
      );
    case 'certificate':
      return find(state.listener, (value) => value.certificates.includes(String(id)));
    case 'instance':
      return (
        find(state.targetGroup, (value) => value.targets.some((target) => target.instance === id)) ??
        find(state.eip, (value) => isBoundTo(value, state.instance.get(KEY.instance(String(id)))))
      );
    case 'vpc':
      return (
        find(state.instance, (value) => value.vpcId === id) ??
        find(state.loadBalancer, (value) => value.vpcId === id) ??
        find(state.targetGroup, (value) => value.targets.some((target) => target.vpc === id))
      );
    case 'node':
      return (
        find(state.instance, (value) => value.host === id) ??
        find(state.targetGroup, (value) => value.targets.some((target) => target.host === id))
      );
    default:
      return undefined;
  }
}

function isBoundTo({ binding }: Stored['eip'], instance: Stored['instance'] | undefined): boolean {
  return (
    binding !== undefined &&
    instance !== undefined &&
    binding.vpc === instance.vpcId &&
    instance.addresses.includes(binding.address)
  );
}

function find<T extends { readonly id: string | number }>(
  map: ReadonlyMap<string, T>,
  uses: (value: T) => boolean,
): string | undefined {
  for (const value of map.values()) if (uses(value)) return String(value.id);
  return undefined;
}

/** Deletes one object and what belongs to it alone; the caller has asked `userOf`. */
export function removeObject<K extends StoredKind>(edit: Edit, kind: K, value: Stored[K]): void {
  releaseClaims(edit, kind, value);
  if (kind === 'loadBalancer') {
    const { id } = value as Stored['loadBalancer'];
    for (const [, listener] of edit.draft.list<Stored['listener']>(`${PREFIX.listener}${id}/`))
      removeObject(edit, 'listener', listener);
    edit.draft.delete(KEY.lock(id));
  }
  if (kind === 'listener') edit.draft.touch(KEY.lock((value as Stored['listener']).loadBalancer));
  edit.draft.delete(keyOf(kind, value));
}

export function keyOf<K extends StoredKind>(kind: K, value: Stored[K]): string {
  if (kind === 'listener') {
    const { loadBalancer, id } = value as Stored['listener'];
    return KEY.listener(loadBalancer, id);
  }
  if (kind === 'vpc') return KEY.vpc((value as Stored['vpc']).id);
  return `${PREFIX[kind]}${(value as { id: string }).id}`;
}

export function refuseIfUsed(edit: Edit, kind: StoredKind, id: string | number): void {
  const owner = userOf(edit.draft.preview(), kind, id);
  if (owner !== undefined) throw new ClbError('ResourceInUse', { kind, id, owner });
}
