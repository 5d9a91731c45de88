// /v1/shadow: a candidate document is compiled like a real one and decides on live traffic beside it; nothing is stored.
import { ClbError, type Config, type Image, LIMITS, LINK_VERSION, type ShadowReport } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { applyConfig } from '../edit/config.ts';
import { docs } from './resource.ts';

const { call } = docs('shadow');

export async function shadowRoutes(app: FastifyInstance): Promise<void> {
  const { controller, publisher } = app;
  app.put<{ Body: Config }>(
    '/shadow',
    {
      bodyLimit: LIMITS.configBodyBytesMax,
      schema: call('startShadow', 'Let a candidate document decide on live traffic beside the active configuration', {
        body: 'Config',
        answer: 'ShadowReport',
      }),
    },
    async ({ body }) => {
      const state = controller.preview((edit) => applyConfig(edit, body));
      const { images } = publisher.candidate(state);
      return askAll(app, 'start', images);
    },
  );
  app.get(
    '/shadow',
    { schema: call('getShadow', 'What the candidate would have decided otherwise', { answer: 'ShadowReport' }) },
    () => askAll(app, 'report'),
  );
  app.delete('/shadow', { schema: call('stopShadow', 'End the candidate', { answer: 'ShadowReport' }) }, () =>
    askAll(app, 'stop'),
  );
}

async function askAll(
  { controller, publisher }: FastifyInstance,
  action: 'start' | 'stop' | 'report',
  images?: ReadonlyMap<string, Image>,
): Promise<ShadowReport> {
  const nodes = [...controller.mirror.state.node.values()]
    .filter(({ id, role }) => role === 'proxy' && publisher.nodes.of(id).connected)
    .map(({ id }) => id)
    .sort();
  if (nodes.length === 0) throw new ClbError('NoNodeToAsk');
  const ask = async (node: string): Promise<ShadowReport['nodes'][number]> => {
    const image = images?.get(node);
    try {
      const { report, error } = await publisher.questions.ask(node, 'shadowed', (request) =>
        publisher.send(node, {
          version: LINK_VERSION,
          type: 'shadow',
          request,
          action,
          ...(image === undefined ? {} : { image }),
        }),
      );
      return { node, report, ...(error === undefined ? {} : { error }) };
    } catch (error) {
      return { node, report: null, error: error instanceof Error ? error.message : String(error) };
    }
  };
  return { nodes: await Promise.all(nodes.map(ask)) };
}
