// Picks a target of a group: smooth weighted round robin, least connections, source hash, Maglev (tencent-cloud.md E2).
// Dead targets are left out; when all are dead, all are used (E1).
import { hashText, maglev, sortedById } from '@openclb/core-wasm/hash';
import type { Outlier, Resilience, Scheduler as SchedulerExtension } from '@openclb/model';
import { CircuitBreaker } from './upstream/circuit.ts';
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
  /** Its weight for now: less while it starts slowly. */
  effective: number;
  /** When it came back into use, in monotonic milliseconds; 0: it has been in use from the beginning. */
  since: number;
  /** Alive and not ejected, when last looked at. */
  isAwake: boolean;
  /** It failed too often just now: others are picked while there are any (`passive.ts`). */
  isEjected: boolean;
  /** Another worker says so. */
  isEjectedElsewhere: boolean;
}

/** What of a group's row matters for picking. */
export interface GroupSpec {
  readonly id: string;
  readonly name: string;
  readonly slots: number;
  readonly resilience?: Resilience;
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

/** Share of its weight that a target starts with, and how often the share is looked at. */
const SLOW_START_MIN = 0.1;
const RAMP_MS = 50;

export class Group {
  readonly id: string;
  readonly name: string;
  readonly members: readonly Member[];
  readonly #slots: number;
  readonly #extensions: readonly SchedulerExtension[];
  readonly outlier: Outlier | null;
  /** Statuses of answers that count against a target; null: none. */
  readonly failStatuses: ReadonlySet<number> | null;
  readonly circuit: CircuitBreaker | null;
  readonly #slowStartMs: number;
  readonly #refusesAllDead: boolean;
  /** Some member has less than its weight, looked at last at this time; 0: none has. */
  #rampedAt = 0;
  /** Members that may be picked now. */
  usable: readonly Member[] = [];
  /** No member with a weight is known alive, so all are used. */
  isAllDead = false;
  /** Maglev: slot → index into `#sorted`. Made when first asked for after a change. */
  #table: Uint16Array | null = null;
  #sorted: readonly Member[] = [];

  constructor(
    row: GroupSpec,
    members: readonly Member[],
    extensions: readonly SchedulerExtension[] = [],
    before: Group | null = null,
  ) {
    const { outlier, slowStartSeconds = 0, allDead, circuit } = row.resilience ?? {};
    this.outlier = outlier ?? null;
    this.failStatuses = outlier?.statuses === undefined ? null : new Set(outlier.statuses);
    this.circuit = circuit === undefined ? null : (before?.circuit ?? new CircuitBreaker()).set(circuit);
    this.#slowStartMs = slowStartSeconds * 1000;
    this.#refusesAllDead = allDead === 'refuse';
    this.id = row.id;
    this.name = row.name;
    this.#slots = row.slots;
    this.members = members;
    this.#extensions = extensions;
    this.refresh(before === null);
  }

  /** To be called when the liveness of a member has changed. */
  refresh(isFirst = false): void {
    const weighted = this.members.filter((member) => member.weight > 0);
    // A target that was never probed waits while another is known alive (P24).
    const alive = weighted.filter((member) => member.health === 'alive');
    this.isAllDead = alive.length === 0 && weighted.length > 0;
    const awake = alive.filter((member) => !member.isEjected && !member.isEjectedElsewhere);
    const fallback = this.#refusesAllDead ? [] : weighted;
    this.usable = awake.length > 0 ? awake : alive.length > 0 ? alive : fallback;
    this.#table = null;
    const now = performance.now();
    for (const member of this.members) {
      const isAwake = member.health === 'alive' && !member.isEjected && !member.isEjectedElsewhere;
      // Where nothing else is in use there is nobody to start slowly beside.
      if (isAwake && !member.isAwake && this.#slowStartMs > 0 && !isFirst) {
        member.since = awake.length > 1 ? now : 0;
        this.#rampedAt = -1;
      }
      member.isAwake = isAwake;
      member.effective = member.weight;
      if (member.since > 0 && now - member.since < this.#slowStartMs) this.#rampedAt = -1;
    }
  }

  /** Slow start: from a tenth of its weight to all of it. */
  #ramp(now: number): void {
    if (now - this.#rampedAt < RAMP_MS && this.#rampedAt > 0) return;
    this.#rampedAt = 0;
    for (const member of this.members) {
      const share = member.since === 0 ? 1 : (now - member.since) / this.#slowStartMs;
      member.effective = member.weight * Math.min(1, Math.max(SLOW_START_MIN, share));
      if (share < 1) this.#rampedAt = now;
    }
  }

  pick(request: PickRequest): Member | null {
    const { usable } = this;
    const { tried } = request;
    if (usable.length === 0) return null;
    for (const extension of this.#extensions) {
      const member = this.#ask(extension, request);
      if (member !== null) return member;
    }
    if (this.#rampedAt !== 0) this.#ramp(performance.now());
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

function costOf({ target, effective }: Member): number {
  return ((target.latencyMs + 0.1) * (target.active + 1)) / effective;
}

/** nginx's smooth weighted round robin: 5:1:1 gives a a b a c a a, never a burst. */
function smooth(usable: readonly Member[], tried: readonly Target[]): Member | null {
  let total = 0;
  let best: Member | null = null;
  for (const member of usable) {
    if (tried.length > 0 && tried.includes(member.target)) continue;
    member.current += member.effective;
    total += member.effective;
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
    const load = (member.target.active + 1) / member.effective;
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
