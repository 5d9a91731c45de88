// Every error leaves as a problem (RFC 9457) with a code of the model's table. A bad body names the field and the rule that it breaks.
import { checkShape, ClbError } from '@openclb/model';
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';
import { SCHEMAS } from './schemas.ts';

export function addErrors(app: FastifyInstance, log: (message: string, data?: Record<string, unknown>) => void): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const refusal = toClbError(error, request);
    if (refusal.code === 'Internal')
      log('request failed', { method: request.method, url: request.url, error: error.stack ?? String(error) });
    if (refusal.code === 'Unauthorized') void reply.header('www-authenticate', 'Bearer');
    return reply.code(refusal.status).type('application/problem+json').send(JSON.stringify(refusal.toProblem()));
  });
  app.setNotFoundHandler((request, reply) => {
    const refusal = new ClbError('NoSuchRoute', { method: request.method, path: request.url.split('?')[0] ?? '' });
    return reply.code(refusal.status).type('application/problem+json').send(JSON.stringify(refusal.toProblem()));
  });
}

function toClbError(error: FastifyError, request: FastifyRequest): ClbError {
  if (error instanceof ClbError) return error;
  if (error.validation) return fromValidation(error, request);
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return new ClbError('BadJson', { rule: 'it cannot be parsed' });
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new ClbError('BadJson', { rule: 'it is empty' });
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ClbError('BodyTooLarge', { limit: request.routeOptions.bodyLimit ?? 0 });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ClbError('UnsupportedMediaType', {
        type: String(request.headers['content-type'] ?? 'none').slice(0, 80),
      });
    default:
      if (error instanceof SyntaxError) return new ClbError('BadJson', { rule: error.message.slice(0, 200) });
      if (error.statusCode !== undefined && error.statusCode < 500)
        return new ClbError('BadBody', { field: '', rule: error.message.slice(0, 200) });
      return new ClbError('Internal');
  }
}

/** Fastify has found the body wrong; the model says what is wrong with it, as it does for the CLI. */
function fromValidation(error: FastifyError, request: FastifyRequest): ClbError {
  const [first] = error.validation ?? [];
  if (error.validationContext !== 'body') {
    const field = String(
      first?.params?.['missingProperty'] ?? first?.params?.['additionalProperty'] ?? first?.instancePath.slice(1) ?? '',
    );
    return new ClbError('BadQuery', { field, rule: first?.message ?? 'is wrong' });
  }
  const reference = (request.routeOptions.schema?.body as { $ref?: string } | undefined)?.$ref;
  const schema = Object.entries(SCHEMAS).find(([name]) => name === reference)?.[1];
  const [problem] = schema ? checkShape(schema, request.body) : [];
  if (!problem)
    return new ClbError('BadBody', { field: first?.instancePath ?? '', rule: first?.message ?? 'is wrong' });
  const data = { field: problem.path === '' ? '/' : problem.path, rule: problem.rule };
  if (problem.unknownKey !== undefined) return new ClbError('UnknownField', data, problem.hint);
  return new ClbError('BadBody', data, problem.hint);
}
