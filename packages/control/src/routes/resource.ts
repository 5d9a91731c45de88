// What the routes of all resources share: the shape of their schemas. Each resource's own file names its routes in full.
import { Type } from 'typebox';
import type { SchemaName } from '../plugins/schemas.ts';

export const IdParams = Type.Object({ id: Type.String({ minLength: 1, maxLength: 64 }) });
export interface IdRoute {
  Params: { id: string };
}

const ref = (name: SchemaName) => Type.Ref(name);
const failures = { default: ref('Problem') };

/** Route schemas with names for OpenAPI. `tag` groups them. */
export function docs(tag: string) {
  const base = (operationId: string, summary: string) => ({ tags: [tag], operationId, summary });
  return {
    list: (operationId: string, summary: string, of: SchemaName) => ({
      ...base(operationId, summary),
      response: { 200: Type.Object({ items: Type.Array(ref(of)) }), ...failures },
    }),
    show: (operationId: string, summary: string, answer: SchemaName) => ({
      ...base(operationId, summary),
      params: IdParams,
      response: { 200: ref(answer), ...failures },
    }),
    create: (operationId: string, summary: string, body: SchemaName, answer: SchemaName) => ({
      ...base(operationId, summary),
      body: ref(body),
      response: { 201: ref(answer), ...failures },
    }),
    change: (operationId: string, summary: string, body: SchemaName, answer: SchemaName) => ({
      ...base(operationId, summary),
      params: IdParams,
      body: ref(body),
      response: { 200: ref(answer), ...failures },
    }),
    remove: (operationId: string, summary: string) => ({
      ...base(operationId, summary),
      params: IdParams,
      response: { 200: ref('Changed'), ...failures },
    }),
    /** Anything else. */
    call: (
      operationId: string,
      summary: string,
      parts: { body?: SchemaName; answer: SchemaName; query?: Record<string, ReturnType<typeof Type.String>> },
    ) => ({
      ...base(operationId, summary),
      ...(parts.body ? { body: ref(parts.body) } : {}),
      ...(parts.query ? { querystring: Type.Partial(Type.Object(parts.query), { additionalProperties: false }) } : {}),
      response: { 200: ref(parts.answer), ...failures },
    }),
  };
}

export const Query = (of: string, description: string) =>
  Type.Object({ [of]: Type.Optional(Type.String({ maxLength: 64, description })) }, { additionalProperties: false });
