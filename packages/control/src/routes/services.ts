// GET /link/v1/services/:id: a target group for client-side balancers and sidecars, as a long poll (model/link.ts, ServiceAnswer).
import { createHash } from 'node:crypto';
import { canonicalJson, ClbError, type ServiceAnswer } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { serviceOf } from '../compile/service.ts';
import { IdParams, type IdRoute } from './resource.ts';

const WAIT_MS = 25_000;
/** Each waiting poll holds a connection and is asked again at every change. */
const WAITING_MAX = 10_000;
const Query = Type.Object(
  {
    vpc: Type.Optional(Type.String({ pattern: '^[0-9]{1,10}$' })),
    tag: Type.Optional(Type.String({ maxLength: 64 })),
  },
  { additionalProperties: false },
);
interface Route extends IdRoute {
  Querystring: { vpc?: string; tag?: string };
}

export async function serviceRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  const waiting = new Set<Look>();
  controller.mirror.onChange(() => {
    for (const look of waiting) look(false);
  });
  app.addHook('onRequest', async (request) => app.authority.requireNode(request));
  app.addHook('preClose', async () => {
    for (const look of waiting) look(true);
  });

  const find = (id: string, vpc: number): ServiceAnswer => {
    const service = serviceOf(controller.mirror.state, id, vpc);
    if (service === undefined) throw new ClbError('NotFound', { kind: 'target group', id });
    const tag = createHash('sha256').update(canonicalJson(service)).digest('hex').slice(0, 16);
    return { tag, ...service };
  };

  app.get<Route>(
    '/services/:id',
    { schema: { hide: true, params: IdParams, querystring: Query } },
    async (request, reply) => {
      const { id } = request.params;
      const { vpc = '0', tag = '' } = request.query;
      const now = find(id, Number(vpc));
      if (now.tag !== tag) return now;
      if (waiting.size >= WAITING_MAX)
        throw new ClbError('LimitExceeded', { limit: WAITING_MAX, what: 'waiting clients' });
      await changeOf(waiting, () => find(id, Number(vpc)).tag !== tag, reply.raw);
      const next = find(id, Number(vpc));
      return next.tag === tag ? reply.code(204).send() : next;
    },
  );
}

/** Looks again whether a poll can be answered; `isOver`: it ends now, whatever there is. */
type Look = (isOver: boolean) => void;

/** Resolves when `isChanged` (or throws), after 25 s, and when the client is gone or the controller closes. */
function changeOf(
  waiting: Set<Look>,
  isChanged: () => boolean,
  response: { once(event: 'close', done: () => void): unknown },
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      waiting.delete(look);
      resolve();
    };
    const look: Look = (isOver) => {
      try {
        if (isOver || isChanged()) done();
      } catch {
        done();
      }
    };
    const timer = setTimeout(done, WAIT_MS);
    timer.unref();
    waiting.add(look);
    response.once('close', done);
  });
}
