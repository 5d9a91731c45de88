// Example of a plugin: requests need a JSON Web Token (RFC 7519) signed with HS256; who the token names is told to the target.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { definePlugin, type Plugin } from '@openclb/model';

export interface JwtOptions {
  readonly secret: string;
  /** Seconds since the epoch; the clock when absent. */
  readonly now?: () => number;
}

export function jwtCheck({ secret, now = () => Date.now() / 1000 }: JwtOptions): Plugin {
  const refusal = {
    status: 401,
    headers: [['www-authenticate', 'Bearer']],
    body: 'a valid token is needed\n',
  } as const;
  return definePlugin({
    name: 'jwt-check',
    setup(api) {
      api.add('filter', {
        name: 'jwt-check',
        request(request) {
          const field = request.headers.find(([name]) => name === 'authorization')?.[1] ?? '';
          const subject = subjectOf(/^Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/.exec(field), secret, now());
          if (subject === null) return refusal;
          // What a client says about itself under this name is not believed.
          request.headers = request.headers.filter(([name]) => name !== 'x-user');
          request.headers.push(['x-user', encodeURIComponent(subject)]);
          return undefined;
        },
      });
    },
  });
}

function subjectOf(parts: RegExpExecArray | null, secret: string, now: number): string | null {
  // Without a secret anybody could sign.
  if (parts === null || secret === '') return null;
  const [, head = '', body = '', signature = ''] = parts;
  const expected = createHmac('sha256', secret).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
  try {
    // The algorithm is ours to choose: a token that names another one is refused, `none` above all.
    const { alg } = JSON.parse(Buffer.from(head, 'base64url').toString()) as { alg?: unknown };
    const { sub, exp } = JSON.parse(Buffer.from(body, 'base64url').toString()) as { sub?: unknown; exp?: unknown };
    const isCurrent = typeof exp === 'number' && exp > now;
    return alg === 'HS256' && isCurrent && typeof sub === 'string' ? sub : null;
  } catch {
    return null;
  }
}

/** As `clb up --plugin ./jwt-check.ts` loads it. */
export default jwtCheck({ secret: process.env['JWT_SECRET'] ?? '' });
