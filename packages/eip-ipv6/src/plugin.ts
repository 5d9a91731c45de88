// The EIP routes as a Fastify plugin. Whoever registers it brings the service that runs edits as transactions.
import { Changed, Eip, EipBindInput, EipInput } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';

export interface EipService {
  list(): readonly Eip[];
  get(id: string): Eip;
  allocate(input: EipInput): Promise<Eip>;
  bind(id: string, input: EipBindInput): Promise<Eip>;
  unbind(id: string): Promise<Eip>;
  release(id: string): Promise<Changed>;
}

export interface EipPluginOptions {
  readonly service: EipService;
}

const Params = Type.Object({ id: Type.String({ maxLength: 64 }) });
const body = { 200: Type.Ref('Eip'), default: Type.Ref('Problem') };
/** Fields of the OpenAPI document, which the plugin @fastify/swagger reads. */
const docs = (operationId: string, summary: string) => ({ tags: ['eips'], operationId, summary });

/** Expects the shared schemas Eip, EipInput, EipBindInput, Changed and Problem. */
export async function eipPlugin(app: FastifyInstance, { service }: EipPluginOptions): Promise<void> {
  app.get(
    '/eips',
    {
      schema: {
        ...docs('listEips', 'List EIPs'),
        response: { 200: Type.Object({ items: Type.Array(Type.Ref('Eip')) }) },
      },
    },
    async () => ({ items: service.list() }),
  );
  app.get<{ Params: { id: string } }>(
    '/eips/:id',
    { schema: { ...docs('getEip', 'Show an EIP'), params: Params, response: body } },
    async (request) => service.get(request.params.id),
  );
  app.post<{ Body: EipInput }>(
    '/eips',
    {
      schema: {
        ...docs('allocateEip', 'Allocate an EIP'),
        body: Type.Ref('EipInput'),
        response: { 201: Type.Ref('Eip'), default: Type.Ref('Problem') },
      },
    },
    async (request, reply) => reply.code(201).send(await service.allocate(request.body)),
  );
  app.post<{ Params: { id: string }; Body: EipBindInput }>(
    '/eips/:id/bind',
    { schema: { ...docs('bindEip', 'Bind an EIP'), params: Params, body: Type.Ref('EipBindInput'), response: body } },
    async (request) => service.bind(request.params.id, request.body),
  );
  app.post<{ Params: { id: string } }>(
    '/eips/:id/unbind',
    { schema: { ...docs('unbindEip', 'Unbind an EIP'), params: Params, response: body } },
    async (request) => service.unbind(request.params.id),
  );
  app.delete<{ Params: { id: string } }>(
    '/eips/:id',
    {
      schema: {
        ...docs('releaseEip', 'Release an EIP; refused while it is bound'),
        params: Params,
        response: { 200: Type.Ref('Changed'), default: Type.Ref('Problem') },
      },
    },
    async (request) => service.release(request.params.id),
  );
}

/** Named components that the routes refer to. */
export const EIP_SCHEMAS = { Eip, EipInput, EipBindInput, Changed };
