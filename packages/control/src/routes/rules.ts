// /v1/rules: domain and path of an HTTP or HTTPS listener choose a target group.
import { ClbError, type Rule, type RuleInput, type RulePatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import type { Controller } from '../controller.ts';
import { PREFIX } from '../desired/keys.ts';
import type { StoredListener, StoredRule } from '../desired/state.ts';
import { refuseIfBroken } from '../edit/check.ts';
import { compact, type Edit } from '../edit/context.ts';
import { removeRule, saveRule } from '../edit/listeners.ts';
import { requireListener } from './listeners.ts';
import { docs, type IdRoute, Query } from './resource.ts';

const { list, show, create, change, remove } = docs('rules');

export async function ruleRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get<{ Querystring: { listener?: string } }>(
    '/rules',
    {
      schema: {
        ...list('listRules', 'List rules', 'Rule'),
        querystring: Query('listener', 'Only those of this listener'),
      },
    },
    async ({ query }) => {
      const items = controller.mirror
        .list(PREFIX.listener)
        .flatMap(([, { value, revision }]) =>
          (value as StoredListener).rules.map((rule): Rule => ({ ...rule, revision })),
        );
      return { items: items.filter((rule) => query.listener === undefined || rule.listener === query.listener) };
    },
  );
  app.get<IdRoute>(
    '/rules/:id',
    { schema: show('getRule', 'Show a rule', 'Rule') },
    async (request) => controller.ruleById(request.params.id).rule,
  );
  app.post<{ Body: RuleInput }>(
    '/rules',
    { schema: create('createRule', 'Create a rule', 'RuleInput', 'Rule') },
    async (request, reply) => {
      const { body } = request;
      const { loadBalancer } = listenerOf(controller, body.listener);
      const { result, revision } = await controller.run((edit) => createRule(controller, edit, loadBalancer, body));
      return reply.code(201).send({ ...result, revision });
    },
  );
  app.patch<IdRoute & { Body: RulePatch }>(
    '/rules/:id',
    { schema: change('changeRule', 'Change a rule', 'RulePatch', 'Rule') },
    async (request) => {
      const { listener: owner } = controller.ruleById(request.params.id);
      const { result, revision } = await controller.run((edit) => {
        const listener = requireListener(edit, owner.loadBalancer, owner.id);
        const before = requireRule(listener, request.params.id);
        const saved = saveRule(edit, listener, { ...before, ...compact(request.body) }, before);
        refuseIfBroken(edit, [owner.loadBalancer]);
        return saved;
      });
      return { ...result, revision };
    },
  );
  app.delete<IdRoute>('/rules/:id', { schema: remove('deleteRule', 'Delete a rule') }, async (request) => {
    const { listener: owner } = controller.ruleById(request.params.id);
    const { revision } = await controller.run((edit) => {
      const listener = requireListener(edit, owner.loadBalancer, owner.id);
      removeRule(edit, listener, requireRule(listener, request.params.id).id);
    });
    return { revision };
  });
}

/** A rule that names a listener which does not exist is a bad reference, not a missing page. */
function listenerOf(controller: Controller, id: string): StoredListener {
  try {
    return controller.listenerById(id);
  } catch {
    throw new ClbError('BadReference', { field: '/listener', value: id });
  }
}

function createRule(controller: Controller, edit: Edit, loadBalancer: string, input: RuleInput): StoredRule {
  const listener = requireListener(edit, loadBalancer, input.listener);
  if (input.id !== undefined && isTaken(controller, input.id))
    throw new ClbError('AlreadyExists', { kind: 'rule', id: input.id, field: '/id' });
  const saved = saveRule(edit, listener, input);
  refuseIfBroken(edit, [loadBalancer]);
  return saved;
}

function isTaken(controller: Controller, id: string): boolean {
  return controller.mirror
    .list(PREFIX.listener)
    .some(([, { value }]) => (value as StoredListener).rules.some((rule) => rule.id === id));
}

function requireRule(listener: StoredListener, id: string): StoredRule {
  const found = listener.rules.find((rule) => rule.id === id);
  if (!found) throw new ClbError('NotFound', { kind: 'rule', id });
  return found;
}
