// PUT /v1/config: a whole document in one transaction.
import { type Config, LIMITS } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { applyConfig } from '../edit/config.ts';
import { docs } from './resource.ts';

const { call } = docs('config');

export async function configRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.put<{ Body: Config }>(
    '/config',
    {
      bodyLimit: LIMITS.configBodyBytesMax,
      schema: call('applyConfig', 'Apply a whole document; sections that are present replace what is stored', {
        body: 'Config',
        answer: 'ConfigResult',
      }),
    },
    async ({ body }) => {
      const { result, revision } = await controller.run((edit) => applyConfig(edit, body));
      return { ...result, revision };
    },
  );
}
