// The thread that owns the log's SQLite file: batches in, one transaction each; queries; the oldest rows out by age and size.
import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { LogKind, LogPage, LogQuery } from '@openclb/model';
import { ACCESS_COLUMNS, CONNECTION_COLUMNS, HEALTH_COLUMNS, selectOf } from './query.ts';

export interface StoreOptions {
  readonly path: string;
  readonly keepMs: number;
  readonly bytesMax: number;
}

export type ToStore =
  | {
      readonly type: 'rows';
      readonly access: readonly (string | number)[];
      readonly health: readonly (string | number)[];
      readonly connection: readonly (string | number)[];
    }
  | { readonly type: 'query'; readonly id: number; readonly query: LogQuery };

export type FromStore =
  | { readonly type: 'open' }
  | { readonly type: 'written'; readonly rows: number; readonly lost: number }
  | { readonly type: 'page'; readonly id: number; readonly page: LogPage };

/** Raised when columns change: a log of another shape is begun anew. */
const SCHEMA_VERSION = 1;
/** Other threads and processes may write to the same file. */
const BUSY_MS = 5000;
const SWEEP_MS = 2000;
/** Share of the rows that goes at once when the file is too large. */
const SWEEP_SHARE = 0.1;
/** An answer must fit into one message to the controller. */
const PAGE_BYTES_MAX = 2 * 1024 * 1024;

const COLUMNS: Readonly<Record<LogKind, readonly string[]>> = {
  access: ACCESS_COLUMNS,
  health: HEALTH_COLUMNS,
  connection: CONNECTION_COLUMNS,
};
const TABLES = Object.keys(COLUMNS) as LogKind[];

const port = parentPort!;
const options = workerData as StoreOptions;
const database = open(options.path);
const inserts = Object.entries(COLUMNS).map(([table, names]) => ({
  table: table as LogKind,
  width: names.length + 1,
  statement: insertOf(table, names),
}));

function open(path: string): DatabaseSync {
  const opened = new DatabaseSync(path, { timeout: BUSY_MS });
  const { user_version: version } = opened.prepare('PRAGMA user_version').get() as { user_version: number };
  if (version !== SCHEMA_VERSION) for (const table of TABLES) opened.exec(`DROP TABLE IF EXISTS ${table}`);
  // What the last second wrote may be lost with the power, never the file: WAL with one sync a checkpoint.
  opened.exec(`PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL`);
  const columns = (names: readonly string[]): string => names.map((name) => `, "${name}"`).join('');
  for (const [table, names] of Object.entries(COLUMNS)) {
    // Ids are never used again, so a reader can go on behind the last one that it saw.
    opened.exec(
      `CREATE TABLE IF NOT EXISTS ${table} (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL${columns(names)});` +
        `CREATE INDEX IF NOT EXISTS ${table}_at ON ${table} (at)`,
    );
  }
  opened.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  return opened;
}

function insertOf(table: string, names: readonly string[]): StatementSync {
  const list = ['at', ...names].map((name) => `"${name}"`).join(', ');
  return database.prepare(`INSERT INTO ${table} (${list}) VALUES (?${', ?'.repeat(names.length)})`);
}

function insert(statement: StatementSync, values: readonly (string | number)[], width: number): void {
  for (let at = 0; at < values.length; at += width) statement.run(...values.slice(at, at + width));
}

function write(batch: Extract<ToStore, { type: 'rows' }>): void {
  const rows = inserts.reduce((sum, { table, width }) => sum + batch[table].length / width, 0);
  try {
    database.exec('BEGIN IMMEDIATE');
    for (const { table, width, statement } of inserts) insert(statement, batch[table], width);
    database.exec('COMMIT');
    port.postMessage({ type: 'written', rows, lost: 0 } satisfies FromStore);
  } catch {
    // A full disk, or a file that another writer holds for too long: this batch is lost, the next one is tried.
    if (database.isTransaction) database.exec('ROLLBACK');
    port.postMessage({ type: 'written', rows, lost: rows } satisfies FromStore);
  }
}

function pageOf(query: LogQuery): LogPage {
  const kind = query.kind ?? 'access';
  try {
    const { text, values } = selectOf(query);
    const { last } = database.prepare(`SELECT coalesce(max(id), 0) AS last FROM ${kind}`).get() as { last: number };
    const rows: LogPage['rows'] = [];
    let bytes = 0;
    let newest = query.after === undefined ? last : query.after;
    for (const row of database.prepare(text).iterate(...values) as Iterable<Record<string, SQLOutputValue>>) {
      bytes += JSON.stringify(row).length;
      if (bytes > PAGE_BYTES_MAX) break;
      rows.push(row as Record<string, string | number>);
      if (query.after !== undefined) newest = Number(row['_id']);
    }
    const isWhole = query.after !== undefined && rows.length < (query.limit ?? Infinity) && bytes <= PAGE_BYTES_MAX;
    return { rows, last: isWhole ? Math.max(last, newest) : newest, lost: 0 };
  } catch (error) {
    return { rows: [], last: 0, lost: 0, error: error instanceof Error ? error.message : String(error) };
  }
}

function sizeOf(): number {
  const { page_count: pages } = database.prepare('PRAGMA page_count').get() as { page_count: number };
  const { freelist_count: free } = database.prepare('PRAGMA freelist_count').get() as { freelist_count: number };
  const { page_size: size } = database.prepare('PRAGMA page_size').get() as { page_size: number };
  return (pages - free) * size;
}

function dropOldest(table: LogKind): number {
  const { low, high } = database.prepare(`SELECT min(id) AS low, max(id) AS high FROM ${table}`).get() as {
    low: number | null;
    high: number | null;
  };
  if (low === null || high === null || low === high) return 0;
  const until = low + Math.ceil((high - low) * SWEEP_SHARE);
  return Number(database.prepare(`DELETE FROM ${table} WHERE id < ?`).run(until).changes);
}

function sweep(): void {
  try {
    const oldest = Date.now() - options.keepMs;
    let gone = 0;
    for (const table of TABLES) {
      gone += Number(database.prepare(`DELETE FROM ${table} WHERE at < ?`).run(oldest).changes);
    }
    while (sizeOf() > options.bytesMax) {
      const fewer = dropOldest('access') + dropOldest('connection');
      if (fewer === 0) break;
      gone += fewer;
    }
    if (gone > 0) database.exec('PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)');
  } catch {
    // Another writer is at it; the next sweep comes soon.
  }
}

port.on('message', (message: ToStore) => {
  if (message.type === 'rows') write(message);
  else port.postMessage({ type: 'page', id: message.id, page: pageOf(message.query) } satisfies FromStore);
});
setInterval(sweep, SWEEP_MS).unref();
port.postMessage({ type: 'open' } satisfies FromStore);
