// Passive health: a target that fails requests rests for a while (A117; nginx's max_fails and fail_timeout), beside active checks.
import type { CompiledImage } from './image.ts';
import type { Limits } from './limits.ts';
import type { Target } from './upstream.ts';

interface Record {
  since: number;
  failures: number;
  timer: NodeJS.Timeout | null;
}

export class PassiveChecks {
  readonly #limits: Limits;
  readonly #image: () => CompiledImage;
  readonly #records = new Map<Target, Record>();

  constructor(limits: Limits, image: () => CompiledImage) {
    this.#limits = limits;
    this.#image = image;
  }

  failed(target: Target): void {
    const { failuresMax, failWindowMs } = this.#limits;
    if (failuresMax === 0 || target.isResting || target.isRetired) return;
    const now = performance.now();
    let record = this.#records.get(target);
    if (record === undefined || now - record.since > failWindowMs) {
      record = { since: now, failures: 0, timer: null };
      this.#records.set(target, record);
    }
    if (++record.failures < failuresMax) return;
    this.#rest(target, true);
    record.timer = setTimeout(() => {
      this.#records.delete(target);
      this.#rest(target, false);
    }, failWindowMs);
    record.timer.unref();
  }

  #rest(target: Target, isResting: boolean): void {
    target.isResting = isResting;
    for (const group of this.#image().groups.values()) {
      if (group.members.some((member) => member.target === target)) group.refresh();
    }
  }

  close(): void {
    for (const { timer } of this.#records.values()) if (timer !== null) clearTimeout(timer);
    this.#records.clear();
  }
}
