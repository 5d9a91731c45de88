// /v1/instances: VMs and where they run. Placement is desired state (control-plane.md B2).
import { ClbError, type InstanceInput, type InstancePatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredInstance } from '../desired/state.ts';
import { compact, type Edit } from '../edit/context.ts';
import { saveInstance } from '../edit/network.ts';
import { refuseIfUsed, removeObject } from '../edit/remove.ts';
import { docs, type IdRoute } from './resource.ts';

const { list, show, create, change, remove } = docs('instances');

export async function instanceRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get('/instances', { schema: list('listInstances', 'List instances', 'Instance') }, async () => ({
    items: controller.list('instance'),
  }));
  app.get<IdRoute>(
    '/instances/:id',
    { schema: show('getInstance', 'Show an instance', 'Instance') },
    async ({ params }) => controller.show('instance', params.id),
  );
  app.post<{ Body: InstanceInput }>(
    '/instances',
    { schema: create('createInstance', 'Create an instance', 'InstanceInput', 'Instance') },
    async ({ body }, reply) => {
      const created = await controller.save('instance', (edit) => {
        const { id } = body;
        if (id !== undefined && edit.draft.get(KEY.instance(id)) !== undefined)
          throw new ClbError('AlreadyExists', { kind: 'instance', id, field: '/id' });
        return saveInstance(edit, body);
      });
      return reply.code(201).send(created);
    },
  );
  app.patch<IdRoute & { Body: InstancePatch }>(
    '/instances/:id',
    { schema: change('changeInstance', 'Change an instance', 'InstancePatch', 'Instance') },
    async ({ params, body }) =>
      controller.save('instance', (edit) => {
        const before = requireOne(edit, params.id);
        return saveInstance(edit, { ...before, ...compact(body) }, before);
      }),
  );
  app.delete<IdRoute>(
    '/instances/:id',
    { schema: remove('deleteInstance', 'Delete an instance that nobody uses') },
    async ({ params }) => {
      const { revision } = await controller.run((edit) => {
        const before = requireOne(edit, params.id);
        refuseIfUsed(edit, 'instance', before.id);
        removeObject(edit, 'instance', before);
      });
      return { revision };
    },
  );
}

function requireOne(edit: Edit, id: string): StoredInstance {
  const found = edit.draft.get<StoredInstance>(KEY.instance(id));
  if (!found) throw new ClbError('NotFound', { kind: 'instance', id });
  return found;
}
