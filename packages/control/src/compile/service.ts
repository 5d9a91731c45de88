// One target group for a client-side balancer: the addresses at which a machine of the given VPC reaches its targets itself. Pure.
import type { ServiceAnswer } from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type { DesiredState } from '../desired/state.ts';
import { byId, checkSpecOf } from './parts.ts';
import { placementOf, resolveTarget } from './targets.ts';

export type Service = Omit<ServiceAnswer, 'tag'>;

/** Undefined when there is no such group. Targets of other networks are left out: without a tunnel nobody gets there. */
export function serviceOf(state: DesiredState, targetGroup: string, vpc: number): Service | undefined {
  const group = state.targetGroup.get(KEY.targetGroup(targetGroup));
  if (group === undefined) return undefined;
  const placement = placementOf(state);
  const targets = [...group.targets].sort(byId).flatMap((target) => {
    const result = resolveTarget(placement, target, 0);
    if (!('target' in result) || result.target.net !== vpc) return [];
    const { address, port, weight } = result.target;
    return [{ address, port, weight }];
  });
  return { targets, check: checkSpecOf(group.healthCheck) };
}
