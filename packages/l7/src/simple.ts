// The few-lines form of the library: one listener and a list of target URLs, written as the image that a controller would send.
import { createHash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import net from 'node:net';
import type { CheckSpec, ProxyImage } from '@openclb/model';
import type { SchedulerName } from './scheduler.ts';

export interface SimpleTarget {
  readonly url: string;
  readonly weight?: number;
}

export interface SimpleRoute {
  /** Exact name, `*.x`, `x.*` or `~regex`; left out: any. */
  readonly domain?: string;
  /** Plain prefix, `=` exact, `^~` prefix, `~`/`~*` regex; left out: `/`. */
  readonly path?: string;
  readonly targets: readonly (string | SimpleTarget)[];
  readonly scheduler?: SchedulerName;
}

export interface SimpleConfig {
  /** A port on every address, or one address and port. Port 0: the kernel chooses one of 127.0.0.1. */
  readonly listen: number | { readonly host: string; readonly port: number };
  readonly targets?: readonly (string | SimpleTarget)[];
  readonly routes?: readonly SimpleRoute[];
  readonly scheduler?: SchedulerName;
  readonly check?: CheckSpec;
  /** Certificate ids: the listener then speaks HTTPS. */
  readonly certificateIds?: readonly string[];
}

const NO_CHECK: CheckSpec = {
  type: 'none',
  intervalMs: 5000,
  timeoutMs: 2000,
  healthyThreshold: 3,
  unhealthyThreshold: 3,
};

export function stableId(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 16);
}

export async function imageOf(config: SimpleConfig): Promise<ProxyImage> {
  const { listen, certificateIds = [] } = config;
  const vips = typeof listen === 'object' ? [listen.host] : listen === 0 ? ['127.0.0.1'] : ['0.0.0.0', '::'];
  const routes = [...(config.routes ?? [])];
  if (config.targets !== undefined) routes.push({ targets: config.targets });
  if (routes.length === 0) throw new TypeError('createProxy needs `targets` or `routes`: where should requests go?');
  const targets = new Map<string, ProxyImage['targets'][number]>();
  const groups: ProxyImage['groups'] = [];
  const rules: ProxyImage['listeners'][number]['rules'] = [];
  for (const [index, route] of routes.entries()) {
    const name = `route-${index + 1}`;
    const members: ProxyImage['groups'][number]['targets'] = [];
    for (const entry of route.targets) {
      const { url, weight = 1 } = typeof entry === 'string' ? { url: entry } : entry;
      const target = await targetOf(url);
      targets.set(target.id, target);
      members.push({ target: target.id, weight });
    }
    groups.push({ id: stableId(name), name, slots: 2003, targets: members, check: config.check ?? NO_CHECK });
    rules.push({
      id: stableId(`rule ${name}`),
      name,
      domain: route.domain ?? '',
      path: route.path ?? '/',
      group: stableId(name),
      isDefault: false,
      scheduler: route.scheduler ?? config.scheduler ?? 'wrr',
    });
  }
  const port = typeof listen === 'object' ? listen.port : listen;
  const protocol = certificateIds.length > 0 ? 'https' : 'http';
  return {
    role: 'proxy',
    generation: { revision: 1, compiler: 1 },
    self: { id: 'library', underlay: {} },
    listeners: [
      {
        id: stableId('listener'),
        name: 'listener',
        loadBalancer: 'library',
        vips,
        port,
        protocol,
        rules,
        certificates: [...certificateIds],
      },
    ],
    groups,
    targets: [...targets.values()],
    readyPort: 0,
  };
}

async function targetOf(text: string): Promise<ProxyImage['targets'][number]> {
  const url = new URL(text);
  if (url.protocol !== 'http:' || url.pathname !== '/' || url.search !== '') {
    throw new TypeError(`${text} is no target: write http://host:port and nothing behind it`);
  }
  const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
  const address = net.isIP(host) > 0 ? host : (await lookup(host)).address;
  return { id: stableId(url.host), name: url.host, net: 0, address, port: Number(url.port || 80), source: null };
}
