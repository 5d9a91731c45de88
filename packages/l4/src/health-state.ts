// What is known of every checked target (data-plane.md P24, Tencent's windows and thresholds), as pure state: time comes in as an argument.
// `probe.ts` sends what is due here and tells what came back; `health.ts` carries the verdicts into the overlay of the tables.
import { type CheckSpec } from '@openclb/model';

export type HealthVerdict = 'unknown' | 'probing' | 'alive' | 'dead';

/** One target under one group's check. A target of two groups is checked twice, because the checks may differ. */
export interface Check {
  readonly target: string;
  readonly group: string;
  readonly spec: CheckSpec;
}

export interface HealthReportRow {
  readonly target: string;
  readonly group: string;
  readonly state: HealthVerdict;
}

interface Entry {
  check: Check;
  raw: HealthVerdict;
  shown: HealthVerdict;
  successes: number;
  failures: number;
  nextProbeAt: number;
  /** Number of the probe under way, 0 for none, and when it fails. */
  attempt: number;
  deadline: number;
}

export interface Due {
  readonly check: Check;
  readonly attempt: number;
}

export interface HealthState {
  /** Takes the checks of a new image; verdicts of checks that stay are kept. `known` are verdicts from before a restart. */
  configure(checks: readonly Check[], nowMs: number, known?: ReadonlyMap<string, HealthVerdict>): void;
  /** Probes to send now, at most `max`; each is under way until `conclude` or its timeout. */
  due(nowMs: number, max: number): Due[];
  /** The outcome of a probe; a stale or repeated one changes nothing. */
  conclude(check: Check, attempt: number, isGood: boolean, nowMs: number): void;
  /** Fails the probes whose time is over, and ends or starts self-suspicion. True when a shown verdict has changed since the last call. */
  settle(nowMs: number): boolean;
  /** The verdict on a target over all its groups: dead when any check says so. */
  verdict(target: string): HealthVerdict;
  reports(): HealthReportRow[];
  /** True while everything seems dead and the last verdicts are kept. */
  readonly suspectsItself: boolean;
}

/** A director that sees everything dead at once keeps its last verdicts so long (P24). */
export const SELF_SUSPICION_MS = 10_000;

export function checkKey(check: Pick<Check, 'target' | 'group'>): string {
  return `${check.group}/${check.target}`;
}

export function createHealthState(): HealthState {
  let entries = new Map<string, Entry>();
  let attempts = 0;
  let allDeadSince = 0;
  let suspects = false;
  let changed = false;

  function show(entry: Entry): void {
    if (entry.shown === entry.raw) return;
    entry.shown = entry.raw;
    changed = true;
  }

  function suspect(nowMs: number): void {
    const everything = [...entries.values()].filter((entry) => entry.check.spec.type !== 'none');
    const allDead = everything.length > 1 && everything.every((entry) => entry.raw === 'dead');
    if (!allDead) allDeadSince = 0;
    else if (allDeadSince === 0) allDeadSince = nowMs;
    suspects =
      allDead && nowMs - allDeadSince < SELF_SUSPICION_MS && everything.some((entry) => entry.shown !== 'dead');
    if (!suspects) for (const entry of entries.values()) show(entry);
  }

  return {
    configure(checks, nowMs, known) {
      const next = new Map<string, Entry>();
      for (const check of checks) {
        const key = checkKey(check);
        const old = entries.get(key);
        next.set(key, old === undefined ? newEntry(check, nowMs, known?.get(key)) : keep(old, check));
      }
      changed ||= next.size !== entries.size || [...next.keys()].some((key) => !entries.has(key));
      entries = next;
      suspect(nowMs);
    },
    due(nowMs, max) {
      const due: Due[] = [];
      for (const entry of entries.values()) {
        if (due.length >= max) break;
        if (entry.attempt !== 0 || entry.nextProbeAt > nowMs || entry.check.spec.type === 'none') continue;
        entry.attempt = ++attempts;
        entry.deadline = nowMs + entry.check.spec.timeoutMs;
        entry.nextProbeAt = nowMs + entry.check.spec.intervalMs;
        due.push({ check: entry.check, attempt: entry.attempt });
      }
      return due;
    },
    conclude(check, attempt, isGood, nowMs) {
      const entry = entries.get(checkKey(check));
      if (entry === undefined || entry.attempt !== attempt || entry.deadline < nowMs) return;
      finish(entry, isGood);
    },
    settle(nowMs) {
      for (const entry of entries.values()) if (entry.attempt !== 0 && entry.deadline <= nowMs) finish(entry, false);
      suspect(nowMs);
      const result = changed;
      changed = false;
      return result;
    },
    verdict: (target) => worst([...entries.values()].filter((entry) => entry.check.target === target)),
    reports: () =>
      [...entries.values()].map(({ check, shown }) => ({ target: check.target, group: check.group, state: shown })),
    get suspectsItself() {
      return suspects;
    },
  };
}

function newEntry(check: Check, nowMs: number, known: HealthVerdict | undefined): Entry {
  const first: HealthVerdict = check.spec.type === 'none' ? 'unknown' : (known ?? 'probing');
  return { check, raw: first, shown: first, successes: 0, failures: 0, nextProbeAt: nowMs, attempt: 0, deadline: 0 };
}

function keep(entry: Entry, check: Check): Entry {
  entry.check = check;
  if (check.spec.type === 'none') Object.assign(entry, { raw: 'unknown', shown: 'unknown', attempt: 0 });
  else if (entry.raw === 'unknown')
    Object.assign(entry, { raw: 'probing', shown: 'probing', successes: 0, failures: 0 });
  return entry;
}

/** Counts one outcome; a threshold reached is a verdict. */
function finish(entry: Entry, isGood: boolean): void {
  const { healthyThreshold, unhealthyThreshold } = entry.check.spec;
  entry.attempt = 0;
  entry.successes = isGood ? entry.successes + 1 : 0;
  entry.failures = isGood ? 0 : entry.failures + 1;
  if (entry.successes >= healthyThreshold) entry.raw = 'alive';
  if (entry.failures >= unhealthyThreshold) entry.raw = 'dead';
}

const ORDER: readonly HealthVerdict[] = ['dead', 'probing', 'alive', 'unknown'];

function worst(entries: readonly Entry[]): HealthVerdict {
  return ORDER.find((state) => entries.some((entry) => entry.shown === state)) ?? 'unknown';
}
