// How the tables of a director look on a terminal. The list is that of ipvsadm(8), column for column, with our names behind it.
import type { LookFlow, LookListener, LookTarget, LookTraffic } from '@openclb/model';
import { table } from '../output.ts';

export type Columns = 'flows' | 'stats' | 'rate';

export interface NodeListeners {
  readonly node: string;
  readonly listeners: readonly LookListener[];
  /** Of --rate: the same a moment earlier. */
  readonly before?: readonly LookListener[];
  readonly seconds?: number;
}

const HEADS = {
  flows: ['Forward Weight ActiveConn InActConn', 'Scheduler'],
  stats: ['   Conns   InPkts  OutPkts  InBytes OutBytes', ''],
  rate: ['     CPS    InPPS   OutPPS    InBPS   OutBPS', ''],
} as const;
const ADDRESS_WIDTH = 32;

export function renderListeners(nodes: readonly NodeListeners[], columns: Columns, isNumeric: boolean): string {
  const [targetHead, serviceHead] = HEADS[columns];
  const head = [
    columns === 'flows'
      ? `Prot LocalAddress:Port ${serviceHead}`
      : `${'Prot LocalAddress:Port'.padEnd(ADDRESS_WIDTH)} ${targetHead}`,
    columns === 'flows'
      ? `${'  -> RemoteAddress:Port'.padEnd(ADDRESS_WIDTH)} ${targetHead}`
      : '  -> RemoteAddress:Port',
  ];
  return nodes
    .map((one) => {
      const lines = one.listeners.flatMap((listener) => listenerLines(one, listener, columns, isNumeric));
      return [`director ${one.node}`, ...head, ...lines].join('\n');
    })
    .join('\n\n');
}

function listenerLines(one: NodeListeners, now: LookListener, columns: Columns, isNumeric: boolean): string[] {
  const before = one.before?.find((other) => other.name === now.name && other.vip === now.vip);
  const service = `${now.protocol.toUpperCase().padEnd(4)} ${endpoint(now.vip, now.vport)}`;
  const name = isNumeric ? '' : `  # ${now.name}`;
  const first =
    columns === 'flows'
      ? `${service} ${now.scheduler}${name}`
      : `${service.padEnd(ADDRESS_WIDTH)} ${traffic(now, before, columns, one.seconds)}${name}`;
  const targets = now.targets.map((target) => {
    const old = before?.targets.find((other) => other.name === target.name && other.address === target.address);
    const where = `  -> ${endpoint(target.address, target.port)}`.padEnd(ADDRESS_WIDTH);
    const numbers = columns === 'flows' ? flowColumns(target) : traffic(target, old, columns, one.seconds);
    return `${where} ${numbers}${isNumeric ? '' : `  # ${target.name}${target.health === 'Alive' ? '' : `, ${target.health}`}`}`.trimEnd();
  });
  return [first, ...targets];
}

function flowColumns({ forward, weight, active, inactive }: LookTarget): string {
  return `${forward.padEnd(7)} ${String(weight).padEnd(6)} ${String(active).padEnd(10)} ${String(inactive).padEnd(9)}`;
}

function traffic(now: LookTraffic, before: LookTraffic | undefined, columns: Columns, seconds = 1): string {
  const fields = ['flowsCreated', 'packetsIn', 'packetsOut', 'bytesIn', 'bytesOut'] as const;
  const values = fields.map((field) =>
    columns === 'stats'
      ? now[field]
      : Math.max(0, Math.round((now[field] - (before?.[field] ?? now[field])) / seconds)),
  );
  return values.map((value) => shortNumber(value).padStart(8)).join(' ');
}

/** As ipvsadm: 12345678 is 12345K. */
export function shortNumber(value: number): string {
  if (value < 100_000_000) return String(value);
  if (value < 100_000_000_000) return `${Math.floor(value / 1_000)}K`;
  if (value < 100_000_000_000_000) return `${Math.floor(value / 1_000_000)}M`;
  return `${Math.floor(value / 1_000_000_000)}G`;
}

export function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

type NodeRows = readonly { readonly node: string; readonly rows: readonly Record<string, unknown>[] }[];

export function renderFlows(nodes: NodeRows): string {
  const rows = nodes.flatMap(({ node, rows: found }) =>
    (found as unknown as LookFlow[]).map((flow) => [
      node,
      flow.protocol.toUpperCase(),
      seconds(flow.idleMs),
      flow.state,
      endpoint(flow.client, flow.clientPort),
      endpoint(flow.vip, flow.vport),
      endpoint(flow.target, flow.targetPort),
      flow.packetsIn,
      flow.packetsOut,
      seconds(flow.ageMs),
    ]),
  );
  if (rows.length === 0) return 'no flows';
  return table(['NODE', 'PRO', 'IDLE', 'STATE', 'SOURCE', 'VIRTUAL', 'DESTINATION', 'IN', 'OUT', 'AGE'], rows);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)}s`;
}

/** A column for each field of the rows. */
export function renderRows(nodes: NodeRows): string {
  const fields = [...new Set(nodes.flatMap(({ rows }) => rows.flatMap((row) => Object.keys(row))))];
  const rows = nodes.flatMap(({ node, rows: found }) =>
    found.map((row) => [node, ...fields.map((field) => row[field])]),
  );
  if (rows.length === 0) return 'nothing';
  return table(['NODE', ...fields.map((field) => field.replaceAll(/[A-Z]/g, ' $&').toUpperCase())], rows);
}
