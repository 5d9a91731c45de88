// Example of a plugin: a scheduler that looks at two candidates and takes the less busy one (power of two choices).
// Both are derived from the flow, so the same flow gives the same pair on every node and nothing random is needed.
import { definePlugin, type Plugin, type SchedulerFlow } from '../plugin.ts';

export function twoChoicesPlugin(): Plugin {
  return definePlugin({
    name: 'two-choices',
    setup(api) {
      api.add('scheduler', {
        name: 'two-choices',
        layers: ['l4', 'l7'],
        pick(flow, candidates) {
          const usable = candidates.flatMap(({ weight }, index) => (weight > 0 ? [index] : []));
          if (usable.length === 0) return -1;
          const hash = hashOf(flow);
          const first = usable[hash % usable.length] ?? -1;
          const second = usable[(hash >>> 16) % usable.length] ?? -1;
          return load(candidates[second]) < load(candidates[first]) ? second : first;
        },
      });
    },
  });
}

function load(candidate: { active: number; weight: number } | undefined): number {
  return candidate ? candidate.active / candidate.weight : Number.POSITIVE_INFINITY;
}

/** FNV-1a, 32 bits. */
function hashOf({ source, sourcePort, destination, destinationPort }: SchedulerFlow): number {
  let hash = 0x811c9dc5;
  for (const character of `${source}|${sourcePort}|${destination}|${destinationPort}`) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  }
  return hash;
}
