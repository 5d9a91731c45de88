// OpenAPI 3.1 from the same schemas that validate (toolchain.md T1.10).
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';

export async function addOpenapi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'OpenCLB',
        version: '1',
        description: 'Native API of the OpenCLB controller. Every mutation answers with the revision that carries it.',
      },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      security: [{ key: [] }],
    },
    refResolver: { buildLocalReference: (json) => String(json['$id']) },
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}
