// clb ld: the tables of directors as they are now. Who knows ipvsadm feels at home: list has its look, -n, --stats and --rate its columns.
import type { DrainAnswer, LookAnswer, LookFilter, LookListener, Status } from '@openclb/model';
import { setTimeout as wait } from 'node:timers/promises';
import type { Client } from '../client.ts';
import { type Command, defineCommand } from '../command.ts';
import { CliError, ExitStatus, usageError } from '../errors.ts';
import { type Columns, renderFlows, renderListeners, renderRows } from './ld-render.ts';

export const nodeFlag = {
  node: { schema: { type: 'string', description: 'only this director; every connected one otherwise' }, value: 'ID' },
} as const;

const columnFlags = {
  numeric: { schema: { type: 'boolean', description: 'addresses only, without the names of resources' }, short: 'n' },
  stats: { schema: { type: 'boolean', description: 'flows, packets and bytes since the worker started' } },
  rate: { schema: { type: 'boolean', description: 'flows, packets and bytes a second, over one second' } },
} as const;

export const filterFlags = {
  client: { schema: { type: 'string', description: 'client address or CIDR' }, value: 'CIDR' },
  vip: { schema: { type: 'string', description: 'VIP, or VIP:vport' }, value: 'VIP[:PORT]' },
  target: { schema: { type: 'string', description: 'target, or target:port' }, value: 'IP[:PORT]' },
  protocol: { schema: { enum: ['tcp', 'udp', 'icmp', 'icmpv6', 'sctp'] }, text: 'protocol' },
} as const;

const PAGE = 1_000;
const RATE_MS = 1_000;

const list = defineCommand({
  name: 'ld list',
  group: 'look into',
  summary: 'show listeners and their targets in a director, as ipvsadm does',
  text: 'ActiveConn counts established flows, InActConn all others. Numbers are of one director, read from its live tables.',
  arguments: [],
  flags: { ...nodeFlag, ...columnFlags, vip: filterFlags.vip, protocol: filterFlags.protocol },
  connects: true,
  examples: ['clb ld list -n', 'clb ld list --rate --node ld1'],
  async run({ flags }, context) {
    const { vip, protocol } = flags;
    const columns = columnsOf(flags);
    const client = context.connect();
    const nodes = await directors(client, flags.node);
    const read = (): Promise<LookListener[][]> =>
      Promise.all(nodes.map((node) => rowsOf<LookListener>(client, node, 'listeners', { vip, protocol })));
    const before = columns === 'rate' ? await read() : [];
    const since = performance.now();
    if (columns === 'rate') await wait(RATE_MS, undefined, { signal: context.signal });
    const now = await read();
    const seconds = (performance.now() - since) / 1000;
    const answer = nodes.map((node, index) => ({
      node,
      listeners: now[index] ?? [],
      ...(columns === 'rate' ? { before: before[index] ?? [], seconds } : {}),
    }));
    context.out.answer(answer, (all) => renderListeners(all, columns, flags.numeric === true));
    return ExitStatus.ok;
  },
});

const flows = defineCommand({
  name: 'ld flows',
  group: 'look into',
  summary: 'show flows of directors, filtered',
  text: 'The flow table is read in pages while packets pass. --limit ends the list; a director may hold millions of flows.',
  arguments: [],
  flags: {
    ...nodeFlag,
    ...filterFlags,
    state: { schema: { type: 'string', description: 'state, such as Established or SynSeen' }, value: 'STATE' },
    limit: {
      schema: { type: 'integer', minimum: 1, maximum: 1_000_000, default: 1_000, description: 'most flows a director' },
      value: 'N',
    },
  },
  connects: true,
  examples: ['clb ld flows --client 198.51.100.0/24', 'clb ld flows --vip 203.0.113.10:80 --state Established'],
  async run({ flags }, context) {
    const client = context.connect();
    const { node, limit, client: from, vip, target, protocol, state } = flags;
    const filter = { client: from, vip, target, protocol, state };
    const nodes = await directors(client, node);
    const answer = await Promise.all(
      nodes.map(async (one) => ({ node: one, rows: await rowsOf(client, one, 'flows', filter, limit) })),
    );
    context.out.answer(answer, renderFlows);
    return ExitStatus.ok;
  },
});

