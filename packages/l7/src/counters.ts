// What the proxy counts. Plain numbers, added to on the hot path and copied out on demand.

export interface Counters {
  connections: number;
  connectionsOpen: number;
  requests: number;
  /** By first digit of the final status: index 1 to 5. */
  responses: [number, number, number, number, number, number];
  retries: number;
  /** Retries that the budget of their rule did not allow. */
  retriesRefused: number;
  /** Second targets asked where the first was slow, and those that answered first. */
  hedges: number;
  hedgesWon: number;
  /** Requests copied to another group, and those that were too long or too many to be. */
  mirrors: number;
  mirrorsLeftOut: number;
  tunnels: number;
  bytesIn: number;
  bytesOut: number;
  /** Code of `phase/fail.ts`, or reason of a refused connection → how often. */
  failures: Record<string, number>;
}

export function createCounters(): Counters {
  return {
    connections: 0,
    connectionsOpen: 0,
    requests: 0,
    responses: [0, 0, 0, 0, 0, 0],
    retries: 0,
    retriesRefused: 0,
    hedges: 0,
    hedgesWon: 0,
    mirrors: 0,
    mirrorsLeftOut: 0,
    tunnels: 0,
    bytesIn: 0,
    bytesOut: 0,
    failures: {},
  };
}

export function countFailure(counters: Counters, code: string): void {
  counters.failures[code] = (counters.failures[code] ?? 0) + 1;
}
