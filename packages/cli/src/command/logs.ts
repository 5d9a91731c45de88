// clb logs: what the proxies have logged, by time and condition, and as it comes.
import { setTimeout as wait } from 'node:timers/promises';
import { type LogAnswer, type LogKind, LogQueryError, LOG_LIMITS, parseLogQuery } from '@openclb/model';
import type { Client } from '../client.ts';
import { type Context, defineCommand } from '../command.ts';
import { ExitStatus, usageError } from '../errors.ts';
import { timeMs } from '../units.ts';

type Row = LogAnswer['items'][number];

const FOLLOW_EVERY_MS = 500;

export const logs = defineCommand({
  name: 'logs',
  group: 'look into',
  summary: 'show what the proxies have logged',
  text: [
    'Asks the proxies that run with --access-log store. Conditions compare fields with = != < <= > >=, look for a part with',
    '~ and !~ (without regard to case), or take one of several with in (a, b); and, or, not and brackets join them. Fields are',
    'the variables of the access log (docs/how-to/logs.md) and short names: domain, method, path, client, target, group, time.',
  ].join('\n'),
  arguments: [],
  flags: {
    since: {
      schema: { type: 'string', description: 'not before: 90s, 10m, 12h, 7d, or a time as 2026-01-31T12:00:00Z' },
      value: 'TIME',
    },
    until: { schema: { type: 'string', description: 'before, written as for --since' }, value: 'TIME' },
    where: { schema: { type: 'string', description: "conditions: 'status>=500 and domain=a.test'" }, value: 'TEXT' },
    limit: {
      schema: { type: 'integer', minimum: 1, maximum: LOG_LIMITS.rowsMax, default: LOG_LIMITS.rowsDefault },
      text: 'the newest so many',
      value: 'ROWS',
    },
    node: { schema: { type: 'string', description: 'only this proxy' }, value: 'ID' },
    health: { schema: { type: 'boolean', description: 'changes of the health of targets instead of requests' } },
    connections: {
      schema: { type: 'boolean', description: 'relayed connections and UDP sessions instead of requests' },
    },
    follow: { schema: { type: 'boolean', description: 'go on with what comes, until Ctrl-C' }, short: 'F' },
  },
  connects: true,
  examples: ["clb logs --since 10m --where 'status>=500 and domain=a.test'", 'clb logs --follow --json'],
  async run({ flags }, context) {
    if (flags.health === true && flags.connections === true)
      throw usageError('--health and --connections are two logs', 'ask for one of them');
    const kind: LogKind = flags.health === true ? 'health' : flags.connections === true ? 'connection' : 'access';
    const query = {
      kind,
      where: checkedWhere(flags.where, kind),
      since: flags.since === undefined ? undefined : timeMs('--since', flags.since, Date.now()),
      until: flags.until === undefined ? undefined : timeMs('--until', flags.until, Date.now()),
      limit: flags.limit,
      node: flags.node,
    };
    const client = context.connect();
    const first = await client.call<LogAnswer>('GET', '/v1/logs', { query });
    for (const { node, error } of first.nodes) if (error !== undefined) context.out.warn(`clb: ${node}: ${error}`);
    const isMute = first.nodes.every(({ error }) => error !== undefined);
    const lineOf = LINES[kind];
    if (flags.follow !== true) {
      context.out.answer(first.items, (rows) =>
        rows.length === 0 ? 'nothing was logged that fits' : rows.map(lineOf).join('\n'),
      );
      return isMute ? ExitStatus.failed : ExitStatus.ok;
    }
    await follow(context, client, query, first, lineOf);
    return ExitStatus.ok;
  },
});

async function follow(
  context: Context,
  client: Client,
  query: Record<string, string | number | undefined>,
  first: LogAnswer,
  lineOf: (row: Row) => string,
): Promise<void> {
  let answer = first;
  while (!context.signal.aborted) {
    for (const row of answer.items) context.out.event(row, lineOf(row));
    await wait(FOLLOW_EVERY_MS, undefined, { signal: context.signal }).catch(() => undefined);
    if (context.signal.aborted) return;
    const { cursor } = answer;
    answer = await client
      .call<LogAnswer>('GET', '/v1/logs', { query: { ...query, limit: LOG_LIMITS.followRowsMax, cursor } })
      .catch((error: unknown) => {
        if (context.signal.aborted) return { ...answer, items: [] };
        throw error;
      });
  }
}

/** Looked at here too, so that a mistake is told with the place where it stands. */
function checkedWhere(where: string | undefined, kind: LogKind): string | undefined {
  if (where === undefined) return undefined;
  try {
    parseLogQuery(where, kind);
    return where;
  } catch (error) {
    if (!(error instanceof LogQueryError)) throw error;
    throw usageError(`--where, ${error.message}`, `${where}\n     ${' '.repeat(error.column - 1)}^`);
  }
}

const text = (row: Row, field: string): string => {
  const value = row[field];
  // What a client wrote reaches a terminal here: control characters must not.
  // oxlint-disable-next-line no-control-regex
  return value === undefined || value === '' ? '-' : String(value).replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?');
};

function accessText(row: Row): string {
  const failure = row['failure'] === '' ? '' : ` ${text(row, 'failure')}`;
  const tries = Number(row['attempts']) > 1 ? ` (${text(row, 'attempts')} tries)` : '';
  return [
    text(row, 'time_local'),
    text(row, 'node'),
    text(row, 'remote_addr'),
    text(row, 'host'),
    `"${text(row, 'request')}"`,
    text(row, 'status'),
    `${text(row, 'bytes_sent')}B`,
    `${text(row, 'request_time')}s`,
    `-> ${text(row, 'upstream_addr')}${tries}${failure}`,
  ].join(' ');
}

function healthText(row: Row): string {
  const state = row['status'] === 'true' ? 'alive' : `dead (${text(row, 'reason')})`;
  const target = `${text(row, 'rsip')}:${text(row, 'rsport')}`;
  const place = `${text(row, 'protocol')} ${text(row, 'vip')}:${text(row, 'vport')} ${text(row, 'domain')}${text(row, 'url')}`;
  return `${text(row, 'time')} ${text(row, 'node')} ${target} of ${place} ${state}`;
}

function connectionText(row: Row): string {
  const failure = row['failure'] === '' ? '' : ` ${text(row, 'failure')}`;
  const tries = Number(row['attempts']) > 1 ? ` (${text(row, 'attempts')} tries)` : '';
  const bytes = `${text(row, 'bytes_received')}B in ${text(row, 'bytes_sent')}B out`;
  const ends = `${text(row, 'remote_addr')} ${text(row, 'server_addr')}:${text(row, 'server_port')}`;
  const head = `${text(row, 'time')} ${text(row, 'node')} ${text(row, 'protocol')} ${ends}`;
  return `${head} ${bytes} ${text(row, 'duration')}s -> ${text(row, 'upstream_addr')}${tries}${failure}`;
}

const LINES: Readonly<Record<LogKind, (row: Row) => string>> = {
  access: accessText,
  health: healthText,
  connection: connectionText,
};
