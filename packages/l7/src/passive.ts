// Passive health: a target whose requests fail is ejected from its group for a while (A117; nginx's max_fails and fail_timeout, and the
// cap and back-off of gRFC A50), beside active checks. Without a policy of the group, the proxy's own limits decide.
import { OUTLIER_DEFAULTS } from '@openclb/model';
import type { CompiledImage } from './image.ts';
import type { Limits } from './limits.ts';
import type { Group } from './scheduler.ts';
import type { Target } from './upstream.ts';

interface Policy {
  readonly failures: number;
  readonly windowMs: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly percentMax: number;
}

interface Record {
  readonly groupId: string;
  readonly target: Target;
  since: number;
  failures: number;
  /** Ejections that still count for the length of the next one. */
  ejections: number;
  ejectedMs: number;
  returnedAt: number;
  timer: NodeJS.Timeout | null;
}

/** Records that are kept before those of retired targets are thrown away. */
const RECORDS_MAX = 4096;

export class PassiveChecks {
  readonly #own: Policy;
  readonly #image: () => CompiledImage;
  readonly #records = new Map<string, Record>();

  constructor(limits: Limits, image: () => CompiledImage) {
    const { failuresMax, failWindowMs } = limits;
    const ms = failWindowMs;
    this.#own = { failures: failuresMax, windowMs: ms, baseMs: ms, maxMs: ms, percentMax: 100 };
    this.#image = image;
  }

  /** A request to `target` failed; for a member of several groups, in all of them unless one is given. */
  failed(target: Target, group?: Group): void {
    if (target.isRetired) return;
    if (group !== undefined) return this.#failed(target, group);
    for (const other of this.#image().groups.values()) {
      if (other.members.some((member) => member.target === target)) this.#failed(target, other);
    }
  }

  #failed(target: Target, group: Group): void {
    const policy = this.#policyOf(group);
    if (policy.failures === 0) return;
    const key = `${group.id} ${target.key}`;
    const now = performance.now();
    let record = this.#records.get(key);
    if (record === undefined) {
      if (this.#records.size >= RECORDS_MAX) this.#purge();
      record = {
        groupId: group.id,
        target,
        since: now,
        failures: 0,
        ejections: 0,
        ejectedMs: 0,
        returnedAt: 0,
        timer: null,
      };
      this.#records.set(key, record);
    }
    if (record.timer !== null) return;
    if (now - record.since > policy.windowMs) {
      record.since = now;
      record.failures = 0;
    }
    if (++record.failures >= policy.failures) this.#eject(record, policy, now);
  }

  /** Targets come and go; what is known of those that went is of no use. */
  #purge(): void {
    for (const [key, { target, timer }] of this.#records) {
      if (target.isRetired && timer === null) this.#records.delete(key);
    }
  }

  #policyOf({ outlier }: Group): Policy {
    if (outlier === null) return this.#own;
    const { failures, windowSeconds, baseSeconds, maxSeconds, ejectedPercentMax } = { ...OUTLIER_DEFAULTS, ...outlier };
    return {
      failures,
      windowMs: windowSeconds * 1000,
      baseMs: baseSeconds * 1000,
      maxMs: maxSeconds * 1000,
      percentMax: ejectedPercentMax,
    };
  }

  #eject(record: Record, policy: Policy, now: number): void {
    const group = this.#image().groups.get(record.groupId);
    if (group === undefined) return;
    const weighted = group.members.filter(({ weight }) => weight > 0);
    const ejected = weighted.filter((member) => member.isEjected || member.isEjectedElsewhere).length;
    // Ejecting most of a group breaks those that are left; whoever fails beyond the cap is tried on.
    if ((ejected + 1) * 100 > weighted.length * policy.percentMax) return;
    // Good times shorten the next ejection again, one step for each length of the last one.
    const calm = record.ejectedMs === 0 ? 0 : Math.floor((now - record.returnedAt) / record.ejectedMs);
    record.ejections = Math.max(0, record.ejections - calm);
    record.ejectedMs = Math.min(policy.maxMs, policy.baseMs * 2 ** record.ejections);
    record.ejections = Math.min(16, record.ejections + 1);
    this.#set(record, true);
    record.timer = setTimeout(() => this.#return(record), record.ejectedMs);
    record.timer.unref();
  }

  #return(record: Record): void {
    record.timer = null;
    record.failures = 0;
    record.returnedAt = performance.now();
    if (record.target.isRetired) this.#records.delete(`${record.groupId} ${record.target.key}`);
    this.#set(record, false);
  }

  #set({ groupId, target }: Record, isEjected: boolean): void {
    const group = this.#image().groups.get(groupId);
    const member = group?.members.find((other) => other.target === target);
    if (group === undefined || member === undefined) return;
    member.isEjected = isEjected;
    group.refresh();
  }

  close(): void {
    for (const { timer } of this.#records.values()) if (timer !== null) clearTimeout(timer);
    this.#records.clear();
  }
}
