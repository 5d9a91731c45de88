// Who is announced, and over which directors (data-plane.md P2, P35): pure. The switch announcer turns it into routes beside a switch;
// a routing daemon would turn the same into BGP. Order of next hops is fixed by name, because another order moves every flow.
import { type AddressPair } from '@openclb/model';
import { ROUTE_PROTOCOL } from './ip-batch.ts';

export interface AnnouncedDirector {
  readonly id: string;
  /** Where frames for it go. */
  readonly underlay: AddressPair;
  readonly tunnels: readonly AddressPair[];
  /** Its probe address: always routed to itself, so the heartbeat asked of it reaches nobody else. */
  readonly probe: AddressPair;
}

export interface AnnouncedAddress {
  readonly address: string;
  readonly kind: 'vip' | 'eip' | 'anycast';
}

export interface Announcements {
  readonly directors: readonly AnnouncedDirector[];
  readonly addresses: readonly AnnouncedAddress[];
}

/** `draining`: out of the way of new flows, but its replies still go to it. */
export type Liveness = 'serving' | 'draining' | 'dead';

/** Destination address → gateways in order. An empty list: nobody can serve it, leave the route as it is. */
export type RoutePlan = ReadonlyMap<string, readonly string[]>;

export function planRoutes(announcements: Announcements, liveness: (id: string) => Liveness): RoutePlan {
  const directors = announcements.directors.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const serving = directors.filter((director) => liveness(director.id) === 'serving');
  const plan = new Map<string, readonly string[]>();
  for (const { address } of announcements.addresses) plan.set(address, gateways(serving, address));
  for (const director of directors) {
    const isThere = liveness(director.id) !== 'dead';
    for (const tunnel of director.tunnels.flatMap(addressesOf))
      plan.set(tunnel, gateways(isThere ? [director] : serving, tunnel));
    for (const probe of addressesOf(director.probe)) plan.set(probe, gateways([director], probe));
  }
  return plan;
}

/** What changes between two plans, in the order of the new one. `null`: remove the route. */
export function diffPlans(before: RoutePlan, after: RoutePlan): Map<string, readonly string[] | null> {
  const changes = new Map<string, readonly string[] | null>();
  for (const [address, hops] of after) {
    if (hops.length > 0 && hops.join() !== (before.get(address) ?? []).join()) changes.set(address, hops);
  }
  for (const address of before.keys()) if (!after.has(address)) changes.set(address, null);
  return changes;
}

/** Lines for `ip -batch -`. `table` is where the routes go; they carry a protocol number of our own. */
export function routeCommands(changes: ReadonlyMap<string, readonly string[] | null>): string[] {
  return [...changes].map(([address, hops]) => {
    const [family, prefix] = isV6(address) ? ['-6 ', `${address}/128`] : ['', `${address}/32`];
    if (hops === null) return `${family}route del ${prefix} proto ${ROUTE_PROTOCOL}`;
    const via = hops.length === 1 ? `via ${hops[0]}` : hops.map((hop) => `nexthop via ${hop}`).join(' ');
    return `${family}route replace ${prefix} proto ${ROUTE_PROTOCOL} ${via}`;
  });
}

function gateways(directors: readonly AnnouncedDirector[], address: string): string[] {
  return directors
    .map((director) => (isV6(address) ? director.underlay.v6 : director.underlay.v4))
    .filter((hop) => hop !== undefined);
}

function addressesOf(pair: AddressPair): string[] {
  return [pair.v4, pair.v6].filter((address) => address !== undefined);
}

function isV6(address: string): boolean {
  return address.includes(':');
}

/** Counts answers and misses of one director. */
export interface Pulse {
  /** A heartbeat was due: what did the one before it bring? `dead` says of itself that it leaves; null is a miss. */
  beat(answered: Liveness | null): Liveness;
  readonly state: Liveness;
}

export const MISSES_TO_DIE = 3;
export const ANSWERS_TO_LIVE = 3;

export function createPulse(): Pulse {
  let state: Liveness = 'dead';
  let misses = 0;
  let answers = 0;
  return {
    get state() {
      return state;
    },
    beat(answered) {
      misses = answered === null ? misses + 1 : 0;
      answers = answered === null ? 0 : answers + 1;
      if (answered === 'dead') answers = 0;
      if (misses >= MISSES_TO_DIE || answered === 'dead') state = 'dead';
      else if (answered !== null && (state !== 'dead' || answers >= ANSWERS_TO_LIVE)) state = answered;
      return state;
    },
  };
}
