// Brings the whole cluster up in its namespaces: every role is a process of its own, started through `clb`, configured through the REST API.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { namespaceName, removeNetwork, startIn, waitReady } from '../../../tools/testkit/index.ts';
import type { Network, NetworkPlan, Running } from '../../../tools/testkit/index.ts';
import { startAgent, startServer } from './agent.ts';
import type { Agent } from './agent.ts';
import { API_KEY, API_PORT, CONTROLLER_URL, JOIN_TOKEN, createApi } from './api.ts';
import type { Api } from './api.ts';
import { clbCommand, runCommand } from './command.ts';
import type { CommandOutcome } from './command.ts';
import { NODES, TARGET_PORT, VMS, bringUpTopology } from './topology.ts';
import type { Placement, TopologyOptions } from './topology.ts';
import { until, watchNodes } from './watch.ts';
import type { NodeName, Watch } from './watch.ts';

export type PortKind = 'xdp' | 'packet';

export interface ClusterOptions extends TopologyOptions {
  port: PortKind | 'auto';
  /** The nodes to start; all of them when absent. Those left out are known to the controller all the same. */
  nodes?: readonly string[];
  /** Further words for each director. With them the directors announce by themselves, and no static announcer is started. */
  announce?: Readonly<Record<string, readonly string[]>>;
}

export interface Cluster {
  network: Network;
  placement: Placement;
  /** What was asked for; what really carries the packets is in `status`, said by the directors. */
  port: PortKind | 'auto';
  client: Agent;
  api: Api;
  roles: Map<string, Running>;
  servers: Map<string, Running>;
  plan: NetworkPlan;
  /** How a person runs `clb` from anywhere. */
  clbLine: string;
  /** Runs `clb` at the tenant's. */
  clb(...words: string[]): Promise<CommandOutcome>;
  /** Runs any program at the tenant's. */
  atClient(...words: string[]): Promise<CommandOutcome>;
  watch(nodes: readonly NodeName[], name: string): Watch;
  /** `flags` come behind those that the role always has. */
  startRole(name: string, flags?: readonly string[]): Promise<Running>;
  startServer(name: string): Promise<Running>;
  down(): void;
}

type RoleName = Exclude<NodeName, 'ctl'>;

const STAND_MS_MAX = 8000;

const NODE_ROLES: Record<RoleName, 'director' | 'proxy' | 'endpoint'> = {
  ld1: 'director',
  ld2: 'director',
  px1: 'proxy',
  px2: 'proxy',
  host1: 'endpoint',
  host2: 'endpoint',
  phys1: 'endpoint',
};

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const network = bringUpTopology(options);
  try {
    return await populate(network, options);
  } catch (error) {
    removeNetwork(network);
    throw error;
  }
}

async function populate(network: Network, options: ClusterOptions): Promise<Cluster> {
  const roles = new Map<string, Running>();
  const servers = new Map<string, Running>();
  const startRole = async (name: string, flags: readonly string[] = []): Promise<Running> => {
    const namespace = name === 'announcer' ? 'switch' : name;
    const running = startIn(network, namespace, name, [...roleCommand(network, name, options), ...flags]);
    roles.set(name, running);
    await waitReady(running);
    return running;
  };
  const startTarget = async (name: string): Promise<Running> => {
    const running = startServer(network, name, name, TARGET_PORT);
    servers.set(name, running);
    await waitReady(running);
    return running;
  };
  const controller = startRole('ctl');
  const targets = [...Object.keys(VMS), 'phys1', 'client'].map(startTarget);
  const [client] = await Promise.all([startAgent(network, 'client'), controller, ...targets]);
  const api = createApi(client);
  await api.must('PUT', '/v1/config', infrastructure(options.placement));
  const nodes = options.nodes ?? Object.keys(NODE_ROLES);
  const routing = options.announce === undefined ? ['announcer'] : [];
  await Promise.all([...nodes, ...routing].map((name) => startRole(name)));
  await nodesStand(api, nodes);
  return {
    network,
    plan: network.plan,
    clbLine: clbCommand().join(' '),
    placement: options.placement ?? {},
    port: options.port,
    client,
    api,
    roles,
    servers,
    startRole,
    startServer: startTarget,
    clb: (...words) => runAtClient(network, clbCommand(...words)),
    atClient: (...words) => runAtClient(network, words),
    watch: (nodes, name) => watchNodes(network, nodes, name),
    down: () => removeNetwork(network),
  };
}

