// The whole desired state in memory, kept current by the store's watch. Reads never touch the store; compile reads it between awaits.
import type { Entry, Store, StoreEvent } from './store.ts';
import { DESIRED } from './keys.ts';
import { type DesiredState, emptyState, type MutableState, putIntoState } from './state.ts';

export interface MirrorEntry {
  readonly value: unknown;
  readonly revision: number;
}

export interface Mirror {
  /** Typed objects, for compile. Its revision is that of the last change of desired state. */
  readonly state: DesiredState;
  get(key: string): MirrorEntry | undefined;
  /** Sorted by key. */
  list(prefix: string): readonly (readonly [key: string, entry: MirrorEntry])[];
  /** Resolves when the mirror has seen the revision. */
  reached(revision: number): Promise<void>;
  onChange(listener: () => void): void;
  close(): void;
}

export async function openMirror(store: Store): Promise<Mirror> {
  const entries = new Map<string, Map<string, MirrorEntry>>();
  const listeners: (() => void)[] = [];
  let waiting: { revision: number; resolve: () => void }[] = [];
  let state: MutableState = emptyState();
  let watch: { close(): void } | undefined;
  let isClosed = false;

  const put = (key: string, text: string | null, revision: number): void => {
    const bucket = bucketOf(key);
    const map = entries.get(bucket) ?? new Map<string, MirrorEntry>();
    entries.set(bucket, map);
    const value: unknown = text === null ? undefined : parse(text);
    if (value === undefined) map.delete(key);
    else map.set(key, { value, revision });
    putIntoState(state, key, value);
  };

  const advance = (revision: number): void => {
    state.revision = Math.max(state.revision, revision);
    waiting = waiting.filter((entry) => {
      if (entry.revision > state.revision) return true;
      entry.resolve();
      return false;
    });
    for (const listener of listeners) listener();
  };

  const readAll = async (): Promise<void> => {
    const { revision, entries: rows } = await store.list(DESIRED);
    if (isClosed) return;
    entries.clear();
    state = emptyState();
    let newest = 0;
    for (const row of rows as readonly Entry[]) {
      put(row.key, row.value, row.revision);
      newest = Math.max(newest, row.revision);
    }
    // Deletions leave no entry behind, so after a restart the last change may look older than it was; the store's own count is safe.
    advance(Math.max(newest, revision));
    watch = store.watch(DESIRED, revision, { onEvents, onCompacted: () => void readAll() });
  };
  const onEvents = (events: readonly StoreEvent[], revision: number): void => {
    for (const event of events) put(event.key, event.value, event.revision);
    advance(revision);
  };

  await readAll();
  return {
    get state() {
      return state;
    },
    get: (key) => entries.get(bucketOf(key))?.get(key),
    list: (prefix) => {
      const rows = [...(entries.get(bucketOf(prefix)) ?? [])].filter(([key]) => key.startsWith(prefix));
      return rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    },
    reached: (revision) => {
      if (state.revision >= revision) return Promise.resolve();
      return new Promise((resolve) => waiting.push({ revision, resolve }));
    },
    onChange: (listener) => void listeners.push(listener),
    close: () => {
      isClosed = true;
      watch?.close();
    },
  };
}

/** `d/<kind>`: entries are kept by kind, so that a list does not walk everything. */
function bucketOf(key: string): string {
  const second = key.indexOf('/', DESIRED.length);
  return second < 0 ? key : key.slice(0, second);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not JSON: kept as text, which fits no schema and is then named as broken.
    return text;
  }
}
