// clb top: the counters of the nodes and how fast they move.
import { setTimeout as wait } from 'node:timers/promises';
import type { Client } from '../client.ts';
import { defineCommand } from '../command.ts';
import { ExitStatus } from '../errors.ts';
import { table } from '../output.ts';

type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>;

export const top = defineCommand({
  name: 'top',
  group: 'look into',
  summary: 'show the counters of the nodes, refreshed',
  text: 'Counters that are zero are left out. With --json one object a line is printed, each with all counters.',
  arguments: [],
  flags: {
    node: { schema: { type: 'string', description: 'only this node' }, value: 'ID' },
    once: { schema: { type: 'boolean', description: 'print once and end' } },
    interval: {
      schema: { type: 'integer', minimum: 1, maximum: 60, default: 2, description: 'seconds between refreshes' },
      value: 'SECONDS',
    },
  },
  connects: true,
  examples: ['clb top', 'clb top --node ld1 --once'],
  async run({ flags }, context) {
    const client = context.connect();
    let before = await readCounters(client, flags.node);
    if (flags.once === true) {
      context.out.answer(before, (counters) => renderCounters(counters, undefined, 0));
      return ExitStatus.ok;
    }
    context.out.screen(context.out.isJson ? JSON.stringify(before) : renderCounters(before, undefined, 0));
    let since = performance.now();
    while (!context.signal.aborted) {
      await wait(flags.interval * 1000, undefined, { signal: context.signal }).catch(() => undefined);
      if (context.signal.aborted) break;
      const now = await readCounters(client, flags.node);
      const seconds = (performance.now() - since) / 1000;
      since = performance.now();
      context.out.screen(context.out.isJson ? JSON.stringify(now) : renderCounters(now, before, seconds));
      before = now;
    }
    return ExitStatus.ok;
  },
});

async function readCounters(client: Client, node: string | undefined): Promise<Counters> {
  const answer = await client.call<unknown>('GET', '/v1/counters', { query: { node } });
  return countersOf(answer, node);
}

/** By node, then by counter: whatever of the two levels the answer leaves out is put back. */
export function countersOf(answer: unknown, node: string | undefined): Counters {
  const counters: Record<string, Record<string, number>> = {};
  const items = Array.isArray(answer) ? answer : (answer as { items?: unknown } | null)?.items;
  if (Array.isArray(items)) {
    for (const item of items as { node?: string; counters?: Record<string, number> }[]) {
      if (item.node !== undefined) counters[item.node] = item.counters ?? {};
    }
    return counters;
  }
  const one = answer as { node?: string; counters?: Record<string, number> } | null;
  if (one?.counters !== undefined) counters[one.node ?? node ?? 'node'] = one.counters;
  return counters;
}

export function renderCounters(now: Counters, before: Counters | undefined, seconds: number): string {
  const rows: unknown[][] = [];
  for (const [node, counters] of Object.entries(now)) {
    for (const [name, value] of Object.entries(counters)) {
      if (value === 0) continue;
      const rate = before === undefined || seconds <= 0 ? undefined : (value - (before[node]?.[name] ?? 0)) / seconds;
      rows.push([
        node,
        name,
        value,
        rate === undefined ? '' : `${rate >= 100 ? Math.round(rate) : Math.round(rate * 10) / 10}/s`,
      ]);
    }
  }
  return rows.length === 0 ? 'no node has counted anything yet' : table(['NODE', 'COUNTER', 'TOTAL', 'RATE'], rows);
}
