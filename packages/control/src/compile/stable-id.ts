// Stable 64-bit ids (data-plane.md P5): the first 64 bits of SHA-256 over the resource id. A collision is found, never served.
import { createHash } from 'node:crypto';

export interface StableIds {
  /** The id of a resource; throws when two resources of one compile share it. */
  of(resource: string): string;
}

export function stableIds(): StableIds {
  const owners = new Map<string, string>();
  return {
    of(resource) {
      const id = stableId(resource);
      const owner = owners.get(id);
      if (owner !== undefined && owner !== resource)
        throw new CompileProblem(`${resource} and ${owner} share the stable id ${id}; rename one`);
      owners.set(id, resource);
      return id;
    },
  };
}

export function stableId(resource: string): string {
  return createHash('sha256').update(resource).digest('hex').slice(0, 16);
}

/** Why a load balancer cannot be compiled; its last good fragment is served meanwhile (B3). */
export class CompileProblem extends Error {
  override readonly name = 'CompileProblem';
}
