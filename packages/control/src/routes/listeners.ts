// /v1/listeners: VIP, port and protocol of a load balancer.
import { ClbError, type ListenerInput, type ListenerPatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredListener } from '../desired/state.ts';
import { refuseIfBroken } from '../edit/check.ts';
import { compact, type Edit } from '../edit/context.ts';
import { saveListener } from '../edit/listeners.ts';
import { removeObject } from '../edit/remove.ts';
import { docs, type IdRoute, Query } from './resource.ts';

const { list, show, create, change, remove } = docs('listeners');

export async function listenerRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get<{ Querystring: { loadBalancer?: string } }>(
    '/listeners',
    {
      schema: {
        ...list('listListeners', 'List listeners', 'Listener'),
        querystring: Query('loadBalancer', 'Only those of this load balancer'),
      },
    },
    async ({ query }) => ({
      items: controller
        .list('listener')
        .filter((listener) => query.loadBalancer === undefined || listener.loadBalancer === query.loadBalancer),
    }),
  );
  app.get<IdRoute>('/listeners/:id', { schema: show('getListener', 'Show a listener', 'Listener') }, async (request) =>
    controller.show('listener', request.params.id),
  );
  app.post<{ Body: ListenerInput }>(
    '/listeners',
    { schema: create('createListener', 'Create a listener', 'ListenerInput', 'Listener') },
    async (request, reply) =>
      reply.code(201).send(await controller.save('listener', (edit) => createListener(edit, request.body))),
  );
  app.patch<IdRoute & { Body: ListenerPatch }>(
    '/listeners/:id',
    { schema: change('changeListener', 'Change a listener', 'ListenerPatch', 'Listener') },
    async (request) => {
      const { loadBalancer } = controller.listenerById(request.params.id);
      return controller.save('listener', (edit) => {
        const before = requireListener(edit, loadBalancer, request.params.id);
        const { rules: _rules, ...fields } = before;
        const saved = saveListener(edit, { ...fields, ...compact(request.body) }, before);
        refuseIfBroken(edit, [loadBalancer]);
        return saved;
      });
    },
  );
  app.delete<IdRoute>(
    '/listeners/:id',
    { schema: remove('deleteListener', 'Delete a listener with its rules') },
    async (request) => {
      const { loadBalancer } = controller.listenerById(request.params.id);
      const { revision } = await controller.run((edit) =>
        removeObject(edit, 'listener', requireListener(edit, loadBalancer, request.params.id)),
      );
      return { revision };
    },
  );

  function createListener(edit: Edit, input: ListenerInput): StoredListener {
    // Ids are unique over all load balancers, though the key holds the load balancer as well.
    if (input.id !== undefined && controller.list('listener').some(({ id }) => id === input.id)) {
      throw new ClbError('AlreadyExists', { kind: 'listener', id: input.id, field: '/id' });
    }
    const saved = saveListener(edit, input);
    refuseIfBroken(edit, [saved.loadBalancer]);
    return saved;
  }
}

export function requireListener(edit: Edit, loadBalancer: string, id: string): StoredListener {
  const found = edit.draft.get<StoredListener>(KEY.listener(loadBalancer, id));
  if (!found) throw new ClbError('NotFound', { kind: 'listener', id });
  return found;
}
