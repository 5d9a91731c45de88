// The store behind the controller: a small etcd (control-plane.md B7, B8, B12). Revisions, compare-and-set over several keys,
// prefix lists, watch from a revision, leases. Implementations: sqlite.ts (embedded); one conformance suite for all.

export interface Entry {
  readonly key: string;
  /** JSON text; the store does not look into it. */
  readonly value: string;
  /** The revision of the transaction that wrote it. */
  readonly revision: number;
}

/** Holds when the key was last written at `revision`; 0 means that the key must be absent. */
export interface Compare {
  readonly key: string;
  readonly revision: number;
}

export type Operation =
  | { readonly type: 'put'; readonly key: string; readonly value: string; readonly lease?: number }
  | { readonly type: 'delete'; readonly key: string };

/** One key's change; `value` is null when the key was deleted. */
export interface StoreEvent {
  readonly key: string;
  readonly value: string | null;
  readonly revision: number;
}

export interface WatchHandlers {
  /** All changes of one transaction under the prefix, in order of revision. */
  onEvents(events: readonly StoreEvent[], revision: number): void;
  /** The history does not reach back so far: read everything again, then watch from there. */
  onCompacted(): void;
}

export interface Store {
  readonly revision: () => Promise<number>;
  get(key: string): Promise<Entry | undefined>;
  /** All entries under a prefix, sorted by key, as of one revision. */
  list(prefix: string): Promise<{ readonly revision: number; readonly entries: readonly Entry[] }>;
  /** All or nothing. Answers the new revision, or null when a comparison failed. Durable before it answers. */
  commit(compares: readonly Compare[], operations: readonly Operation[]): Promise<number | null>;
  /** Events after `afterRevision`, past ones first. */
  watch(prefix: string, afterRevision: number, handlers: WatchHandlers): { close(): void };
  /** Keys put with a lease vanish when nobody renews it for `ttlMs`. */
  grantLease(ttlMs: number): Promise<number>;
  renewLease(lease: number): Promise<boolean>;
  revokeLease(lease: number): Promise<void>;
  close(): Promise<void>;
}

export const STORE_LIMITS = {
  /** As etcd's own defaults would refuse (B8). Whole documents are larger and only the embedded store takes them. */
  valueBytesMax: 1_500_000,
  keyCharsMax: 512,
  /** Revisions of history that a watcher may be behind. */
  historyRevisions: 10_000,
} as const;
