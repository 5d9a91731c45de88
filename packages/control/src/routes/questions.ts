// Questions that a node answers: explain a packet, count, show a table, drain. The relay is link/questions.ts.
import {
  ClbError,
  type DrainRequest,
  type ExplainHttpRequest,
  type ExplainRequest,
  LINK_VERSION,
  type LookRequest,
  type NodeRole,
} from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { PREFIX } from '../desired/keys.ts';
import { docs, IdParams, type IdRoute } from './resource.ts';

const { call } = docs('status');

export async function questionRoutes(app: FastifyInstance): Promise<void> {
  const { publisher } = app;
  app.post<{ Body: ExplainRequest }>(
    '/explain',
    {
      schema: call('explain', 'What a director would do with a packet, and why', {
        body: 'ExplainRequest',
        answer: 'ExplainAnswer',
      }),
    },
    async ({ body }) => {
      const { node, ...query } = body;
      const chosen = chooseNode(app, 'director', node);
      const { answer } = await publisher.questions.ask(chosen, 'explained', (request) =>
        publisher.send(chosen, { version: LINK_VERSION, type: 'explain', request, query }),
      );
      return answer;
    },
  );
  app.post<{ Body: ExplainHttpRequest }>(
    '/explain/request',
    {
      schema: call('explainRequest', 'What a proxy would do with a request, and why', {
        body: 'ExplainHttpRequest',
        answer: 'ExplainAnswer',
      }),
    },
    async ({ body }) => {
      const { node, ...query } = body;
      const chosen = chooseNode(app, 'proxy', node);
      const { answer } = await publisher.questions.ask(chosen, 'explained', (request) =>
        publisher.send(chosen, { version: LINK_VERSION, type: 'explain-request', request, query }),
      );
      return answer;
    },
  );
  await app.register(directorRoutes);
  const CountersQuery = Type.Object(
    { node: Type.Optional(Type.String({ maxLength: 64 })) },
    { additionalProperties: false },
  );
  const Counters = Type.Object({
    items: Type.Array(
      Type.Object({
        node: Type.String(),
        counters: Type.Record(Type.String(), Type.Number()),
        error: Type.Optional(Type.String()),
      }),
    ),
  });
  app.get<{ Querystring: { node?: string } }>(
    '/counters',
    {
      schema: {
        tags: ['status'],
        operationId: 'getCounters',
        summary: 'Counters of one node or of all',
        querystring: CountersQuery,
        response: { 200: Counters },
      },
    },
    async ({ query }) => {
      if (query.node !== undefined) requireNode(app, query.node);
      const nodes = query.node === undefined ? connectedNodes(app) : [query.node];
      return { items: await Promise.all(nodes.map((node) => countersOf(app, node, query.node !== undefined))) };
    },
  );
}

/** What only directors answer. */
async function directorRoutes(app: FastifyInstance): Promise<void> {
  const { publisher } = app;
  app.post<{ Body: LookRequest }>(
    '/look',
    {
      schema: call('look', 'A page of a table of a director: flows, listeners, targets, tunnels, routes, neighbours', {
        body: 'LookRequest',
        answer: 'LookAnswer',
      }),
    },
    async ({ body }) => {
      const { node, ...query } = body;
      const chosen = chooseNode(app, 'director', node);
      requireDirector(app, chosen);
      const { answer } = await publisher.questions.ask(chosen, 'looked', (request) =>
        publisher.send(chosen, { version: LINK_VERSION, type: 'look', request, query }),
      );
      if (answer.error !== undefined) throw new ClbError('BadQuery', { field: 'filter', rule: answer.error });
      return answer;
    },
  );
  app.put<IdRoute & { Body: DrainRequest }>(
    '/nodes/:id/drain',
    {
      schema: {
        ...call('drainNode', 'Whether a director takes new flows', { body: 'DrainRequest', answer: 'DrainAnswer' }),
        params: IdParams,
      },
    },
    async ({ params, body }) => {
      requireDirector(app, params.id);
      const { answer } = await publisher.questions.ask(params.id, 'drained', (request) =>
        publisher.send(params.id, { version: LINK_VERSION, type: 'drain', request, draining: body.draining }),
      );
      return answer;
    },
  );
}

function requireDirector({ controller }: FastifyInstance, id: string): void {
  const found = [...controller.mirror.state.node.values()].find((node) => node.id === id);
  if (found === undefined) throw new ClbError('NodeUnknown', { id });
  if (found.role !== 'director')
    throw new ClbError('BadQuery', { field: 'node', rule: `must be a director: ${id} is a ${found.role}` });
}

function connectedNodes({ controller, publisher }: FastifyInstance): string[] {
  return [...controller.mirror.state.node.values()]
    .map(({ id }) => id)
    .filter((id) => publisher.nodes.of(id).connected)
    .sort();
}

export function requireNode({ controller }: FastifyInstance, id: string): void {
  if (!controller.mirror.get(`${PREFIX.node}${id}`)) throw new ClbError('NodeUnknown', { id });
}

function chooseNode(app: FastifyInstance, wantedRole: NodeRole, wanted: string | undefined): string {
  const { controller, publisher } = app;
  if (wanted !== undefined) {
    requireNode(app, wanted);
    return wanted;
  }
  const candidates = [...controller.mirror.state.node.values()].filter(
    ({ id, role }) => role === wantedRole && publisher.nodes.of(id).connected,
  );
  const first = candidates.map(({ id }) => id).sort()[0];
  if (first === undefined) throw new ClbError('NoNodeToAsk');
  return first;
}

/** One silent node does not spoil the answer of the others, unless it was asked alone. */
async function countersOf(
  { publisher }: FastifyInstance,
  node: string,
  isAlone: boolean,
): Promise<{ node: string; counters: Record<string, number>; error?: string }> {
  try {
    const { counters } = await publisher.questions.ask(node, 'counted', (request) =>
      publisher.send(node, { version: LINK_VERSION, type: 'counters', request }),
    );
    return { node, counters };
  } catch (error) {
    if (isAlone) throw error;
    return { node, counters: {}, error: error instanceof Error ? error.message : String(error) };
  }
}
