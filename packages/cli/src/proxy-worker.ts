// What a worker thread of `clb proxy --workers N --plugin …` loads: the same plugins again, because functions cannot be sent to it.
import type { L7Filter, Scheduler } from '@openclb/model';
import { createLog } from './log.ts';
import { loadPlugins } from './plugins.ts';

export async function setup(
  data: unknown,
): Promise<{ filters: readonly L7Filter[]; schedulers: readonly Scheduler[] }> {
  const { plugins } = data as { plugins: readonly string[] };
  const log = createLog((text) => process.stderr.write(text), 'error', false);
  const host = await loadPlugins(plugins, log);
  return { filters: host.extensions('filter'), schedulers: host.extensions('scheduler') };
}
