// What compiles and may still surprise its owner.
import type { Fragment } from './parts.ts';

const WARNINGS_MAX = 100;

/** Two listeners on one target port: the same client tuple may meet there, and the director must rewrite a port (data-plane.md P6). */
export function sharedTargets(fragments: readonly Fragment[]): string[] {
  const owners = new Map<string, string>();
  const warnings = new Set<string>();
  for (const { listeners, groups, targets } of fragments) {
    const targetById = new Map(targets.map((row) => [row.id, row] as const));
    const groupById = new Map(groups.map((row) => [row.id, row] as const));
    for (const { name, protocol, group } of listeners) {
      for (const { target } of groupById.get(group)?.targets ?? []) {
        const row = targetById.get(target);
        if (!row) continue;
        const place = `${row.address}:${row.port} of VPC ${row.net}`;
        const key = `${protocol}/${place}`;
        const owner = owners.get(key) ?? name;
        owners.set(key, owner);
        if (owner !== name && warnings.size < WARNINGS_MAX) warnings.add(`${owner} and ${name} both send to ${place}`);
      }
    }
  }
  return [...warnings];
}
