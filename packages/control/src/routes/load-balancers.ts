// /v1/load-balancers: a name, a network and VIPs. Deleting one takes its listeners and rules along.
import { ClbError, type LoadBalancerInput, type LoadBalancerPatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredLoadBalancer } from '../desired/state.ts';
import { saveLoadBalancer } from '../edit/balancing.ts';
import { refuseIfBroken } from '../edit/check.ts';
import { compact, type Edit } from '../edit/context.ts';
import { removeObject } from '../edit/remove.ts';
import { docs, type IdRoute } from './resource.ts';

const { list, show, create, change, remove } = docs('load-balancers');

export async function loadBalancerRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get(
    '/load-balancers',
    { schema: list('listLoadBalancers', 'List load balancers', 'LoadBalancer') },
    async () => ({
      items: controller.list('loadBalancer'),
    }),
  );
  app.get<IdRoute>(
    '/load-balancers/:id',
    { schema: show('getLoadBalancer', 'Show a load balancer', 'LoadBalancer') },
    async (request) => controller.show('loadBalancer', request.params.id),
  );
  app.post<{ Body: LoadBalancerInput }>(
    '/load-balancers',
    { schema: create('createLoadBalancer', 'Create a load balancer', 'LoadBalancerInput', 'LoadBalancer') },
    async (request, reply) =>
      reply.code(201).send(await controller.save('loadBalancer', (edit) => createLoadBalancer(edit, request.body))),
  );
  app.patch<IdRoute & { Body: LoadBalancerPatch }>(
    '/load-balancers/:id',
    {
      schema: change(
        'changeLoadBalancer',
        'Rename a load balancer or change its VIPs',
        'LoadBalancerPatch',
        'LoadBalancer',
      ),
    },
    async (request) =>
      controller.save('loadBalancer', (edit) => changeLoadBalancer(edit, request.params.id, request.body)),
  );
  app.delete<IdRoute>(
    '/load-balancers/:id',
    { schema: remove('deleteLoadBalancer', 'Delete a load balancer with its listeners') },
    async (request) => {
      const { revision } = await controller.run((edit) =>
        removeObject(edit, 'loadBalancer', requireOne(edit, request.params.id)),
      );
      return { revision };
    },
  );
}

function createLoadBalancer(edit: Edit, input: LoadBalancerInput): StoredLoadBalancer {
  const { id } = input;
  if (id !== undefined && edit.draft.get(KEY.loadBalancer(id)) !== undefined) {
    throw new ClbError('AlreadyExists', { kind: 'load balancer', id, field: '/id' });
  }
  return saveLoadBalancer(edit, input);
}

function changeLoadBalancer(edit: Edit, id: string, patch: LoadBalancerPatch): StoredLoadBalancer {
  const before = requireOne(edit, id);
  const saved = saveLoadBalancer(edit, { ...before, ...compact(patch) }, before);
  refuseIfBroken(edit, [id]);
  return saved;
}

function requireOne(edit: Edit, id: string): StoredLoadBalancer {
  const found = edit.draft.get<StoredLoadBalancer>(KEY.loadBalancer(id));
  if (!found) throw new ClbError('NotFound', { kind: 'load balancer', id });
  return found;
}
