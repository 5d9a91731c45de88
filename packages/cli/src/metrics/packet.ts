// The counters of a packet role as metrics that add up, a worker at a time, and exact at rest (docs/reference/metrics.md):
// received + generated = transmitted + dropped(reason) + consumed(reason) + punted + held.
// The core counts verdicts; ports and worker count what happens before and after. Here both become one account of the wire.
import { type Family, type Sample, metricName } from './text.ts';

export type Counters = Readonly<Record<string, number>>;

/** One account; values in packets. */
export interface Account {
  readonly received: number;
  readonly generated: number;
  readonly transmitted: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly consumed: Readonly<Record<string, number>>;
  readonly punted: number;
  readonly held: number;
}

/** Reasons that end a packet which is not lost: the kernel has it, a table keeps it, or it has told us something. */
const CONSUMED: ReadonlySet<string> = new Set(['Asked', 'FragmentHeld', 'KernelOnly', 'NotOurs', 'TunnelPmtu']);
/** The reason of Held and of Punt, which are no drops. */
const NEITHER: ReadonlySet<string> = new Set(['Unresolved', 'Probe']);
/** One reason with two verdicts: a director leaves the packet to the kernel, an endpoint drops that of a VM. */
const EITHER = 'NotIp';
const RECEIVE_DROPS = ['rxTruncated', 'rxMalformed', 'rxNoChunk'] as const;
const TRANSMIT_DROPS = ['txOversize', 'txRingFull', 'txNoChunk', 'txMalformed', 'txRefused'] as const;

/** Zero: every packet is accounted for. */
export function imbalance(account: Account): number {
  const sum = (parts: Readonly<Record<string, number>>): number => Object.values(parts).reduce((a, b) => a + b, 0);
  const out = account.transmitted + sum(account.dropped) + sum(account.consumed) + account.punted + account.held;
  return account.received + account.generated - out;
}

/** What a role's flat counters say of worker 0. */
export function accountOf(counters: Counters): Account {
  const core = (name: string): number => counters[`core.${name}`] ?? 0;
  const worker = (name: string): number => counters[`worker.${name}`] ?? 0;
  const ports = (name: string): number => portSum(counters, name);
  const receiveDrops = dropsOf(RECEIVE_DROPS, ports);
  const transmitDrops = dropsOf(TRANSMIT_DROPS, ports);
  const inside = worker('probes') + worker('heldSent');
  const { dropped, consumed } = reasonsOf(counters);
  const answered = core('generated') + worker('heartbeats');
  return {
    received: core('received') - inside + total(receiveDrops),
    generated: core('generated') + core('added') + worker('probes') + worker('heartbeats'),
    transmitted: core('forwarded') + worker('heartbeats') - total(transmitDrops),
    dropped: {
      ...dropped,
      ...receiveDrops,
      ...transmitDrops,
      HeldExpired: worker('heldExpired'),
      HeldOverflow: worker('heldOverflow'),
      PuntOverflow: worker('puntOverflow'),
    },
    consumed: { ...consumed, Answered: answered },
    punted: core('punted') - worker('heartbeats') - worker('puntOverflow'),
    held: core('held') - worker('heldSent') - worker('heldExpired') - worker('heldOverflow'),
  };
}

function total(parts: Readonly<Record<string, number>>): number {
  return Object.values(parts).reduce((a, b) => a + b, 0);
}

function portSum(counters: Counters, name: string): number {
  return Object.entries(counters).reduce(
    (sum, [key, value]) => (/^port\d+\.(.*)$/.exec(key)?.[1] === name ? sum + value : sum),
    0,
  );
}

function dropsOf(names: readonly string[], value: (name: string) => number): Record<string, number> {
  return Object.fromEntries(names.map((name) => [`Port${name[0]!.toUpperCase()}${name.slice(1)}`, value(name)]));
}

function reasonsOf(counters: Counters): { dropped: Record<string, number>; consumed: Record<string, number> } {
  const dropped: Record<string, number> = {};
  const consumed: Record<string, number> = {};
  for (const [key, value] of Object.entries(counters)) {
    const reason = /^core\.reason\.(.*)$/.exec(key)?.[1];
    if (reason === undefined || NEITHER.has(reason) || reason === EITHER) continue;
    (CONSUMED.has(reason) ? consumed : dropped)[reason] = value;
  }
  // The totals of the verdicts say how the one reason with two is split.
  const either = counters[`core.reason.${EITHER}`] ?? 0;
  if (either > 0) {
    consumed[EITHER] = (counters['core.consumed'] ?? 0) - total(consumed);
    dropped[EITHER] = either - consumed[EITHER];
  }
  return { dropped, consumed };
}

