// What is going on: status, health, and what a switch-side announcer needs.
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { PREFIX } from '../desired/keys.ts';
import type { StoredTargetGroup } from '../desired/state.ts';
import { docs } from './resource.ts';

const { call } = docs('status');
const WAIT_MS_DEFAULT = 5_000;
const WAIT_MS_MAX = 60_000;
const digits = (description: string) => Type.String({ pattern: '^[0-9]{1,15}$', description });

export async function statusRoutes(app: FastifyInstance): Promise<void> {
  const { controller, publisher, board } = app;
  app.get<{ Querystring: { wait?: string; timeoutMs?: string } }>(
    '/status',
    {
      schema: call('getStatus', 'State of the store, the nodes and the load balancers', {
        answer: 'Status',
        query: {
          wait: digits('Answer when every live node applied this revision'),
          timeoutMs: digits('Or when this time is over'),
        },
      }),
    },
    async ({ query }) => {
      if (query.wait !== undefined)
        await board.wait(Number(query.wait), Math.min(Number(query.timeoutMs ?? WAIT_MS_DEFAULT), WAIT_MS_MAX));
      return board.status();
    },
  );
  app.get(
    '/health',
    {
      schema: {
        tags: ['status'],
        operationId: 'getHealth',
        summary: 'Health of every target',
        response: { 200: Type.Object({ items: Type.Array(Type.Ref('TargetHealth')) }) },
      },
    },
    async () => {
      const groups = controller.mirror.list(PREFIX.targetGroup).map(([, { value }]) => value as StoredTargetGroup);
      return { items: publisher.health.view(groups, (node) => publisher.nodes.isLive(node)) };
    },
  );
  app.get(
    '/announcements',
    {
      schema: call('getAnnouncements', 'What directors announce, for a static announcer; has an ETag', {
        answer: 'Announcements',
      }),
    },
    async (request, reply) => {
      const announcements = board.announcements();
      const etag = `"${createHash('sha256').update(JSON.stringify(announcements)).digest('base64url').slice(0, 22)}"`;
      void reply.header('etag', etag);
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return announcements;
    },
  );
}
