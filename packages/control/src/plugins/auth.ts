// Who may call: people and tools with an API key, nodes with the join token. Keys are compared by digest, in constant time.
import { createHash, timingSafeEqual } from 'node:crypto';
import { ClbError } from '@openclb/model';
import type { FastifyRequest } from 'fastify';
import type { ApiKey } from '../options.ts';

export interface Authority {
  /** Throws unless the request carries an API key; changes need one that may write. */
  requireKey(request: FastifyRequest): void;
  requireNode(request: FastifyRequest): void;
  requireKeyOrNode(request: FastifyRequest): void;
}

export function makeAuthority(apiKeys: readonly (string | ApiKey)[], joinToken: string): Authority {
  const keys = apiKeys.map((entry) => (typeof entry === 'string' ? { key: entry, write: true } : entry));
  if (keys.length === 0 || keys.some(({ key }) => key === '') || joinToken === '') {
    throw new RangeError('a controller needs at least one API key and a join token, neither empty');
  }
  const digests = keys.map(({ key, write }) => ({ digest: digestOf(key), write }));
  const join = digestOf(joinToken);
  const matchOf = (request: FastifyRequest): { write: boolean } | undefined => {
    const presented = presentedBy(request);
    return presented && digests.find(({ digest }) => timingSafeEqual(digest, presented));
  };
  const isNode = (request: FastifyRequest): boolean => {
    const presented = presentedBy(request);
    return presented !== undefined && timingSafeEqual(join, presented);
  };
  return {
    requireKey(request) {
      const match = matchOf(request);
      if (!match) throw new ClbError('Unauthorized');
      // Explaining a packet changes nothing, though it is a POST.
      const isRead =
        request.method === 'GET' || request.method === 'HEAD' || request.routeOptions.url === '/v1/explain';
      if (!isRead && !match.write) throw new ClbError('Forbidden');
    },
    requireNode(request) {
      if (!isNode(request)) throw new ClbError('Unauthorized');
    },
    requireKeyOrNode(request) {
      if (!matchOf(request) && !isNode(request)) throw new ClbError('Unauthorized');
    },
  };
}

function presentedBy(request: FastifyRequest): Buffer | undefined {
  const match = /^Bearer ([\x21-\x7e]{1,512})$/.exec(request.headers.authorization ?? '');
  return match?.[1] === undefined ? undefined : digestOf(match[1]);
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
