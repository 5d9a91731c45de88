// GET /v1/logs: rows of the access or health log, asked of the proxies that keep them and put in the order of time.
import {
  ClbError,
  LINK_VERSION,
  LOG_LIMITS,
  type LogAnswer,
  type LogKind,
  type LogPage,
  LogQuery,
  LogQueryError,
  parseLogQuery,
} from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { requireNode } from './questions.ts';

const digits = (description: string) => Type.Optional(Type.String({ pattern: '^\\d{1,15}$', description }));
const { kind, where } = LogQuery.properties;
const Query = Type.Object(
  {
    kind,
    where,
    since: digits('Not before, milliseconds since the epoch'),
    until: digits('Before, milliseconds since the epoch'),
    limit: digits(`The newest so many; ${LOG_LIMITS.rowsDefault} when absent, ${LOG_LIMITS.rowsMax} at most`),
    node: Type.Optional(Type.String({ maxLength: 64, description: 'Only this proxy' })),
    cursor: Type.Optional(Type.String({ maxLength: 64 * 1024, description: 'Only what came since that answer' })),
  },
  { additionalProperties: false },
);
interface Asked {
  readonly kind?: LogKind;
  readonly where?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit?: string;
  readonly node?: string;
  readonly cursor?: string;
}

export async function logRoutes(app: FastifyInstance): Promise<void> {
  app.get<{ Querystring: Asked }>(
    '/logs',
    {
      schema: {
        tags: ['status'],
        operationId: 'getLogs',
        summary: 'Rows of the access or health log of the proxies',
        querystring: Query,
        response: { 200: Type.Ref('LogAnswer') },
      },
    },
    async ({ query: asked }) => answerOf(app, asked),
  );
}

async function answerOf(app: FastifyInstance, asked: Asked): Promise<LogAnswer> {
  const query = queryOf(asked);
  const cursor = asked.cursor === undefined ? null : readCursor(asked.cursor);
  const nodes = nodesOf(app, asked.node);
  if (nodes.length === 0) throw new ClbError('NoNodeToAsk');
  const pages = await Promise.all(
    nodes.map(async (node) => {
      const after = cursor === null ? {} : { after: cursor[node] ?? 0 };
      return { node, page: await pageOf(app, node, { ...query, ...after }) };
    }),
  );
  const rows = pages.flatMap(({ node, page }) => page.rows.map((row) => ({ node, row })));
  // Behind a cursor nothing may be left out, or it would never be seen.
  const newest = rows.sort((a, b) => Number(a.row['_at']) - Number(b.row['_at']));
  const shown = cursor === null ? newest.slice(-query.limit) : newest;
  const next: Record<string, number> = { ...cursor };
  for (const { node, page } of pages) if (page.error === undefined) next[node] = page.last;
  return {
    items: shown.map(({ node, row: { _id, _at, ...fields } }) => ({ node, ...fields })),
    cursor: Buffer.from(JSON.stringify(next)).toString('base64url'),
    nodes: pages.map(({ node, page: { rows: own, lost, error } }) => ({
      node,
      rows: own.length,
      lost,
      ...(error === undefined ? {} : { error }),
    })),
  };
}

function queryOf({ kind, where, since, until, limit }: Asked): LogQuery & { limit: number } {
  if (where !== undefined) {
    try {
      parseLogQuery(where, kind);
    } catch (error) {
      if (error instanceof LogQueryError) throw new ClbError('BadQuery', { field: 'where', rule: error.message });
      throw error;
    }
  }
  const rows = limit === undefined ? LOG_LIMITS.rowsDefault : Number(limit);
  if (rows < 1 || rows > LOG_LIMITS.rowsMax) {
    throw new ClbError('BadQuery', { field: 'limit', rule: `must be from 1 to ${LOG_LIMITS.rowsMax}` });
  }
  return {
    limit: rows,
    ...(kind === undefined ? {} : { kind }),
    ...(where === undefined ? {} : { where }),
    ...(since === undefined ? {} : { since: Number(since) }),
    ...(until === undefined ? {} : { until: Number(until) }),
  };
}

function readCursor(text: string): Record<string, number> {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const entries = Object.entries(value).filter(([, last]) => Number.isSafeInteger(last) && last >= 0);
      return Object.fromEntries(entries) as Record<string, number>;
    }
  } catch {
    // Falls through to the refusal.
  }
  throw new ClbError('BadQuery', { field: 'cursor', rule: 'is not one that this API gave out' });
}

function nodesOf(app: FastifyInstance, wanted: string | undefined): string[] {
  const { controller, publisher } = app;
  if (wanted !== undefined) {
    requireNode(app, wanted);
    return [wanted];
  }
  return [...controller.mirror.state.node.values()]
    .filter(({ id, role }) => role === 'proxy' && publisher.nodes.of(id).connected)
    .map(({ id }) => id)
    .sort();
}

/** One silent node does not spoil the answer of the others. */
async function pageOf({ publisher }: FastifyInstance, node: string, query: LogQuery): Promise<LogPage> {
  try {
    const { page } = await publisher.questions.ask(node, 'logged', (request) =>
      publisher.send(node, { version: LINK_VERSION, type: 'logs', request, query }),
    );
    return page;
  } catch (error) {
    return { rows: [], last: 0, lost: 0, error: error instanceof Error ? error.message : String(error) };
  }
}
