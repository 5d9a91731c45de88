// /v1/nodes: members of the cluster. Ordinals and addresses are allocated here (control-plane.md B6).
import { ClbError, type NodeInput, type NodePatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredNode } from '../desired/state.ts';
import { compact, type Edit } from '../edit/context.ts';
import { saveNode } from '../edit/network.ts';
import { refuseIfUsed, removeObject } from '../edit/remove.ts';
import { docs, type IdRoute } from './resource.ts';

const { list, show, create, change, remove } = docs('nodes');

export async function nodeRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get('/nodes', { schema: list('listNodes', 'List nodes', 'Node') }, async () => ({
    items: controller.list('node'),
  }));
  app.get<IdRoute>('/nodes/:id', { schema: show('getNode', 'Show a node', 'Node') }, async ({ params }) =>
    controller.show('node', params.id),
  );
  app.post<{ Body: NodeInput }>(
    '/nodes',
    { schema: create('createNode', 'Create a node', 'NodeInput', 'Node') },
    async ({ body }, reply) => {
      const created = await controller.save('node', (edit) => {
        const { id } = body;
        if (id !== undefined && edit.draft.get(KEY.node(id)) !== undefined)
          throw new ClbError('AlreadyExists', { kind: 'node', id, field: '/id' });
        return saveNode(edit, body);
      });
      return reply.code(201).send(created);
    },
  );
  app.patch<IdRoute & { Body: NodePatch }>(
    '/nodes/:id',
    { schema: change('changeNode', 'Change a node', 'NodePatch', 'Node') },
    async ({ params, body }) =>
      controller.save('node', (edit) => {
        const before = requireOne(edit, params.id);
        return saveNode(edit, { ...before, ...compact(body) }, before);
      }),
  );
  app.delete<IdRoute>(
    '/nodes/:id',
    { schema: remove('deleteNode', 'Delete a node that nobody uses') },
    async ({ params }) => {
      const { revision } = await controller.run((edit) => {
        const before = requireOne(edit, params.id);
        refuseIfUsed(edit, 'node', before.id);
        removeObject(edit, 'node', before);
      });
      return { revision };
    },
  );
}

function requireOne(edit: Edit, id: string): StoredNode {
  const found = edit.draft.get<StoredNode>(KEY.node(id));
  if (!found) throw new ClbError('NotFound', { kind: 'node', id });
  return found;
}
