// /v1/target-groups: targets that share a table and a health check.
import { ClbError, type TargetGroupInput, type TargetGroupPatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredTargetGroup } from '../desired/state.ts';
import { saveTargetGroup } from '../edit/balancing.ts';
import { refuseIfBroken, usersOfGroup } from '../edit/check.ts';
import { compact, type Edit } from '../edit/context.ts';
import { refuseIfUsed, removeObject } from '../edit/remove.ts';
import { docs, type IdRoute } from './resource.ts';

const { list, show, create, change, remove } = docs('target-groups');

export async function targetGroupRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  const save = (id: string, next: (group: StoredTargetGroup) => TargetGroupInput) =>
    controller.save('targetGroup', (edit) => changeGroup(edit, id, next));

  app.get('/target-groups', { schema: list('listTargetGroups', 'List target groups', 'TargetGroup') }, async () => ({
    items: controller.list('targetGroup'),
  }));
  app.get<IdRoute>(
    '/target-groups/:id',
    { schema: show('getTargetGroup', 'Show a target group', 'TargetGroup') },
    async (request) => controller.show('targetGroup', request.params.id),
  );
  app.post<{ Body: TargetGroupInput }>(
    '/target-groups',
    { schema: create('createTargetGroup', 'Create a target group', 'TargetGroupInput', 'TargetGroup') },
    async (request, reply) =>
      reply.code(201).send(await controller.save('targetGroup', (edit) => createGroup(edit, request.body))),
  );
  app.patch<IdRoute & { Body: TargetGroupPatch }>(
    '/target-groups/:id',
    {
      schema: change('changeTargetGroup', 'Change a target group, not its targets', 'TargetGroupPatch', 'TargetGroup'),
    },
    async ({ params, body }) =>
      save(params.id, (group) => ({
        ...group,
        ...compact(body),
        healthCheck: { ...group.healthCheck, ...compact(body.healthCheck ?? {}) },
      })),
  );
  app.delete<IdRoute>(
    '/target-groups/:id',
    { schema: remove('deleteTargetGroup', 'Delete a target group that nobody uses') },
    async ({ params }) => {
      const { revision } = await controller.run((edit) => {
        const group = requireGroup(edit, params.id);
        refuseIfUsed(edit, 'targetGroup', params.id);
        removeObject(edit, 'targetGroup', group);
      });
      return { revision };
    },
  );
}

function createGroup(edit: Edit, input: TargetGroupInput): StoredTargetGroup {
  const { id } = input;
  if (id !== undefined && edit.draft.get(KEY.targetGroup(id)) !== undefined) {
    throw new ClbError('AlreadyExists', { kind: 'target group', id, field: '/id' });
  }
  return saveTargetGroup(edit, input);
}

export function changeGroup(
  edit: Edit,
  id: string,
  next: (group: StoredTargetGroup) => TargetGroupInput,
): StoredTargetGroup {
  const before = requireGroup(edit, id);
  const saved = saveTargetGroup(edit, next(before), before);
  refuseIfBroken(edit, usersOfGroup(edit.draft.preview(), id));
  return saved;
}

function requireGroup(edit: Edit, id: string): StoredTargetGroup {
  const found = edit.draft.get<StoredTargetGroup>(KEY.targetGroup(id));
  if (!found) throw new ClbError('NotFound', { kind: 'target group', id });
  return found;
}
