// Where a proxy's access and health logs go: flags → writers, one for each destination. SIGHUP opens files again.
import { join } from 'node:path';
import type { AccessRecord, ConnectionRecord, HealthRecord, LogStore, LogWriter } from '@openclb/l7';
import type { LogPage, LogQuery } from '@openclb/model';
import { durationMs, sizeBytes } from './units.ts';
import { sentenceOf, usageError } from './errors.ts';
import type { Flags } from './flags.ts';
import type { Log } from './log.ts';

export const accessLogFlags = {
  'access-log': {
    schema: {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      maxItems: 8,
      description:
        'where requests are logged: file:PATH, stdout, syslog:HOST:PORT (UDP), syslog:/PATH (stream socket), store or store:PATH, which clb logs asks',
    },
    value: 'WHERE[,WHERE]',
  },
  'access-log-format': {
    schema: {
      type: 'string',
      default: 'combined',
      description: 'combined, json, or a text with $variables; for files, stdout and syslog',
    },
    value: 'FORMAT',
  },
  'access-log-keep': {
    schema: { type: 'string', default: '7d', description: 'how long the store keeps rows: 30m, 12h, 7d' },
    value: 'TIME',
  },
  'access-log-size': {
    schema: { type: 'string', default: '1GiB', description: 'how large the store may become: 64MiB, 1GiB' },
    value: 'SIZE',
  },
} as const satisfies Flags;

export interface AccessLogFlags {
  readonly 'access-log'?: readonly string[] | undefined;
  readonly 'access-log-format': string;
  readonly 'access-log-keep': string;
  readonly 'access-log-size': string;
}

export interface AccessLog {
  readonly write: (record: AccessRecord) => void;
  readonly health: (record: HealthRecord) => void;
  readonly connection: (record: ConnectionRecord) => void;
  /** Rows of the store; an answer with an error without one. */
  query(query: LogQuery): Promise<LogPage>;
  lost(): number;
  close(): Promise<void>;
}

/** Undefined when nothing is to be logged. `folder` is where a store without a path lives; absent: in memory. */
export async function openAccessLog(
  flags: AccessLogFlags,
  folder: string | undefined,
  log: Log,
): Promise<AccessLog | undefined> {
  const wanted = flags['access-log'] ?? [];
  if (wanted.length === 0) return undefined;
  const writers: LogWriter[] = [];
  let store: LogStore | null = null;
  for (const where of wanted) {
    try {
      const opened = await openOne(where, flags, folder, log);
      writers.push(opened);
      if ('query' in opened) store = opened;
    } catch (error) {
      for (const writer of writers) await writer.close();
      if (error instanceof Error && error.name === 'CliError') throw error;
      throw usageError(`--access-log ${where}: ${sentenceOf(error)}`);
    }
  }
  const reopen = (): void => {
    for (const writer of writers) writer.reopen();
    log.info({}, 'log files are opened again');
  };
  process.on('SIGHUP', reopen);
  const [first] = writers;
  const isAlone = writers.length === 1;
  return {
    write: isAlone ? first!.write : (record) => writers.forEach((writer) => writer.write(record)),
    health: (record) => writers.forEach((writer) => writer.health(record)),
    connection: (record) => writers.forEach((writer) => writer.connection(record)),
    query: (query) => store?.query(query) ?? Promise.resolve(NO_STORE),
    lost: () => writers.reduce((sum, writer) => sum + writer.lost(), 0),
    async close() {
      process.off('SIGHUP', reopen);
      for (const writer of writers) await writer.close();
    },
  };
}

export const NO_STORE: LogPage = {
  rows: [],
  last: 0,
  lost: 0,
  error: 'keeps no log that can be asked: start it with --access-log store',
};

async function openOne(
  where: string,
  flags: AccessLogFlags,
  folder: string | undefined,
  log: Log,
): Promise<LogWriter | LogStore> {
  const { createLogStore, createLogWriter, createSyslogWriter } = await import('@openclb/l7');
  const format = flags['access-log-format'];
  const [kind = '', ...rest] = where.split(':');
  const to = rest.join(':');
  if (where === 'stdout') return createLogWriter({ path: '-', format });
  if (kind === 'file' && to !== '') return createLogWriter({ path: to, format });
  if (kind === 'syslog' && to !== '') return createSyslogWriter({ to, format });
  if (kind === 'store') {
    return createLogStore({
      path: to === '' ? (folder === undefined ? ':memory:' : join(folder, 'access-log.sqlite')) : to,
      keepMs: durationMs('--access-log-keep', flags['access-log-keep']),
      bytesMax: sizeBytes('--access-log-size', flags['access-log-size']),
      onError: (error) => log.error({ reason: error.message }, 'the log store has given up; rows are lost from now on'),
    });
  }
  throw usageError(
    `--access-log: '${where}' is no place for logs`,
    'write file:PATH, stdout, syslog:HOST:PORT, syslog:/PATH, store or store:PATH',
  );
}
