// /v1/vpcs: tenant networks; the id is the GRE key.
import { ClbError, type VpcInput, type VpcPatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredVpc } from '../desired/state.ts';
import { compact, type Edit } from '../edit/context.ts';
import { saveVpc } from '../edit/network.ts';
import { refuseIfUsed, removeObject } from '../edit/remove.ts';
import { docs, type IdRoute } from './resource.ts';

const { list, show, create, change, remove } = docs('vpcs');

export async function vpcRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get('/vpcs', { schema: list('listVpcs', 'List VPCs', 'Vpc') }, async () => ({ items: controller.list('vpc') }));
  app.get<IdRoute>('/vpcs/:id', { schema: show('getVpc', 'Show a VPC', 'Vpc') }, async ({ params }) =>
    controller.show('vpc', params.id),
  );
  app.post<{ Body: VpcInput }>(
    '/vpcs',
    { schema: create('createVpc', 'Create a VPC', 'VpcInput', 'Vpc') },
    async ({ body }, reply) => {
      const created = await controller.save('vpc', (edit) => {
        const { id } = body;
        if (id !== undefined && edit.draft.get(KEY.vpc(id)) !== undefined)
          throw new ClbError('AlreadyExists', { kind: 'VPC', id, field: '/id' });
        return saveVpc(edit, body);
      });
      return reply.code(201).send(created);
    },
  );
  app.patch<IdRoute & { Body: VpcPatch }>(
    '/vpcs/:id',
    { schema: change('changeVpc', 'Change a VPC', 'VpcPatch', 'Vpc') },
    async ({ params, body }) =>
      controller.save('vpc', (edit) => {
        const before = requireOne(edit, params.id);
        return saveVpc(edit, { ...before, ...compact(body) }, before);
      }),
  );
  app.delete<IdRoute>(
    '/vpcs/:id',
    { schema: remove('deleteVpc', 'Delete a VPC that nobody uses') },
    async ({ params }) => {
      const { revision } = await controller.run((edit) => {
        const before = requireOne(edit, params.id);
        refuseIfUsed(edit, 'vpc', before.id);
        removeObject(edit, 'vpc', before);
      });
      return { revision };
    },
  );
}

function requireOne(edit: Edit, id: string): StoredVpc {
  const number = /^[0-9]{1,10}$/.test(id) ? Number(id) : 0;
  const found = edit.draft.get<StoredVpc>(KEY.vpc(number));
  if (!found) throw new ClbError('NotFound', { kind: 'VPC', id });
  return found;
}
