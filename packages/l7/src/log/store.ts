// The queryable log: records go in batches to a thread that owns an SQLite file, and queries are answered from there.
// A slow disk costs rows, which are counted, and never a request.
import { Worker } from 'node:worker_threads';
import { type LogPage, type LogQuery, parseLogQuery } from '@openclb/model';
import type { ConnectionRecord } from '../relay/context.ts';
import { ACCESS_COLUMNS, CONNECTION_COLUMNS, HEALTH_COLUMNS } from './query.ts';
import type { AccessRecord, HealthRecord } from './record.ts';
import type { FromStore, StoreOptions, ToStore } from './store-worker.ts';
import { CONNECTION_VALUES, HEALTH_VALUES, LOG_VALUES, type Value } from './variables.ts';
import type { LogWriter } from './writer.ts';

export interface LogStoreOptions {
  /** An SQLite file, or `:memory:`. */
  readonly path: string;
  /** Rows older than this go; 7 days when absent. */
  readonly keepMs?: number;
  /** The oldest rows go when the file is larger; 1 GiB when absent. */
  readonly bytesMax?: number;
  readonly flushMs?: number;
  /** The store gave up; from then on every row is lost. */
  readonly onError?: (error: Error) => void;
}

export interface LogStore extends LogWriter {
  /** Rejects with `LogQueryError` when `where` cannot be understood. */
  query(query: LogQuery): Promise<LogPage>;
}

const DAY_MS = 86_400_000;
const FLUSH_MS = 200;
const BATCH_ROWS = 512;
/** Rows on their way to the thread and not yet written. */
export const WAITING_ROWS_MAX = 65_536;
const TEXT_CHARS_MAX = 2048;

/** Resolves when the file is open; rejects when it cannot be used. */
export async function createLogStore(options: LogStoreOptions): Promise<LogStore> {
  const { keepMs = 7 * DAY_MS, bytesMax = 1024 * 1024 * 1024 } = options;
  const workerData: StoreOptions = { path: options.path, keepMs, bytesMax };
  const worker = new Worker(new URL(import.meta.resolve('@openclb/l7/log-worker')), { workerData });
  const opened = Promise.withResolvers<void>();
  const store = new ThreadStore(worker, opened, options);
  await opened.promise;
  worker.unref();
  return store;
}

class ThreadStore implements LogStore {
  readonly #worker: Worker;
  readonly #timer: NodeJS.Timeout;
  readonly #asked = new Map<number, (page: LogPage) => void>();
  #serial = 0;
  #access: Value[] = [];
  #accessRows = 0;
  #connectionRows = 0;
  #health: Value[] = [];
  #connections: Value[] = [];
  #waiting = 0;
  #lost = 0;
  #isBroken = false;
  #onWritten: (() => void) | null = null;

  constructor(worker: Worker, opened: PromiseWithResolvers<void>, { flushMs = FLUSH_MS, onError }: LogStoreOptions) {
    this.#worker = worker;
    worker.on('message', (message: FromStore) => {
      if (message.type === 'open') opened.resolve();
      else if (message.type === 'written') this.#written(message.rows, message.lost);
      else {
        this.#asked.get(message.id)?.(message.page);
        this.#asked.delete(message.id);
      }
    });
    const failed = (error: Error): void => {
      opened.reject(error);
      if (this.#isBroken) return;
      this.#isBroken = true;
      for (const answer of this.#asked.values()) answer({ rows: [], last: 0, lost: this.#lost, error: error.message });
      this.#asked.clear();
      this.#onWritten?.();
      onError?.(error);
    };
    worker.on('error', failed);
    worker.on('exit', () => failed(new Error('the log store has ended')));
    this.#timer = setInterval(() => this.#flush(), flushMs);
    this.#timer.unref();
  }

  readonly write = (record: AccessRecord): void => {
    if (!this.#takes()) return;
    const row = this.#access;
    row.push(Math.round(record.time));
    for (const name of ACCESS_COLUMNS) {
      row.push(name === 'version' ? record.version : bounded(LOG_VALUES[name as keyof typeof LOG_VALUES](record)));
    }
    if (++this.#accessRows >= BATCH_ROWS) this.#flush();
  };

  readonly health = (record: HealthRecord): void => {
    if (!this.#takes()) return;
    this.#health.push(Math.round(record.time));
    for (const name of HEALTH_COLUMNS) {
      this.#health.push(bounded(HEALTH_VALUES[name as keyof typeof HEALTH_VALUES](record)));
    }
  };

  readonly connection = (record: ConnectionRecord): void => {
    if (!this.#takes()) return;
    this.#connections.push(Math.round(record.time));
    for (const name of CONNECTION_COLUMNS) {
      this.#connections.push(bounded(CONNECTION_VALUES[name as keyof typeof CONNECTION_VALUES](record)));
    }
    if (++this.#connectionRows >= BATCH_ROWS) this.#flush();
  };

  readonly lost = (): number => this.#lost;
  readonly reopen = (): void => {};

  #takes(): boolean {
    if (this.#isBroken || this.#waiting >= WAITING_ROWS_MAX) {
      this.#lost++;
      return false;
    }
    this.#waiting++;
    return true;
  }

  #flush(): void {
    if (this.#isBroken || this.#access.length + this.#health.length + this.#connections.length === 0) return;
    this.#post({ type: 'rows', access: this.#access, health: this.#health, connection: this.#connections });
    this.#connections = [];
    this.#connectionRows = 0;
    this.#access = [];
    this.#accessRows = 0;
    this.#health = [];
  }

  #post(message: ToStore): void {
    this.#worker.postMessage(message);
  }

  #written(rows: number, lost: number): void {
    this.#waiting -= rows;
    this.#lost += lost;
    if (this.#waiting === 0) this.#onWritten?.();
  }

  async query(query: LogQuery): Promise<LogPage> {
    if (query.where !== undefined) parseLogQuery(query.where, query.kind);
    if (this.#isBroken) return { rows: [], last: 0, lost: this.#lost, error: 'the log store has ended' };
    this.#flush();
    const id = ++this.#serial;
    const { promise, resolve } = Promise.withResolvers<LogPage>();
    this.#asked.set(id, resolve);
    this.#post({ type: 'query', id, query });
    return { ...(await promise), lost: this.#lost };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#flush();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onWritten = resolve;
    if (this.#waiting > 0 && !this.#isBroken) await promise;
    this.#isBroken = true;
    await this.#worker.terminate();
  }
}

function bounded(value: Value): Value {
  return typeof value === 'string' && value.length > TEXT_CHARS_MAX ? value.slice(0, TEXT_CHARS_MAX) : value;
}
