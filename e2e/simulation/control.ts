// The controller's part of the simulation: the real store (in memory), its mirror and the real compile. A change is an edit of the
// desired state, as the API makes it, and what comes back are the images of all nodes.
import { type DirectorImage, type EndpointImage, checkImage } from '@openclb/model';
import { probeOf, tunnelsOf } from '../../packages/control/src/allocate.ts';
import { compile, compileMemo } from '../../packages/control/src/compile/index.ts';
import { type Draft, edit } from '../../packages/control/src/desired/draft.ts';
import { KEY } from '../../packages/control/src/desired/keys.ts';
import { openMirror } from '../../packages/control/src/desired/mirror.ts';
import { openSqliteStore } from '../../packages/control/src/desired/sqlite.ts';
import { type StoredTargetGroup } from '../../packages/control/src/desired/state.ts';
import { resolvePools } from '../../packages/control/src/options.ts';
import { type Service, type Topology, underlayOf } from './topology.ts';

export interface Member {
  readonly vm: string;
  readonly weight: number;
}

export interface Control {
  /** Images of the newest revision, by node. */
  images(): { directors: Map<string, DirectorImage>; endpoints: Map<string, EndpointImage> };
  setGroup(group: string, members: readonly Member[]): Promise<void>;
  close(): Promise<void>;
}

const options = { pools: resolvePools(), readyPort: 8998 };
const NO_CHECK = { enabled: false } as StoredTargetGroup['healthCheck'];

export async function openControl(topology: Topology, nowMs: () => number): Promise<Control> {
  const store = openSqliteStore({ path: ':memory:', nowMs });
  const mirror = await openMirror(store);
  const memo = compileMemo();
  const put = (change: (draft: Draft) => void): Promise<unknown> => edit(store, mirror, change);
  const groupOf = (id: string, members: readonly Member[]): unknown => ({
    id,
    name: id,
    slots: 251,
    healthCheck: NO_CHECK,
    targets: members.map(({ vm, weight }) => ({ id: `tgt-${id}-${vm}`, instance: `ins-${vm}`, port: 8080, weight })),
  });
  await put((draft) => {
    draft.put(KEY.clusterSecret, '5a'.repeat(32));
    putNetwork(draft, topology);
    for (const [id, members] of topology.groups) draft.put(KEY.targetGroup(id), groupOf(id, members));
    for (const service of topology.services) putService(draft, service);
  });
  return {
    images() {
      const compiled = compile(mirror.state, new Map(), options, memo);
      const problem = compiled.loadBalancers.find((row) => !row.compiled);
      if (problem !== undefined) throw new Error(`${problem.id} does not compile: ${problem.problem}`);
      const broken = [...mirror.state.broken].map(([key, why]) => `${key}: ${why}`);
      if (broken.length > 0) throw new Error(`the desired state is broken: ${broken.join(', ')}`);
      const directors = new Map<string, DirectorImage>();
      const endpoints = new Map<string, EndpointImage>();
      for (const [node, image] of compiled.images) {
        const fault = checkImage(image);
        if (fault !== null) throw new Error(`the image of ${node} is refused: ${JSON.stringify(fault)}`);
        if (image.role === 'director') directors.set(node, image);
        else endpoints.set(node, image as EndpointImage);
      }
      return { directors, endpoints };
    },
    async setGroup(id, members) {
      await put((draft) => draft.put(KEY.targetGroup(id), groupOf(id, members)));
    },
    close: async () => {
      mirror.close();
      await store.close();
    },
  };
}

function putNetwork(draft: Draft, { directors, hosts, vms, nets, eips }: Topology): void {
  const bare = { workers: 1, physical: [], tunnels: [], probe: {}, sources: [] };
  for (const [index, id] of directors.entries()) {
    const ordinal = index + 1;
    const allocated = { tunnels: tunnelsOf(id, ordinal, 1, options.pools), probe: probeOf(ordinal, options.pools) };
    const underlay = underlayOf(topologyAddress('director', index));
    draft.put(KEY.node(id), { ...bare, ...allocated, id, role: 'director', ordinal, underlay });
  }
  for (const [index, id] of hosts.entries()) {
    const underlay = underlayOf(topologyAddress('host', index));
    draft.put(KEY.node(id), { ...bare, id, role: 'endpoint', ordinal: index + 1, underlay });
  }
  for (const [index, id] of nets.entries())
    draft.put(KEY.vpc(id), { id, name: `vpc-${id}`, cidrs: ['10.0.0.0/24', 'fd00::/64'], sourceIndex: index + 1 });
  for (const { name, net, addresses, host, mac } of vms) {
    const id = `ins-${name}`;
    draft.put(KEY.instance(id), { id, name, vpcId: net, addresses, host, device: name, mac });
  }
  for (const { id, address, vm, net, inner } of eips) {
    const binding = { vpc: net, address: inner, instance: `ins-${vm}` };
    draft.put(KEY.eip(id), { id, name: id, address, state: 'BIND', binding });
  }
}

const topologyAddress = (kind: 'director' | 'host', index: number): number => (kind === 'director' ? 1 : 11) + index;

function putService(draft: Draft, service: Service): void {
  if (service.kind === 'eip') return;
  const id = `lb-${service.name}`;
  const network = service.net === 0 ? { network: 'public' } : { network: 'internal', vpcId: service.net };
  draft.put(KEY.loadBalancer(id), { id, name: id, ...network, vips: service.vips });
  const listener = `lbl-${service.name}`;
  draft.put(KEY.listener(id, listener), {
    id: listener,
    loadBalancer: id,
    name: listener,
    protocol: service.protocol === 6 ? 'TCP' : 'UDP',
    port: service.port,
    scheduler: service.scheduler,
    translation: 'auto',
    targetGroup: service.group,
    idleSeconds: service.protocol === 6 ? 900 : 300,
    onRemove: service.onRemove,
    certificates: [],
    rules: [],
  });
}