/** The tables without columns of their own. */
function tableCommand(what: 'targets' | 'counters' | 'tunnels' | 'routes' | 'neighbours', summary: string): Command {
  return defineCommand({
    name: `ld ${what}`,
    group: 'look into',
    summary,
    arguments: [],
    flags: nodeFlag,
    connects: true,
    examples: [`clb ld ${what}`, `clb ld ${what} --node ld1 --json`],
    async run({ flags }, context) {
      const client = context.connect();
      const nodes = await directors(client, flags.node);
      const answer = await Promise.all(
        nodes.map(async (node) => ({ node, rows: await rowsOf(client, node, what, {}) })),
      );
      context.out.answer(answer, renderRows);
      return ExitStatus.ok;
    },
  });
}

const drain = defineCommand({
  name: 'ld drain',
  group: 'configure',
  summary: 'take a director out of service while its flows run on',
  text: [
    'Its VIPs are withdrawn, so routing brings it no new flows; its tunnel addresses stay, so replies of old flows still come.',
    '--undo takes it back. A restart forgets it. clb status shows it.',
  ].join('\n'),
  arguments: [{ name: 'node', schema: { type: 'string' }, required: true, text: 'id of the director' }],
  flags: { undo: { schema: { type: 'boolean', description: 'serve again' } } },
  connects: true,
  examples: ['clb ld drain ld1', 'clb ld drain ld1 --undo'],
  async run({ flags, arguments: words }, context) {
    const draining = flags.undo !== true;
    const path = `/v1/nodes/${encodeURIComponent(words.node)}/drain`;
    const answer = await context.connect().call<DrainAnswer>('PUT', path, { body: { draining } });
    context.out.answer(answer, (one) =>
      one.draining ? `${one.node} takes no new flows; ${one.flows} run on` : `${one.node} serves again`,
    );
    return ExitStatus.ok;
  },
});

export const ldCommands: readonly Command[] = [
  list,
  flows,
  tableCommand('targets', 'show targets with flows, traffic and health as a director sees them'),
  tableCommand('counters', 'show every counter of a director'),
  tableCommand('tunnels', 'show tunnel ends: own, of other directors, of hosts'),
  tableCommand('routes', 'show the routes that packets take'),
  tableCommand('neighbours', 'show link addresses of next hops'),
  drain,
];

function columnsOf(flags: { readonly stats?: boolean | undefined; readonly rate?: boolean | undefined }): Columns {
  if (flags.stats === true && flags.rate === true)
    throw usageError('--stats and --rate are two views', 'give one of them');
  if (flags.stats === true) return 'stats';
  return flags.rate === true ? 'rate' : 'flows';
}

/** The directors to ask, in the order of their ids. */
export async function directors(client: Client, wanted: string | undefined): Promise<string[]> {
  if (wanted !== undefined) return [wanted];
  const { nodes } = await client.call<Status>('GET', '/v1/status');
  const found = nodes.filter(({ role, connected }) => role === 'director' && connected).map(({ id }) => id);
  if (found.length === 0)
    throw new CliError('no director is connected', { hint: 'clb status shows the nodes that the controller knows' });
  return found.sort();
}

type Filter = { readonly [K in keyof LookFilter]: LookFilter[K] | undefined };

/** Pages until the table ends or `most` rows are there. */
async function rowsOf<T = Record<string, unknown>>(
  client: Client,
  node: string,
  what: string,
  filter: Filter,
  most = Number.POSITIVE_INFINITY,
): Promise<T[]> {
  const rows: T[] = [];
  for (let cursor: number | null = 0; cursor !== null && rows.length < most;) {
    const limit = Math.min(PAGE, most - rows.length);
    const body: Record<string, unknown> = { node, what, filter, cursor, limit };
    const answer: LookAnswer = await client.call<LookAnswer>('POST', '/v1/look', { body });
    rows.push(...(answer.rows as T[]));
    cursor = answer.next;
  }
  return rows;
}
