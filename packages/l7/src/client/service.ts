// One service of a client as the image that a controller would send: the same compile, schedulers and health checks read it.
import { type CheckSpec, type ProxyImage } from '@openclb/model';
import { type SchedulerName } from '../scheduler.ts';
import { stableId } from '../simple.ts';
import type { ServiceSnapshot } from './source.ts';

export const SERVICE_GROUP = stableId('service');
const SLOTS = 4093;

const NO_CHECK: CheckSpec = {
  type: 'none',
  intervalMs: 5000,
  timeoutMs: 2000,
  healthyThreshold: 3,
  unhealthyThreshold: 3,
};

export interface ServiceOptions {
  /** `wrr` when left out. */
  readonly scheduler?: SchedulerName;
  /** Active health check; what the source says when left out, and none where it says nothing. */
  readonly check?: CheckSpec;
}

/** The image of a service, with one HTTP listener when `listen` says where (a sidecar). Revisions count upwards. */
export function serviceImage(
  name: string,
  snapshot: ServiceSnapshot,
  revision: number,
  options: ServiceOptions,
  listen?: { readonly host: string; readonly port: number },
): ProxyImage {
  const targets = new Map<string, { row: ProxyImage['targets'][number]; weight: number }>();
  for (const { address, port, weight } of snapshot.targets) {
    const text = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    const id = stableId(text);
    if (!targets.has(id)) targets.set(id, { row: { id, name: text, net: 0, address, port, source: null }, weight });
  }
  const rows = [...targets.values()];
  const group = {
    id: SERVICE_GROUP,
    name,
    slots: SLOTS,
    targets: rows.map(({ row, weight }) => ({ target: row.id, weight })),
    check: options.check ?? snapshot.check ?? NO_CHECK,
  };
  return {
    role: 'proxy',
    generation: { revision, compiler: 1 },
    self: { id: 'client', underlay: {} },
    listeners: listen === undefined ? [] : [listenerRow(name, listen, options.scheduler ?? 'wrr')],
    groups: [group],
    targets: rows.map(({ row }) => row),
    readyPort: 0,
  };
}

function listenerRow(
  name: string,
  { host, port }: { readonly host: string; readonly port: number },
  scheduler: SchedulerName,
): ProxyImage['listeners'][number] {
  const rule = { id: stableId('rule'), name, domain: '', path: '/', group: SERVICE_GROUP, isDefault: false, scheduler };
  return {
    id: stableId('listener'),
    name,
    loadBalancer: 'sidecar',
    vips: [host],
    port,
    protocol: 'http',
    rules: [rule],
    certificates: [],
  };
}
