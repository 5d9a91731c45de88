// What a worker thread of `clb proxy --workers N --plugin …` loads: the same plugins again, because functions cannot be sent to it.
import type { ProxyOptions } from '@openclb/l7';
import { createLog } from './log.ts';
import { loadPlugins } from './plugins.ts';

export async function setup(data: unknown): Promise<Pick<ProxyOptions, 'filters' | 'schedulers' | 'mysqlRouters'>> {
  const { plugins } = data as { plugins: readonly string[] };
  const log = createLog((text) => process.stderr.write(text), 'error', false);
  const host = await loadPlugins(plugins, log);
  return {
    filters: host.extensions('filter'),
    schedulers: host.extensions('scheduler'),
    mysqlRouters: host.extensions('mysqlRouter'),
  };
}
