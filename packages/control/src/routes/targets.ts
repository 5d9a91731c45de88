// /v1/target-groups/{id}/targets: the members of a group. Replacing the whole list keeps the ids of targets that stay.
import { ClbError, type TargetGroupInput, type TargetInput, type TargetList, type TargetPatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { StoredTargetGroup } from '../desired/state.ts';
import { docs, type IdRoute } from './resource.ts';
import { changeGroup } from './target-groups.ts';

const { show, change } = docs('target-groups');
const TargetParams = Type.Object({ id: Type.String({ maxLength: 64 }), target: Type.String({ maxLength: 64 }) });
interface TargetRoute {
  Params: { id: string; target: string };
}

export async function targetRoutes(app: FastifyInstance): Promise<void> {
  const save = (id: string, next: (group: StoredTargetGroup) => TargetGroupInput) =>
    app.controller.save('targetGroup', (edit) => changeGroup(edit, id, next));

  app.put<IdRoute & { Body: TargetList }>(
    '/target-groups/:id/targets',
    { schema: change('replaceTargets', 'Replace all targets', 'TargetList', 'TargetGroup') },
    async ({ params, body }) => save(params.id, (group) => ({ ...group, targets: body.targets })),
  );
  app.post<IdRoute & { Body: TargetInput }>(
    '/target-groups/:id/targets',
    {
      schema: {
        ...change('addTarget', 'Add a target', 'TargetInput', 'TargetGroup'),
        response: { 201: Type.Ref('TargetGroup'), default: Type.Ref('Problem') },
      },
    },
    async ({ params, body }, reply) =>
      reply.code(201).send(await save(params.id, (group) => ({ ...group, targets: [...group.targets, body] }))),
  );
  app.patch<TargetRoute & { Body: TargetPatch }>(
    '/target-groups/:id/targets/:target',
    {
      schema: {
        ...change('changeTarget', 'Change the weight of a target', 'TargetPatch', 'TargetGroup'),
        params: TargetParams,
      },
    },
    async ({ params, body }) =>
      save(params.id, (group) => {
        requireTarget(group, params.target);
        return {
          ...group,
          targets: group.targets.map((target) => (target.id === params.target ? { ...target, ...body } : target)),
        };
      }),
  );
  app.delete<TargetRoute>(
    '/target-groups/:id/targets/:target',
    { schema: { ...show('removeTarget', 'Remove a target', 'TargetGroup'), params: TargetParams } },
    async ({ params }) =>
      save(params.id, (group) => {
        requireTarget(group, params.target);
        return { ...group, targets: group.targets.filter(({ id }) => id !== params.target) };
      }),
  );
}

function requireTarget(group: StoredTargetGroup, id: string): void {
  if (!group.targets.some((target) => target.id === id)) throw new ClbError('NotFound', { kind: 'target', id });
}
