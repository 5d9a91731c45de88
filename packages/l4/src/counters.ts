// All counters of a role under one flat set of names (`counters` of the API, `clb top`): the packet core's, the ports', the worker's.
// They add up: core.received + core.added = core.forwarded + dropped + punted + consumed + held, because a walk ends
// every packet with one verdict; and what the ports queued and refused is the rest of the way (data-plane.md, proofs: "drops add up").
import { type Core } from '@openclb/core-wasm';
import { type DataPath } from './data-path.ts';

export function readCounters(core: Core, path: DataPath): Record<string, number> {
  const counters: Record<string, number> = {};
  for (const [name, value] of Object.entries(core.counters())) counters[`core.${name}`] = value;
  for (const [index, values] of path.statistics()) {
    for (const [name, value] of Object.entries(values)) counters[`port${index}.${name}`] = value;
  }
  for (const [name, value] of Object.entries(path.counters())) counters[`worker.${name}`] = value;
  counters['worker.restarts'] = path.restarts();
  counters['worker.deaths'] = path.deaths();
  counters['worker.heartbeat'] = path.heartbeat();
  return counters;
}

/** Zero when every received packet ended with exactly one verdict. */
export function unaccounted(counters: Readonly<Record<string, number>>): number {
  const of = (name: string): number => counters[`core.${name}`] ?? 0;
  return of('received') + of('added') - of('forwarded') - of('dropped') - of('punted') - of('consumed') - of('held');
}
