// Example of a plugin: edits header fields of requests and responses by regular expression.
import { definePlugin, type Plugin } from '@openclb/model';

export interface HeaderRewrite {
  readonly of: 'request' | 'response';
  readonly name: string;
  readonly pattern: RegExp;
  readonly to: string;
}

export function headerRewrite(rewrites: readonly HeaderRewrite[]): Plugin {
  const edit = (of: HeaderRewrite['of'], headers: [string, string][]): void => {
    for (const rewrite of rewrites) {
      if (rewrite.of !== of) continue;
      for (const field of headers) {
        if (field[0] === rewrite.name) field[1] = field[1].replace(rewrite.pattern, rewrite.to);
      }
    }
  };
  return definePlugin({
    name: 'header-rewrite',
    setup(api) {
      api.add('filter', {
        name: 'header-rewrite',
        // Cosmetic: a mistake here must not cost a request.
        onFailure: 'open',
        request: ({ headers }) => edit('request', headers),
        response: ({ headers }) => edit('response', headers),
      });
    },
  });
}

/** As `clb up --plugin ./header-rewrite.ts` loads it: internal hosts do not leak through redirects. */
export default headerRewrite([
  { of: 'response', name: 'location', pattern: /^https?:\/\/[^/]*\.internal\b(?::\d+)?/, to: '' },
]);
