// Health is not desired state (control-plane.md B10): nodes report, the controller aggregates in memory and forgets at a restart.
import type { HealthReport, TargetHealth, TargetHealthState } from '@openclb/model';
import type { StoredTargetGroup } from '../desired/state.ts';

export interface HealthTable {
  report(node: string, reports: readonly HealthReport[]): void;
  /** Drops what nodes said that are not there any more. */
  forget(keep: ReadonlySet<string>): void;
  view(groups: Iterable<StoredTargetGroup>, isCounted: (node: string) => boolean): TargetHealth[];
}

const STATE = { alive: 'Alive', dead: 'Dead', probing: 'Probing', unknown: 'Unknown' } as const satisfies Record<
  HealthReport['state'],
  TargetHealthState
>;
/** At a tie the worse view wins. */
const WORST_FIRST: readonly TargetHealthState[] = ['Dead', 'Probing', 'Unknown', 'Alive'];
const REPORTS_PER_NODE_MAX = 1_000_000;

/** `targetOf` turns a stable id of an image into the resource id; names pass unchanged. */
export function healthTable(targetOf: (name: string) => string): HealthTable {
  const byNode = new Map<string, Map<string, TargetHealthState>>();
  return {
    report(node, reports) {
      const states = byNode.get(node) ?? new Map<string, TargetHealthState>();
      byNode.set(node, states);
      for (const [target, state] of worstOf(reports, targetOf)) {
        if (states.size < REPORTS_PER_NODE_MAX) states.set(target, state);
      }
    },
    forget(keep) {
      for (const node of byNode.keys()) if (!keep.has(node)) byNode.delete(node);
    },
    view(groups, isCounted) {
      const nodes = [...byNode].filter(([node]) => isCounted(node)).sort(([a], [b]) => (a < b ? -1 : 1));
      const view: TargetHealth[] = [];
      for (const group of groups) {
        const isOff = group.healthCheck.enabled === false;
        for (const { id } of group.targets) {
          const seen = nodes.flatMap(([node, states]) => {
            const state = states.get(id);
            return state === undefined ? [] : [{ node, state }];
          });
          view.push({
            targetGroup: group.id,
            target: id,
            state: isOff ? 'Close' : majority(seen.map(({ state }) => state)),
            nodes: seen,
          });
        }
      }
      return view;
    },
  };
}

/** A target with addresses of both families is probed in both, under one name; it is as well as its worse half. */
function worstOf(reports: readonly HealthReport[], targetOf: (name: string) => string): Map<string, TargetHealthState> {
  const worst = new Map<string, TargetHealthState>();
  for (const { target, state } of reports) {
    const id = targetOf(target);
    const known = worst.get(id);
    if (known === undefined || WORST_FIRST.indexOf(STATE[state]) < WORST_FIRST.indexOf(known))
      worst.set(id, STATE[state]);
  }
  return worst;
}

function majority(states: readonly TargetHealthState[]): TargetHealthState {
  let best: TargetHealthState = 'Unknown';
  let votes = 0;
  for (const candidate of WORST_FIRST) {
    const count = states.filter((state) => state === candidate).length;
    if (count > votes) [best, votes] = [candidate, count];
  }
  return best;
}
