// A change in the making: reads are remembered with their revisions, writes are collected, and all of it is one compare-and-set.
// When somebody else was faster, the whole edit runs again on the newer state.
import { canonicalJson, ClbError } from '@openclb/model';
import type { Mirror } from './mirror.ts';
import type { Compare, Operation, Store } from './store.ts';
import { type DesiredState, emptyState, kindOf, type MutableState, putIntoState } from './state.ts';

export interface Draft {
  get<T>(key: string): T | undefined;
  /** As `get`, without a guard: for searching, before the chosen key is read and written. */
  peek<T>(key: string): T | undefined;
  /** Sorted by key, pending writes included. A list guards nothing: whoever relies on it touches a key that the others write. */
  list<T>(prefix: string): readonly (readonly [key: string, value: T])[];
  put(key: string, value: unknown): void;
  delete(key: string): void;
  /** Writes the key again unchanged, so that a concurrent edit that read it must start over. */
  touch(key: string): void;
  /** The state as it will be, for the checks that compile makes. */
  preview(): DesiredState;
  readonly compares: readonly Compare[];
  readonly operations: readonly Operation[];
}

export function openDraft(mirror: Mirror): Draft {
  const reads = new Map<string, number>();
  const writes = new Map<string, unknown>();
  const touched = new Set<string>();
  const see = (key: string): unknown => {
    const entry = mirror.get(key);
    if (!reads.has(key)) reads.set(key, entry?.revision ?? 0);
    return entry?.value;
  };
  return {
    get<T>(key: string) {
      const before = see(key);
      return (writes.has(key) ? writes.get(key) : before) as T | undefined;
    },
    peek<T>(key: string) {
      return (writes.has(key) ? writes.get(key) : mirror.get(key)?.value) as T | undefined;
    },
    list<T>(prefix: string) {
      const rows = new Map(mirror.list(prefix).map(([key, entry]) => [key, entry.value] as const));
      for (const [key, value] of writes) {
        if (!key.startsWith(prefix)) continue;
        if (value === undefined) rows.delete(key);
        else rows.set(key, value);
      }
      return [...rows].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)) as [string, T][];
    },
    put(key, value) {
      see(key);
      writes.set(key, value);
    },
    delete(key) {
      see(key);
      writes.set(key, undefined);
    },
    touch(key) {
      see(key);
      touched.add(key);
    },
    preview: () => overlay(mirror.state, writes),
    get compares() {
      return [...reads].map(([key, revision]) => ({ key, revision }));
    },
    get operations() {
      return operationsOf(mirror, writes, touched);
    },
  };
}

/** Writes that change nothing are left out: applying the same document twice makes no revision. */
function operationsOf(mirror: Mirror, writes: ReadonlyMap<string, unknown>, touched: ReadonlySet<string>): Operation[] {
  const operations: Operation[] = [];
  for (const [key, value] of writes) {
    const before = mirror.get(key)?.value;
    if (value === undefined) {
      if (before !== undefined) operations.push({ type: 'delete', key });
    } else {
      const text = canonicalJson(value);
      if (before === undefined || canonicalJson(before) !== text) operations.push({ type: 'put', key, value: text });
    }
  }
  if (operations.length === 0) return operations;
  const written = new Set(operations.map((operation) => operation.key));
  for (const key of touched) {
    const value = writes.has(key) ? writes.get(key) : mirror.get(key)?.value;
    if (value !== undefined && !written.has(key)) operations.push({ type: 'put', key, value: canonicalJson(value) });
  }
  return operations;
}

function overlay(state: DesiredState, writes: ReadonlyMap<string, unknown>): DesiredState {
  const changedKinds = new Set([...writes.keys()].map(kindOf));
  const copy: MutableState = { ...emptyState(), ...(state as MutableState), broken: new Map(state.broken) };
  for (const kind of changedKinds)
    if (kind !== undefined) (copy as Record<string, unknown>)[kind] = new Map(state[kind] as Map<string, never>);
  for (const [key, value] of writes) putIntoState(copy, key, value === undefined ? undefined : structuredClone(value));
  return copy;
}

const ATTEMPTS_MAX = 100;

/** Runs an edit until its compare-and-set holds. Answers its result and the revision that carries it. */
export async function edit<T>(
  store: Store,
  mirror: Mirror,
  change: (draft: Draft) => T,
): Promise<{ result: T; revision: number }> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const draft = openDraft(mirror);
    const result = change(draft);
    const operations = draft.operations;
    if (operations.length === 0) return { result, revision: mirror.state.revision };
    const revision = await store.commit(draft.compares, operations);
    if (revision !== null) {
      await mirror.reached(revision);
      return { result, revision };
    }
    // The failed comparison means that a newer revision exists: the embedded store has told the mirror already,
    // a remote one does so within a round trip.
    await new Promise((resolve) => setTimeout(resolve, Math.min(attempt, 20)));
  }
  throw new ClbError('Conflict');
}
