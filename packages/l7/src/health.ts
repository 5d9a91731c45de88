// Active health checks from the address that names the target's VPC (P21), with Tencent's thresholds and markers (E1).
import type { CheckSpec } from '@openclb/model';
import type { CompiledImage } from './image.ts';
import { probe, type ProbeOutcome } from './probe/probe.ts';
import type { Member } from './scheduler.ts';
import type { TargetIdentity } from './upstream.ts';

export interface TargetHealth {
  readonly group: string;
  readonly target: string;
  readonly address: string;
  readonly port: number;
  readonly health: Member['health'];
  /** Why the last probe failed; empty after a success. */
  readonly reason: string;
  /** Probes in a row that agree. */
  readonly streak: number;
}

interface Check {
  readonly groupId: string;
  readonly identity: TargetIdentity;
  readonly key: string;
  spec: CheckSpec;
  streak: number;
  wasGood: boolean;
  reason: string;
  timer: NodeJS.Timeout | null;
  isStopped: boolean;
}

/** Exchanges of a health verdict, for logs. */
export type HealthListener = (health: TargetHealth) => void;

export class HealthChecks {
  readonly #checks = new Map<string, Check>();
  readonly #onChange: HealthListener;
  #image: CompiledImage | null = null;

  constructor(onChange: HealthListener) {
    this.#onChange = onChange;
  }

  /** Starts what is new, stops what is gone; what stays keeps its verdict and its rhythm. */
  apply(image: CompiledImage): void {
    this.#image = image;
    const wanted = new Set<string>();
    for (const row of image.source.groups) {
      if (row.check.type === 'none') continue;
      for (const { target } of image.groups.get(row.id)!.members) {
        const key = `${row.id} ${target.key}`;
        wanted.add(key);
        const known = this.#checks.get(key);
        if (known !== undefined) known.spec = row.check;
        else this.#start(key, row.id, target.identity, row.check);
      }
    }
    for (const [key, check] of this.#checks) if (!wanted.has(key)) this.#stop(check);
  }

  #start(key: string, groupId: string, identity: TargetIdentity, spec: CheckSpec): void {
    const check: Check = {
      key,
      groupId,
      identity,
      spec,
      streak: 0,
      wasGood: false,
      reason: '',
      timer: null,
      isStopped: false,
    };
    this.#checks.set(key, check);
    void this.#run(check);
  }

  async #run(check: Check): Promise<void> {
    const startedAt = performance.now();
    const outcome = await probe(check.identity, check.spec);
    if (check.isStopped) return;
    this.#note(check, outcome);
    const wait = Math.max(0, check.spec.intervalMs - (performance.now() - startedAt));
    check.timer = setTimeout(() => void this.#run(check), wait);
    check.timer.unref();
  }

  #note(check: Check, outcome: ProbeOutcome): void {
    check.streak = outcome.isGood === check.wasGood ? check.streak + 1 : 1;
    check.wasGood = outcome.isGood;
    check.reason = outcome.isGood ? '' : outcome.reason;
    const group = this.#image!.groups.get(check.groupId);
    const member = group?.members.find(({ target }) => `${check.groupId} ${target.key}` === check.key);
    if (group === undefined || member === undefined) return;
    const needed = outcome.isGood ? check.spec.healthyThreshold : check.spec.unhealthyThreshold;
    const verdict = outcome.isGood ? 'alive' : 'dead';
    if (member.health === verdict || check.streak < needed) return;
    member.health = verdict;
    group.refresh();
    this.#onChange(this.#describe(check, member));
  }

  #describe(check: Check, member: Member): TargetHealth {
    const { name, address, port } = check.identity;
    const group = this.#image!.groups.get(check.groupId)!.name;
    return { group, target: name, address, port, health: member.health, reason: check.reason, streak: check.streak };
  }

  list(): TargetHealth[] {
    const rows: TargetHealth[] = [];
    for (const group of this.#image?.groups.values() ?? []) {
      for (const member of group.members) {
        const check = this.#checks.get(`${group.id} ${member.target.key}`);
        const { name, address, port } = member.target.identity;
        rows.push({
          group: group.name,
          target: name,
          address,
          port,
          health: member.health,
          reason: check?.reason ?? '',
          streak: check?.streak ?? 0,
        });
      }
    }
    return rows;
  }

  #stop(check: Check): void {
    check.isStopped = true;
    if (check.timer !== null) clearTimeout(check.timer);
    this.#checks.delete(check.key);
  }

  close(): void {
    for (const check of this.#checks.values()) this.#stop(check);
  }
}
