// The last step of an edit: every load balancer that it touches must compile, by the same code that compiles it later (B3).
import { ClbError } from '@openclb/model';
import { tryFragment } from '../compile/index.ts';
import { stableIds } from '../compile/stable-id.ts';
import { placementOf } from '../compile/targets.ts';
import { KEY } from '../desired/keys.ts';
import type { DesiredState } from '../desired/state.ts';
import type { Edit } from './context.ts';

export function refuseIfBroken(edit: Edit, loadBalancers: Iterable<string>): void {
  const state = edit.draft.preview();
  const placement = placementOf(state);
  for (const id of loadBalancers) {
    if (!state.loadBalancer.has(KEY.loadBalancer(id))) continue;
    const result = tryFragment(placement, stableIds(), id);
    if (typeof result === 'string')
      throw new ClbError('BadCombination', { field: id, rule: `would not compile: ${result}` });
  }
}

export function usersOfGroup(state: DesiredState, group: string): Set<string> {
  const users = new Set<string>();
  for (const { loadBalancer, targetGroup, rules, domains } of state.listener.values()) {
    const named = [...rules, ...(domains ?? [])];
    if (targetGroup === group || named.some((row) => row.targetGroup === group)) users.add(loadBalancer);
  }
  return users;
}
