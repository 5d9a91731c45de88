// Example of a plugin: a layer-7 filter that answers 503 under a path prefix and marks every other response.
import { definePlugin, type Plugin } from '../plugin.ts';

export function maintenancePlugin(options: { prefix: string; retryAfterSeconds: number }): Plugin {
  return definePlugin({
    name: 'maintenance',
    setup(api) {
      api.add('filter', {
        name: 'maintenance',
        request({ target }) {
          if (!target.startsWith(options.prefix)) return undefined;
          return { status: 503, headers: [['retry-after', String(options.retryAfterSeconds)]], body: 'back soon\n' };
        },
        response({ headers }) {
          headers.push(['x-served-by', 'openclb']);
        },
      });
    },
  });
}
