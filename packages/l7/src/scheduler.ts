// Picks a target of a group: smooth weighted round robin, least connections, source hash, Maglev (tencent-cloud.md E2).
// Dead targets are left out; when all are dead, all are used (E1).
import { hashText, maglev, sortedById } from '@openclb/core-wasm/hash';
import type { Scheduler as SchedulerExtension } from '@openclb/model';
import type { Target } from './upstream.ts';

export const SCHEDULERS = ['wrr', 'least-connections', 'ip-hash', 'maglev', 'p2c'] as const;
export type SchedulerName = (typeof SCHEDULERS)[number];

export interface Member {
  readonly target: Target;
  readonly weight: number;
  /** What the group's health check knows; `unknown` until the first verdict. Without a check always `alive`. */
  health: 'unknown' | 'alive' | 'dead';
  /** State of smooth round robin. */
  current: number;
}

export interface PickRequest {
  readonly scheduler: SchedulerName;
  /** What maglev hashes; the client address when absent. */
  readonly hashKey?: string;
  /** Maglev: no target above this multiple of the mean load; 0 or absent: no bound. */
  readonly loadMax?: number;
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly listener: string;
  readonly vip: string;
  readonly vport: number;
  /** Targets that have failed this request already. */
  readonly tried: readonly Target[];
}

export class Group {
  readonly id: string;
  readonly name: string;
  readonly members: readonly Member[];
  readonly #slots: number;
  readonly #extensions: readonly SchedulerExtension[];
  /** Members that may be picked now. */
  usable: readonly Member[] = [];
  /** No member with a weight is known alive, so all are used. */
  isAllDead = false;
  /** Maglev: slot → index into `#sorted`. Made when first asked for after a change. */
  #table: Uint16Array | null = null;
  #sorted: readonly Member[] = [];

  constructor(
    row: { readonly id: string; readonly name: string; readonly slots: number },
    members: readonly Member[],
    extensions: readonly SchedulerExtension[] = [],
  ) {
    this.id = row.id;
    this.name = row.name;
    this.#slots = row.slots;
    this.members = members;
    this.#extensions = extensions;
    this.refresh();
  }

  /** To be called when the liveness of a member has changed. */
  refresh(): void {
    const weighted = this.members.filter((member) => member.weight > 0);
    // A target that was never probed waits while another is known alive (P24).
    const alive = weighted.filter((member) => member.health === 'alive');
    this.isAllDead = alive.length === 0 && weighted.length > 0;
    const awake = alive.filter((member) => !member.target.isResting && !member.target.restsElsewhere);
    this.usable = awake.length > 0 ? awake : alive.length > 0 ? alive : weighted;
    this.#table = null;
  }

  pick(request: PickRequest): Member | null {
    const { usable } = this;
    const { tried } = request;
    if (usable.length === 0) return null;
    for (const extension of this.#extensions) {
      const member = this.#ask(extension, request);
      if (member !== null) return member;
    }
    if (usable.length === 1) return tried.length > 0 && tried.includes(usable[0]!.target) ? null : usable[0]!;
    switch (request.scheduler) {
      case 'least-connections':
        return leastConnections(usable, tried);
      case 'ip-hash':
        return byHash(usable, tried, hashText(request.clientAddress));
      case 'maglev':
        return this.#maglev(usable, tried, hashText(request.hashKey ?? request.clientAddress), request.loadMax ?? 0);
      case 'p2c':
        return betterOfTwo(usable, tried);
      default:
        return smooth(usable, tried);
    }
  }

  #maglev(usable: readonly Member[], tried: readonly Target[], hash: number, loadMax: number): Member | null {
    if (this.#table === null) {
      const rows = usable.map((member) => ({ id: member.target.identity.id, weight: member.weight, member }));
      this.#sorted = sortedById(rows).map(({ member }) => member);
      this.#table = maglev(rows, this.#slots);
    }
    const table = this.#table;
    const perWeight = loadMax > 0 ? boundOf(usable, loadMax) : Infinity;
    let fallback: Member | null = null;
    for (let step = 0; step < table.length; step++) {
      const member = this.#sorted[table[(hash + step) % table.length]!]!;
      if (tried.includes(member.target)) continue;
      // Bounded load: who would get too much passes it to the next of the table, always to the same one.
      if (member.target.active < Math.ceil(perWeight * member.weight)) return member;
      fallback ??= member;
    }
    return fallback;
  }

  #ask(extension: SchedulerExtension, request: PickRequest): Member | null {
    const candidates = this.usable.filter((member) => !request.tried.includes(member.target));
    try {
      const index = extension.pick(
        {
          source: request.clientAddress,
          sourcePort: request.clientPort,
          destination: request.vip,
          destinationPort: request.vport,
          listener: request.listener,
        },
        candidates.map(({ target, weight }) => ({ target: target.identity.name, weight, active: target.active })),
      );
      return candidates[index] ?? null;
    } catch {
      // A plugin's error never takes the data path with it: the listener's own scheduler decides (design.md 6).
      return null;
    }
  }
}

/** Exchanges in flight per weight that a target may have when one more is shared out. */
function boundOf(usable: readonly Member[], loadMax: number): number {
  let active = 1;
  let weight = 0;
  for (const member of usable) {
    active += member.target.active;
    weight += member.weight;
  }
  return (loadMax * active) / weight;
}

/** Two at random, by weight; the one that answers sooner for what waits at it (EWMA of latency × exchanges in flight). */
function betterOfTwo(usable: readonly Member[], tried: readonly Target[]): Member | null {
  const left = tried.length === 0 ? usable : usable.filter((member) => !tried.includes(member.target));
  if (left.length <= 1) return left[0] ?? null;
  const first = byHash(left, [], Math.floor(Math.random() * 0x1_0000_0000))!;
  const rest = left.filter((member) => member !== first);
  const second = byHash(rest, [], Math.floor(Math.random() * 0x1_0000_0000))!;
  return costOf(second) < costOf(first) ? second : first;
}

function costOf({ target, weight }: Member): number {
  return ((target.latencyMs + 0.1) * (target.active + 1)) / weight;
}

/** nginx's smooth weighted round robin: 5:1:1 gives a a b a c a a, never a burst. */
function smooth(usable: readonly Member[], tried: readonly Target[]): Member | null {
  let total = 0;
  let best: Member | null = null;
  for (const member of usable) {
    if (tried.length > 0 && tried.includes(member.target)) continue;
    member.current += member.weight;
    total += member.weight;
    if (best === null || member.current > best.current) best = member;
  }
  if (best !== null) best.current -= total;
  return best;
}

/** The least exchanges in flight per weight; ties by round robin (E2). */
function leastConnections(usable: readonly Member[], tried: readonly Target[]): Member | null {
  let least = Infinity;
  let ties: Member[] = [];
  for (const member of usable) {
    if (tried.length > 0 && tried.includes(member.target)) continue;
    const load = member.target.active / member.weight;
    if (load < least) {
      least = load;
      ties = [member];
    } else if (load === least) ties.push(member);
  }
  return ties.length <= 1 ? (ties[0] ?? null) : smooth(ties, []);
}

/** The same client comes to the same target as long as the usable targets stay the same. */
function byHash(usable: readonly Member[], tried: readonly Target[], hash: number): Member | null {
  const left = tried.length === 0 ? usable : usable.filter((member) => !tried.includes(member.target));
  let total = 0;
  for (const member of left) total += member.weight;
  let point = total === 0 ? 0 : hash % total;
  for (const member of left) {
    if (point < member.weight) return member;
    point -= member.weight;
  }
  return null;
}
