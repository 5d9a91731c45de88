// Example of a plugin: splits clients into A and B for good. The variant becomes a header field, which rules can match
// (`policy.match.headers`), and a cookie, which keeps a client on its side.
import { createHash, randomUUID } from 'node:crypto';
import { definePlugin, type Plugin } from '@openclb/model';

export interface AbSplit {
  /** Share of B, 0 to 1. */
  readonly share: number;
  readonly cookie?: string;
  readonly header?: string;
}

export function abSplit({ share, cookie = 'ab', header = 'x-variant' }: AbSplit): Plugin {
  const pattern = new RegExp(`(?:^|;\\s*)${cookie}=([0-9a-f-]{36})(?:;|$)`);
  const fresh = new WeakMap<object, string>();
  return definePlugin({
    name: 'ab-split',
    setup(api) {
      api.add('filter', {
        name: 'ab-split',
        request(request) {
          const cookies = request.headers.filter(([name]) => name === 'cookie').map(([, value]) => value);
          const known = cookies.map((value) => pattern.exec(value)?.[1]).find((id) => id !== undefined);
          const id = known ?? randomUUID();
          if (known === undefined) fresh.set(request, id);
          request.headers = request.headers.filter(([name]) => name !== header);
          request.headers.push([header, variantOf(id, share)]);
        },
        response(response, request) {
          const id = fresh.get(request);
          if (id !== undefined)
            response.headers.push(['set-cookie', `${cookie}=${id}; Path=/; Max-Age=2592000; SameSite=Lax`]);
        },
      });
    },
  });
}

/** The same id is on the same side as long as the share does not shrink below it. */
export function variantOf(id: string, share: number): 'a' | 'b' {
  return createHash('sha256').update(id).digest().readUInt32BE(0) / 0x1_0000_0000 < share ? 'b' : 'a';
}

/** As `clb up --plugin ./ab-split.ts` loads it. */
export default abSplit({ share: Number(process.env['AB_SHARE'] ?? 0.1) });
