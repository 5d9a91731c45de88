// The node link (model/link.ts): a stream that never ends down, messages up, and secrets beside the image (B11).
import { checkFromNode, ClbError, type FromNode, LIMITS } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { KEY } from '../desired/keys.ts';
import type { StoredCertificate, StoredNode } from '../desired/state.ts';
import { openStream } from '../link/streams.ts';
import { IdParams, type IdRoute } from './resource.ts';

const schema = { hide: true, params: IdParams } as const;
const StreamQuery = Type.Object(
  { role: Type.Optional(Type.String({ maxLength: 20 })) },
  { additionalProperties: false },
);

export async function linkRoutes(app: FastifyInstance): Promise<void> {
  const { controller, publisher } = app;
  app.addHook('onRequest', async (request) => app.authority.requireNode(request));

  app.get<IdRoute & { Querystring: { role?: string } }>(
    '/nodes/:id/stream',
    { exposeHeadRoute: false, schema: { ...schema, querystring: StreamQuery } },
    (request, reply) => {
      const { id } = request.params;
      if (!/^[a-z0-9][a-z0-9-]{0,40}$/.test(id))
        throw new ClbError('BadQuery', { field: 'id', rule: 'is not a node id' });
      const node = controller.mirror.get(KEY.node(id))?.value as StoredNode | undefined;
      // A node that is not registered yet waits on its stream and gets its image the moment it is.
      if (node && request.query.role !== undefined && request.query.role !== node.role) {
        throw new ClbError('BadQuery', { field: 'role', rule: `must be ${node.role}: node ${id} is registered so` });
      }
      if (!publisher.hasRoom(id)) throw new ClbError('LimitExceeded', { limit: LIMITS.nodesMax, what: 'open streams' });
      reply.hijack();
      const stream = openStream(reply.raw, () => publisher.disconnect(id, stream));
      publisher.connect(id, stream);
    },
  );

  app.post<IdRoute & { Body: unknown }>(
    '/nodes/:id/messages',
    { schema, bodyLimit: LIMITS.linkMessageBytesMax },
    async ({ params, body }, reply) => {
      if (!controller.mirror.get(KEY.node(params.id)) && !publisher.hasStream(params.id))
        throw new ClbError('NodeUnknown', { id: params.id });
      const problem = checkFromNode(body);
      if (problem !== null) throw new ClbError('BadBody', { field: '/', rule: problem });
      publisher.hear(params.id, body as FromNode);
      return reply.code(204).send();
    },
  );

  app.get<IdRoute>('/certificates/:id', { schema }, async ({ params }) => {
    const found = controller.mirror.get(KEY.certificate(params.id))?.value as StoredCertificate | undefined;
    if (!found) throw new ClbError('NotFound', { kind: 'certificate', id: params.id });
    const { id, certificate, privateKey, ocsp } = found;
    // Ordered, and not issued yet.
    if (certificate === undefined) throw new ClbError('NotFound', { kind: 'certificate', id });
    return { id, certificate, privateKey, ...(ocsp === undefined ? {} : { ocsp }) };
  });

  app.get('/ticket-secrets', { schema: { hide: true } }, async () => app.tickets.now());
}