/** What the operator tells the controller before any tenant comes: nodes, VPCs, and which VM runs where. */
function infrastructure(placement: Placement = {}): object {
  return {
    nodes: Object.entries(NODE_ROLES).map(([id, role]) => {
      const { v4, v6 } = NODES[id as NodeName];
      return { id, role, underlay: { v4, v6 }, ...(id === 'phys1' ? { physical: [v4, v6] } : {}) };
    }),
    vpcs: [
      { id: 100, name: 'tenant-a', cidrs: ['10.0.0.0/24', 'fd00:100::/64'] },
      { id: 200, name: 'tenant-b', cidrs: ['10.0.0.0/24', 'fd00:100::/64'] },
    ],
    instances: Object.values(VMS).map((vm) => ({
      id: `ins-${vm.name}`,
      name: vm.name,
      vpcId: vm.vpcId,
      addresses: [vm.v4, vm.v6],
      host: placement[vm.name] ?? vm.host,
      device: vm.device,
      mac: vm.mac,
    })),
  };
}

function roleCommand(network: Network, name: string, { port, announce }: ClusterOptions): string[] {
  const stateDir = join(network.directory, `state-${name}`);
  mkdirSync(stateDir, { recursive: true });
  const link = ['--controller', CONTROLLER_URL, '--token', JOIN_TOKEN, '--state-dir', stateDir];
  if (name === 'ctl') {
    const keys = ['--join-token', JOIN_TOKEN, '--api-key', API_KEY];
    const pools = ['--vip-pool', '203.0.113.0/25,2001:db8:113::/64', '--eip-pool', '203.0.113.128/25'];
    return clbCommand(
      'controller',
      '--listen',
      `0.0.0.0:${API_PORT}`,
      '--store',
      join(stateDir, 'desired.sqlite'),
      ...keys,
      ...pools,
    );
  }
  if (name === 'announcer') return clbCommand('announce', '--controller', CONTROLLER_URL, '--api-key', API_KEY);
  const role = NODE_ROLES[name as RoleName];
  if (role === 'proxy') link.push('--access-log', 'store');
  return clbCommand(role, '--id', name, '--device', 'eth0', '--port', port, ...link, ...(announce?.[name] ?? []));
}

/** Runs a command in the client's namespace, with what `clb` needs in its environment. */
function runAtClient(network: Network, words: readonly string[]): Promise<CommandOutcome> {
  const env = { ...process.env, CLB_CONTROLLER: CONTROLLER_URL, CLB_API_KEY: API_KEY };
  return runCommand(['ip', 'netns', 'exec', namespaceName(network, 'client'), ...words], env);
}

interface NodeView {
  id: string;
  connected: boolean;
  port: string | null;
  applied: object | null;
}

const views = async (api: Api): Promise<NodeView[]> =>
  (await api.must<{ nodes: NodeView[] }>('GET', '/v1/status')).nodes;

/** Waits until the controller hears every one of these nodes and each has applied an image. */
export async function nodesStand(api: Api, nodes: readonly string[]): Promise<void> {
  const missing = async (): Promise<string[]> => {
    const standing = (await views(api)).filter(
      ({ connected, port, applied }) => connected && port !== null && applied !== null,
    );
    return nodes.filter((name) => !standing.some(({ id }) => id === name));
  };
  if (await until(async () => (await missing()).length === 0, STAND_MS_MAX, 25)) return;
  throw new Error(`the controller hears nothing of ${(await missing()).join(', ')}`);
}

/** What carries each node's packets, told by the node itself through the controller. */
export async function portsInUse({ api }: Pick<Cluster, 'api'>): Promise<Record<string, string | null>> {
  return Object.fromEntries((await views(api)).map(({ id, port }) => [id, port]));
}
