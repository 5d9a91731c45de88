// The image of a director: every listener, group, target, host and EIP of the cluster (control-plane.md B5).
import { compileEips } from '@openclb/eip-ipv6';
import type { CheckSpec, DirectorImage, GroupRow, HostRow, TargetRow, TunnelRow } from '@openclb/model';
import type { StoredNode } from '../desired/state.ts';
import type { Assembly } from './index.ts';
import { accessLists } from './access.ts';
import { PROXY_POOL } from './l7.ts';
import { stableId } from './stable-id.ts';
import { hostOf, underlayOf, underlaysOf } from './targets.ts';
import { unique } from './unique.ts';

/** Everything but what differs between directors: `self`, `probe` and who the others are. */
export type DirectorBody = Omit<DirectorImage, 'self' | 'probe' | 'sync'> & { readonly sync: DirectorImage['sync'] };

export function directorBody(assembly: Assembly, warnings: string[]): DirectorBody {
  const { placement, nodes, generation, options } = assembly;
  const fragments = assembly.fragments.filter(({ isRelayed }) => isRelayed !== true);
  const proxies = nodes.filter(({ role }) => role === 'proxy');
  const listeners = unique(fragments.flatMap((fragment) => fragment.listeners));
  const groups = fragments.flatMap((fragment) => fragment.groups);
  const targets = fragments.flatMap((fragment) => fragment.targets);
  const hosts: HostRow[] = [
    ...nodes
      .filter(({ role }) => role !== 'director')
      .map((node) => ({ id: stableId(`host/${node.id}`), ...hostOf(node) })),
    ...fragments.flatMap((fragment) => fragment.hosts),
  ];
  if (listeners.some((row) => row.group === stableId(PROXY_POOL))) {
    const pool = proxyPool(proxies, options.readyPort);
    groups.push(pool.group);
    targets.push(...pool.targets);
    if (proxies.length === 0) warnings.push('there are HTTP, HTTPS or TCP_SSL listeners and no proxy is registered');
  }
  const eips = compileEips(placement.state.eip.values(), {
    stableId,
    hostOf: (vpc, text) => {
      const node = placement.hostByAddress.get(`${vpc}/${text}`);
      return node === undefined ? undefined : stableId(`host/${node}`);
    },
  });
  warnings.push(...eips.warnings);
  return {
    role: 'director',
    generation,
    tunnels: tunnelsOf(nodes),
    anycast: options.pools.anycast,
    vips: uniqueVips(fragments.flatMap((fragment) => fragment.vips)),
    listeners,
    groups: unique(groups),
    targets: unique(targets),
    hosts: unique(hosts),
    eips: eips.rows,
    trusted: proxies.flatMap(underlaysOf).sort(),
    ...accessLists(fragments, warnings),
    sync: syncOf(placement.state.clusterSecret, nodes),
  };
}

export function directorImage(body: DirectorBody, node: StoredNode): DirectorImage {
  const { sync, ...rest } = body;
  const peers = sync?.peers.filter((peer) => peer.node !== node.id) ?? [];
  return {
    ...rest,
    self: { id: node.id, ordinal: node.ordinal, underlay: node.underlay },
    probe: node.probe,
    ...(sync === undefined || peers.length === 0 ? {} : { sync: { ...sync, peers } }),
  };
}

/** All directors; each image leaves its own out. */
function syncOf(secret: string | null, nodes: readonly StoredNode[]): DirectorImage['sync'] {
  if (secret === null) return undefined;
  const directors = nodes.filter(({ role }) => role === 'director');
  return { secret, peers: directors.map(({ id, ordinal, underlay }) => ({ node: id, ordinal, underlay })) };
}

export function tunnelsOf(nodes: readonly StoredNode[]): TunnelRow[] {
  return nodes.flatMap(({ tunnels }) => tunnels);
}

/** One probe a proxy, not one per listener (P24). */
function proxyPool(proxies: readonly StoredNode[], readyPort: number): { group: GroupRow; targets: TargetRow[] } {
  const check: CheckSpec = {
    type: 'tcp',
    intervalMs: 2000,
    timeoutMs: 1000,
    healthyThreshold: 2,
    unhealthyThreshold: 2,
    port: readyPort,
  };
  const targets = proxies.map((node): TargetRow => ({
    id: stableId(`proxy/${node.id}`),
    name: node.id,
    net: 0,
    address: underlayOf(node),
    port: 0,
    encapsulation: 'gre',
    host: stableId(`host/${node.id}`),
  }));
  const group: GroupRow = {
    id: stableId(PROXY_POOL),
    name: PROXY_POOL,
    slots: 4093,
    targets: targets.map(({ id }) => ({ target: id, weight: 10 })),
    check,
  };
  return { group, targets };
}

function uniqueVips(vips: readonly { net: number; address: string }[]): { net: number; address: string }[] {
  const byKey = new Map(vips.map((vip) => [`${String(vip.net).padStart(10, '0')}/${vip.address}`, vip] as const));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, vip]) => vip);
}