/** The account and everything else that a packet role counts. */
export function packetFamilies(counters: Counters): Family[] {
  const account = accountOf(counters);
  const labels = { worker: 0 };
  const one = (name: string, type: Family['type'], help: string, value: number): Family => ({
    name,
    type,
    help,
    samples: [{ labels, value }],
  });
  const byReason = (name: string, help: string, parts: Readonly<Record<string, number>>): Family => ({
    name,
    type: 'counter',
    help,
    samples: Object.entries(parts)
      .filter(([, value]) => value !== 0)
      .map(([reason, value]) => ({ labels: { ...labels, reason }, value })),
  });
  return [
    one('clb_packets_received_total', 'counter', 'Packets that ports brought.', account.received),
    one('clb_packets_generated_total', 'counter', 'Packets made here: answers, probes, pieces.', account.generated),
    one('clb_packets_transmitted_total', 'counter', 'Packets that ports took.', account.transmitted),
    byReason('clb_packets_dropped_total', 'Packets lost here, by reason.', account.dropped),
    byReason('clb_packets_consumed_total', 'Packets that ended here without being lost, by reason.', account.consumed),
    one('clb_packets_punted_total', 'counter', 'Packets handed to the main program.', account.punted),
    one('clb_packets_held', 'gauge', 'Packets that wait for a link address now.', account.held),
    one('clb_flows_active', 'gauge', 'Flows in the table now.', counters['core.flowsActive'] ?? 0),
    ...trafficFamilies(counters),
    ...portFamilies(counters),
  ];
}

const TRAFFIC = /^(listener|target|eip)\.(.+)\.(packets|bytes)(In|Out)$/;
const TRAFFIC_OTHER = /^(listener|target|eip)\.(.+)\.(flowsCreated|flowsActive|dropped)$/;

function trafficFamilies(counters: Counters): Family[] {
  const families: Family[] = [];
  for (const [key, value] of Object.entries(counters)) {
    const [, kind, name, unit, way] = TRAFFIC.exec(key) ?? [];
    if (kind !== undefined && name !== undefined) {
      const labels = { [kind]: name, direction: way === 'In' ? 'in' : 'out' };
      families.push(
        family(`clb_${kind}_${unit}_total`, 'counter', `Traffic of a ${kind}: in is towards it.`, labels, value),
      );
      continue;
    }
    const [, other, of, field] = TRAFFIC_OTHER.exec(key) ?? [];
    if (other === undefined || of === undefined) continue;
    if (field === 'flowsActive')
      families.push(family(`clb_${other}_flows`, 'gauge', 'Flows now.', { [other]: of }, value));
    else
      families.push(
        family(
          `clb_${other}_${field === 'dropped' ? 'dropped' : 'flows_created'}_total`,
          'counter',
          'New flows, and those refused.',
          { [other]: of },
          value,
        ),
      );
  }
  return families;
}

function portFamilies(counters: Counters): Family[] {
  return Object.entries(counters).flatMap(([key, value]) => {
    const [, port, name] = /^port(\d+)\.(.+)$/.exec(key) ?? [];
    if (port === undefined || name === undefined) return [];
    return [
      family(
        `${metricName(`port.${name}`)}_total`,
        'counter',
        'Counted by a port or by the kernel for it.',
        { port },
        value,
      ),
    ];
  });
}

function family(
  name: string,
  type: Family['type'],
  help: string,
  labels: Sample['labels'] & {},
  value: number,
): Family {
  return { name, type, help, samples: [{ labels, value }] };
}

const COVERED = /^(core\.reason\.|port\d+\.|listener\.|target\.|eip\.)/;

/** Whatever else is counted, under its own name: sync, announcing, proxies, the core's details. */
export function otherFamilies(counters: Counters): Family[] {
  return Object.entries(counters).flatMap(([key, value]) =>
    COVERED.test(key)
      ? []
      : [{ name: metricName(key), type: 'untyped' as const, help: `Counter ${key} of clb top.`, samples: [{ value }] }],
  );
}

/** All that a node counts. Packets are accounted for where there are any: a proxy without an endpoint has none. */
export function nodeFamilies(counters: Counters): Family[] {
  const hasPackets = counters['core.received'] !== undefined;
  return [...(hasPackets ? packetFamilies(counters) : []), ...otherFamilies(counters)];
}
