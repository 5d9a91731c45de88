// The embedded store: one SQLite file in WAL mode with synchronous FULL, so a committed change survives kill -9 and power loss.
// One controller owns the file; writes of another process (a restore, a second controller) are noticed by polling data_version.
import { closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import {
  type Compare,
  type Entry,
  type Operation,
  type Store,
  type StoreEvent,
  STORE_LIMITS,
  type WatchHandlers,
} from './store.ts';

export interface SqliteOptions {
  /** A file, or `:memory:`. */
  readonly path: string;
  readonly nowMs: () => number;
  /** Revisions of history for watchers; the default is that of STORE_LIMITS. */
  readonly historyRevisions?: number;
}

interface Watcher {
  readonly prefix: string;
  readonly handlers: WatchHandlers;
  seen: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL, lease INTEGER) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS entry_lease ON entry (lease) WHERE lease IS NOT NULL;
  CREATE TABLE IF NOT EXISTS event (revision INTEGER NOT NULL, sequence INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,
    PRIMARY KEY (revision, sequence)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS lease (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl INTEGER NOT NULL, expires INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT OR IGNORE INTO meta VALUES ('format', 1), ('revision', 0), ('compacted', 0);
`;
const FORMAT = 1;
const POLL_MS = 250;
/** How often history is cut: a tenth of it at a time. */
const COMPACT_PARTS = 10;

export function openSqliteStore(options: SqliteOptions): Store {
  const db = openDatabase(options);
  const sql = prepare(db);
  const writer = makeWriter(db, sql, options.historyRevisions ?? STORE_LIMITS.historyRevisions);
  const watchers = makeWatchers(sql);
  const endLease = (lease: number): void => {
    writer.transact(() => {
      const keys = sql.leased.all(lease).map((row) => String(row['key']));
      if (keys.length > 0) writer.write(keys.map((key) => ({ type: 'delete', key })));
      sql.endLease.run(lease);
    });
    watchers.deliver();
  };
  const expireLeases = (): void => {
    for (const row of sql.expired.all(options.nowMs())) endLease(Number(row['id']));
  };

  let dataVersion = -1;
  const poll = setInterval(() => {
    const version = Number(sql.dataVersion.get()?.['data_version'] ?? 0);
    if (version !== dataVersion) watchers.deliver();
    dataVersion = version;
    expireLeases();
  }, POLL_MS);
  poll.unref();

  return {
    revision: async () => meta(sql, 'revision'),
    get: async (key) => sql.get.get(key) as unknown as Entry | undefined,
    // Two statements see one state: nothing awaits between them, and a transaction shuts other processes out.
    list: async (prefix) =>
      writer.transact(() => ({
        revision: meta(sql, 'revision'),
        entries: sql.list.all(prefix, prefixEnd(prefix)) as unknown as Entry[],
      })),
    commit: async (compares, operations) => {
      for (const operation of operations) checkOperation(operation);
      const revision = writer.commit(compares, operations);
      watchers.deliver();
      return revision;
    },
    watch: watchers.add,
    grantLease: async (ttlMs) => Number(sql.grant.run(ttlMs, options.nowMs() + ttlMs).lastInsertRowid),
    renewLease: async (lease) => {
      expireLeases();
      return Number(sql.renew.run(options.nowMs(), lease).changes) === 1;
    },
    revokeLease: async (lease) => endLease(lease),
    close: async () => {
      clearInterval(poll);
      watchers.clear();
      if (db.isOpen) db.close();
    },
  };
}

type Statements = ReturnType<typeof prepare>;

function meta(sql: Statements, name: 'revision' | 'compacted'): number {
  return Number(sql.meta.get(name)?.['value'] ?? 0);
}

function makeWriter(db: DatabaseSync, sql: Statements, historyRevisions: number) {
  const transact = <T>(work: () => T): T => {
    db.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      db.exec('COMMIT');
      return result;
    } catch (error) {
      db.exec('ROLLBACK');
      throw error;
    }
  };
  const write = (operations: readonly Operation[]): number => {
    const revision = meta(sql, 'revision') + 1;
    sql.setMeta.run(revision, 'revision');
    for (const [sequence, operation] of operations.entries()) {
      const value = operation.type === 'put' ? operation.value : null;
      if (operation.type === 'put') sql.put.run(operation.key, operation.value, revision, operation.lease ?? null);
      else sql.delete.run(operation.key);
      sql.addEvent.run(revision, sequence, operation.key, value);
    }
    const oldest = revision - historyRevisions;
    if (revision % Math.ceil(historyRevisions / COMPACT_PARTS) === 0 && oldest > meta(sql, 'compacted')) {
      sql.compact.run(oldest);
      sql.setMeta.run(oldest, 'compacted');
    }
    return revision;
  };
  const commit = (compares: readonly Compare[], operations: readonly Operation[]): number | null =>
    transact(() => {
      for (const { key, revision: wanted } of compares) {
        if (Number(sql.get.get(key)?.['revision'] ?? 0) !== wanted) return null;
      }
      return operations.length === 0 ? meta(sql, 'revision') : write(operations);
    });
  return { transact, write, commit };
}

function makeWatchers(sql: Statements) {
  const watchers = new Set<Watcher>();
  const deliverTo = (watcher: Watcher): void => {
    if (watcher.seen < meta(sql, 'compacted')) {
      watchers.delete(watcher);
      watcher.handlers.onCompacted();
      return;
    }
    const rows = sql.events.all(watcher.seen, watcher.prefix, prefixEnd(watcher.prefix)) as unknown as StoreEvent[];
    for (let at = 0; at < rows.length && watchers.has(watcher);) {
      const revision = rows[at]?.revision ?? 0;
      let end = at;
      while (rows[end]?.revision === revision) end++;
      watcher.seen = revision;
      watcher.handlers.onEvents(rows.slice(at, end), revision);
      at = end;
    }
  };
  return {
    add(prefix: string, afterRevision: number, handlers: WatchHandlers) {
      const watcher: Watcher = { prefix, handlers, seen: afterRevision };
      watchers.add(watcher);
      queueMicrotask(() => watchers.has(watcher) && deliverTo(watcher));
      return { close: () => void watchers.delete(watcher) };
    },
    deliver() {
      for (const watcher of watchers) deliverTo(watcher);
    },
    clear: () => watchers.clear(),
  };
}

function openDatabase({ path, nowMs }: SqliteOptions): DatabaseSync {
  // Private keys of certificates are inside; SQLite gives its side files the mode of the main one.
  if (path !== ':memory:') closeSync(openSync(path, 'a', 0o600));
  const db = new DatabaseSync(path, { timeout: 5_000 });
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
  db.exec(SCHEMA);
  const format = Number(db.prepare("SELECT value FROM meta WHERE name = 'format'").get()?.['value']);
  if (format !== FORMAT) {
    db.close();
    throw new Error(
      `store ${path} has format ${format}, this controller knows ${FORMAT}: use the controller that wrote it`,
    );
  }
  // Nodes refuse generations that go back, and a new store (or one in memory after a restart) would begin below what they have:
  // a fresh count goes on from the clock.
  const start = Math.floor(nowMs() / 1000);
  db.prepare("UPDATE meta SET value = ? WHERE name IN ('revision', 'compacted') AND value = 0").run(start);
  return db;
}

function prepare(db: DatabaseSync) {
  const statement = (text: string): StatementSync => db.prepare(text);
  return {
    meta: statement('SELECT value FROM meta WHERE name = ?'),
    setMeta: statement('UPDATE meta SET value = ? WHERE name = ?'),
    get: statement('SELECT key, value, revision FROM entry WHERE key = ?'),
    list: statement('SELECT key, value, revision FROM entry WHERE key >= ? AND key < ? ORDER BY key'),
    put: statement('INSERT OR REPLACE INTO entry (key, value, revision, lease) VALUES (?, ?, ?, ?)'),
    delete: statement('DELETE FROM entry WHERE key = ?'),
    addEvent: statement('INSERT INTO event (revision, sequence, key, value) VALUES (?, ?, ?, ?)'),
    events: statement(
      'SELECT revision, key, value FROM event WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, sequence',
    ),
    compact: statement('DELETE FROM event WHERE revision <= ?'),
    grant: statement('INSERT INTO lease (ttl, expires) VALUES (?, ?)'),
    renew: statement('UPDATE lease SET expires = ? + ttl WHERE id = ?'),
    expired: statement('SELECT id FROM lease WHERE expires <= ?'),
    leased: statement('SELECT key FROM entry WHERE lease = ? ORDER BY key'),
    endLease: statement('DELETE FROM lease WHERE id = ?'),
    dataVersion: statement('PRAGMA data_version'),
  };
}

/** Keys are ASCII, so the first key after all that start with the prefix is the prefix and the last ASCII character. */
function prefixEnd(prefix: string): string {
  return `${prefix}\u007f`;
}

function checkOperation(operation: Operation): void {
  if (!/^[\x21-\x7e]+$/.test(operation.key) || operation.key.length > STORE_LIMITS.keyCharsMax) {
    throw new TypeError(`not a store key: ${JSON.stringify(operation.key)}`);
  }
  if (operation.type === 'put' && operation.value.length > STORE_LIMITS.valueBytesMax) {
    throw new RangeError(
      `${operation.key}: a value of ${operation.value.length} characters is over ${STORE_LIMITS.valueBytesMax}`,
    );
  }
}
