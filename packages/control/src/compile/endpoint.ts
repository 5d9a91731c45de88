// Images of endpoints (P7) and of proxies, whose own endpoint lets kernel sockets reach VPCs (P20, P21).
import { eipAddressesOf } from '@openclb/eip-ipv6';
import type { EndpointImage, MapRow, ProxyImage, RegisteredRow, SourceRow, VmRow } from '@openclb/model';
import { sourceOf } from '../allocate.ts';
import { KEY } from '../desired/keys.ts';
import type { StoredInstance, StoredNode } from '../desired/state.ts';
import { tunnelsOf } from './director.ts';
import { byId, familyOf } from './parts.ts';
import type { Assembly } from './index.ts';
import { underlayOf, underlaysOf } from './targets.ts';
import { unique, uniqueBy } from './unique.ts';

export function endpointImage(assembly: Assembly, node: StoredNode): EndpointImage {
  const { placement, fragments } = assembly;
  const here = assembly.instancesByHost.get(node.id) ?? [];
  const nets = new Set(here.map(({ vpcId }) => vpcId));
  const own = new Set([...node.physical, node.underlay.v4, node.underlay.v6]);
  const physical = new Set(node.physical);
  for (const text of fragments.flatMap((fragment) => fragment.physical)) if (own.has(text)) physical.add(text);
  return {
    ...commonPart(assembly, node),
    vms: here.flatMap((instance) =>
      vmRow(instance, eipAddressesOf(placement.state.eip.values(), instance.vpcId, instance.addresses)),
    ),
    physical: [...physical].sort(),
    map: mapOf(assembly, nets),
    registered: registeredOn(assembly, node.id),
    internalVips: fragments.flatMap((fragment) => fragment.vips).filter(({ net }) => net !== 0 && nets.has(net)),
    sources: [],
    localVips: [
      ...new Set(fragments.flatMap((one) => one.localVips.filter((row) => row.node === node.id).map(({ vip }) => vip))),
    ].sort(),
  };
}

/** An instance without device cannot be delivered to yet; it stays in the map, because its host is known. */
function vmRow({ id, vpcId, addresses, mac, device }: StoredInstance, eips: string[]): VmRow[] {
  return mac === undefined || device === undefined ? [] : [{ id, net: vpcId, addresses, mac, device, eips }];
}

function commonPart({ generation, nodes, options }: Assembly, node: StoredNode) {
  const trusted = nodes.filter(({ role, id }) => role !== 'director' && id !== node.id).flatMap(underlaysOf);
  return {
    role: 'endpoint' as const,
    generation,
    self: { id: node.id, underlay: node.underlay },
    tunnels: tunnelsOf(nodes),
    anycast: options.pools.anycast,
    trusted: trusted.sort(),
  };
}

/** Every placed address of the nets, those of this host included: it answers ARP for all of them. */
function mapOf(assembly: Assembly, nets: ReadonlySet<number>): MapRow[] {
  const { placement, fragments } = assembly;
  const rows: MapRow[] = [];
  const add = (net: number, text: string, host: string | undefined): void => {
    const node = host === undefined ? undefined : placement.state.node.get(KEY.node(host));
    if (node && nets.has(net)) rows.push({ net, address: text, host: underlayOf(node) });
  };
  for (const net of nets)
    for (const { vpcId, addresses, host } of assembly.instancesByVpc.get(net) ?? [])
      for (const text of addresses) add(vpcId, text, host);
  // Targets without instance whose host was given with them.
  for (const { node, row } of fragments.flatMap((fragment) => fragment.registered)) add(row.net, row.address, node);
  for (const { node, net, address } of fragments.flatMap((fragment) => fragment.proxyMap)) add(net, address, node);
  return uniqueBy(rows, ({ net, address }) => `${String(net).padStart(10, '0')}/${address}`);
}

function registeredOn({ fragments }: Assembly, node: string): RegisteredRow[] {
  const rows = fragments.flatMap((fragment) => fragment.registered).filter((entry) => entry.node === node);
  return uniqueBy(
    rows.map(({ row }) => row),
    ({ net, address, port, protocol }) => `${net}/${address}/${port}/${protocol}`,
  );
}

export function proxyImage(assembly: Assembly, node: StoredNode): ProxyImage {
  const { fragments, generation, options, placement } = assembly;
  const rows = unique(fragments.flatMap((fragment) => fragment.proxyTargets));
  const nets = new Set(rows.map(({ net }) => net).filter((net) => net !== 0));
  const sources: SourceRow[] = [];
  for (const net of [...nets].sort((a, b) => a - b)) {
    const vpc = placement.state.vpc.get(KEY.vpc(net));
    if (vpc) sources.push({ net, ...sourceOf(node.ordinal, vpc, options.pools) });
  }
  const byNet = new Map(sources.map((source) => [source.net, source] as const));
  const listeners = unique(fragments.flatMap((fragment) => fragment.proxyListeners));
  const challenges = [...placement.state.certificate.values()]
    .sort(byId)
    .flatMap(({ order }) => order?.challenges ?? []);
  return {
    role: 'proxy',
    generation,
    self: { id: node.id, underlay: node.underlay },
    listeners,
    groups: unique(fragments.flatMap((fragment) => fragment.proxyGroups)),
    targets: rows.map((row) => {
      const source = byNet.get(row.net);
      return { ...row, source: (familyOf(row.address) === 4 ? source?.v4 : source?.v6) ?? null };
    }),
    endpoint: {
      ...commonPart(assembly, node),
      vms: [],
      physical: [],
      map: mapOf(assembly, nets),
      registered: [],
      internalVips: [],
      sources,
      localVips: uniqueBy(
        listeners.flatMap(({ vips }) => vips),
        (text) => text,
      ),
    },
    ...(challenges.length === 0 ? {} : { challenges }),
    readyPort: options.readyPort,
  };
}
