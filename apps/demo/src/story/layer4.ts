// Lines 1 to 4 of the story: a balancer is made, both VMs are reached in GRE, VPCs are never mixed, a physical server answers through IPIP.
import type { Outcome } from '../client.ts';
import { vmAnswer } from '../agent.ts';
import { portsInUse } from '../cluster.ts';
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { CLIENT, NODES, TARGET_PORT, VIP, VMS } from '../topology.ts';
import { kernelReceives, routed, tally } from '../watch.ts';
import type { Seen } from '../watch.ts';

/** Interval 2 s, thresholds 2: what the story's line about a dying target needs. */
export const QUICK_CHECK = {
  type: 'tcp',
  intervalSeconds: 2,
  timeoutSeconds: 1,
  healthyThreshold: 2,
  unhealthyThreshold: 2,
};
export const WEIGHTS = { 'vm-a1': 10, 'vm-a2': 30 } as const;
const APPLIED_MS_MAX = 1000;

interface Status {
  revision: number;
  generation: { revision: number };
  applied: boolean;
  nodes: { id: string; role: string; live: boolean; port: string | null; applied: { revision: number } | null }[];
}

/** Waits until all live nodes have applied the revision; returns what `status` says then. */
export async function applied(cluster: Cluster, revision: number): Promise<Status> {
  return cluster.api.must<Status>('GET', `/v1/status?wait=${revision}&timeoutMs=8000`);
}

/** Applied by the nodes and routed by the switch: from now on a failure is a failure. */
export async function served(cluster: Cluster, revision: number, ...addresses: string[]): Promise<void> {
  await applied(cluster, revision);
  for (const address of addresses) {
    if (!(await routed(cluster.network, address, 2)))
      throw new Error(`the announcer does not route ${address} to both directors`);
  }
}

export interface BalancerPlan {
  id: string;
  vips: string[];
  port: number;
  targets: { instance?: string; physical?: string; port: number; weight?: number }[];
  protocol?: 'TCP' | 'UDP';
  scheduler?: string;
}

/** A load balancer with one listener, made with three calls as a tenant makes it; returns the last revision. */
export async function createBalancer({ api }: Cluster, plan: BalancerPlan): Promise<number> {
  await api.must('POST', '/v1/load-balancers', { id: `lb-${plan.id}`, name: plan.id, vips: plan.vips });
  return addListener({ api }, plan);
}

export async function addListener({ api }: Pick<Cluster, 'api'>, plan: BalancerPlan, name = plan.id): Promise<number> {
  await api.must('POST', '/v1/target-groups', {
    id: `lbtg-${name}`,
    name,
    healthCheck: QUICK_CHECK,
    targets: plan.targets,
  });
  const listener = await api.must<{ revision: number }>('POST', '/v1/listeners', {
    id: `lbl-${name}`,
    loadBalancer: `lb-${plan.id}`,
    protocol: plan.protocol ?? 'TCP',
    port: plan.port,
    targetGroup: `lbtg-${name}`,
    ...(plan.scheduler ? { scheduler: plan.scheduler } : {}),
  });
  return listener.revision;
}

const weighted = (names: readonly (keyof typeof WEIGHTS)[]): BalancerPlan['targets'] =>
  names.map((name) => ({ instance: `ins-${name}`, port: TARGET_PORT, weight: WEIGHTS[name] }));

export async function tenantCreates(cluster: Cluster, tell: Teller): Promise<void> {
  const started = performance.now();
  const revision = await createBalancer(cluster, {
    id: 'a',
    vips: [VIP.a, VIP.a6],
    port: 80,
    targets: weighted(['vm-a1', 'vm-a2']),
  });
  const calls = performance.now() - started;
  const beforeWait = performance.now();
  const status = await applied(cluster, revision);
  const waited = performance.now() - beforeWait;
  const directors = status.nodes.filter(({ role }) => role === 'director');
  const behind = directors.filter((node) => !node.live || (node.applied?.revision ?? -1) < revision);
  tell.claim(
    'a load balancer, a listener and two targets made through the API serve on both directors in under 1 s',
    behind.length === 0 && directors.length === 2 && waited < APPLIED_MS_MAX,
    `three calls took ${calls.toFixed(0)} ms; revision ${revision} applied ${waited.toFixed(0)} ms after the last answer`,
  );
  tell.claim(
    'status shows the generation that every node serves from',
    status.applied && status.generation.revision >= revision,
    directors
      .map(({ id, applied: generation, port }) => `${id}: generation ${generation?.revision}, packets by ${port}`)
      .join('; '),
  );
  const refused = await cluster.api.ask('POST', '/v1/listeners', {
    loadBalancer: 'lb-a',
    protocol: 'TCP',
    port: 80_000,
  });
  tell.claim(
    'a wrong body is refused with the field and the rule that it breaks',
    refused.status === 400 && JSON.stringify(refused.body).includes('port'),
    `400: ${String((refused.body as { detail?: string }).detail)}`,
  );
}

export const nameOf = (outcome: Outcome): string =>
  vmAnswer(outcome)?.name ?? outcome.error ?? `status ${outcome.status}`;

export async function reachedByWeight(
  cluster: Cluster,
  tell: Teller,
  requests = 600,
  family: 'v4' | 'v6' = 'v4',
): Promise<void> {
  const [vip, client] = family === 'v4' ? [VIP.a, CLIENT.v4] : [VIP.a6, CLIENT.v6];
  if (!(await routed(cluster.network, vip, 2)))
    throw new Error(`the announcer does not route ${vip} to both directors`);
  const watch = cluster.watch(['ld1', 'ld2', 'host1', 'host2'], `weights-${family}`);
  const stackBefore = stackReceives(cluster);
  const outcomes = await cluster.client.run(
    Array.from({ length: requests }, () => ({ kind: 'http' as const, address: vip, port: 80 })),
  );
  const throughStack = stackReceives(cluster) - stackBefore;
  const { seen, faults } = watch.stop();
  const { counts, text } = tally(outcomes.map(nameOf));
  const share = (counts['vm-a1'] ?? 0) / requests;
  const expected = WEIGHTS['vm-a1'] / (WEIGHTS['vm-a1'] + WEIGHTS['vm-a2']);
  const answered = (counts['vm-a1'] ?? 0) + (counts['vm-a2'] ?? 0);
  tell.claim(
    `the client reaches vm-a1 and vm-a2 by weight 10 : 30, without one failure`,
    answered === requests && Math.abs(share - expected) < 0.07,
    `${requests} connections over IP${family}: ${text}`,
  );
  const own = outcomes.filter((outcome) => {
    const answer = vmAnswer(outcome);
    return answer?.peer === client && answer.peerPort === outcome.localPort;
  });
  tell.claim(
    "each VM sees the client's own address and port",
    own.length === requests,
    `${own.length} of ${requests} answers name the client`,
  );
  await claimGre(cluster, tell, seen, 100, client);
  claimBothCarry(tell, seen);
  const toDirectors = seen.filter(({ node, isFromNode }) => node.startsWith('ld') && !isFromNode).length;
  await claimPort(cluster, tell, throughStack, toDirectors);
  tell.claim(
    'every checksum on the wire is right, inside the tunnels as well',
    faults.length === 0,
    faults[0] ?? `${seen.length} packets verified`,
  );
}

const stackReceives = ({ network }: Cluster): number => kernelReceives(network, 'ld1') + kernelReceives(network, 'ld2');

/** AF_XDP takes packets before the kernel's stack, AF_PACKET beside it: the stack's own counter tells which it really was. */
async function claimPort(cluster: Cluster, tell: Teller, throughStack: number, packets: number): Promise<void> {
  const ports = await portsInUse(cluster);
  const said = `ld1 says ${ports['ld1']}, ld2 says ${ports['ld2']}`;
  const counted = `of ${packets} packets towards the directors their kernels' stacks received ${throughStack}`;
  const isXdp = ports['ld1']?.startsWith('xdp') === true && ports['ld2']?.startsWith('xdp') === true;
  if (isXdp)
    tell.claim(
      'AF_XDP carries the packets: the kernel never sees them',
      throughStack < packets / 20,
      `${said}; ${counted}`,
    );
  else
    tell.claim(
      'the packets are carried by the port that the directors name',
      ports['ld1']?.startsWith('packet') === true && throughStack > packets / 2,
      `${said}; ${counted}`,
    );
}

/** The tunnel addresses that the controller gave to each director. */
async function tunnelsOf({ api }: Cluster): Promise<Record<string, string[]>> {
  const { directors } = await api.must<{ directors: { id: string; tunnels: { v4?: string; v6?: string }[] }[] }>(
    'GET',
    '/v1/announcements',
  );
  const addresses = (pair: { v4?: string; v6?: string }): string[] =>
    [pair.v4, pair.v6].filter((one) => one !== undefined);
  return Object.fromEntries(directors.map(({ id, tunnels }) => [id, tunnels.flatMap(addresses)]));
}

/** Director → host and back is GRE with the VPC id as key, between the tunnel address and the host; probes are left out. */
async function claimGre(
  cluster: Cluster,
  tell: Teller,
  seen: readonly Seen[],
  vpcId: number,
  client: string,
): Promise<void> {
  const tunnels = await tunnelsOf(cluster);
  const hosts: string[] = [NODES.host1.v4, NODES.host2.v4, NODES.host1.v6, NODES.host2.v6];
  const fromDirectors = seen.filter(({ node, isFromNode }) => node.startsWith('ld') && isFromNode);
  const inbound = fromDirectors.filter(({ ip }) => ip.inner?.source === client);
  const naked = fromDirectors.filter(({ ip }) => ip.source === client);
  const good = inbound.filter(
    ({ node, ip }) =>
      ip.gre?.key === vpcId && hosts.includes(ip.destination) && tunnels[node]?.includes(ip.source) && ip.ttl === 64,
  );
  const ends = tally(inbound.map(({ node, ip }) => `${node} ${ip.source} → ${ip.destination}`));
  tell.claim(
    'between director and host the packets are GRE: key = VPC id, source = the tunnel address, destination = the host',
    good.length > 0 && good.length === inbound.length && naked.length === 0,
    `${good.length} of ${inbound.length} packets have key ${vpcId}, ${naked.length} went without a tunnel; ${ends.text}`,
  );
  const tunnelByPort = new Map(inbound.map(({ ip }) => [ip.inner?.tcp?.sourcePort, ip.source]));
  const replies = seen.filter(
    ({ node, isFromNode, ip }) => node.startsWith('host') && isFromNode && ip.inner?.destination === client,
  );
  const back = replies.filter(
    ({ ip }) => ip.gre?.key === vpcId && tunnelByPort.get(ip.inner?.tcp?.destinationPort) === ip.destination,
  );
  tell.claim(
    'each reply comes back through the tunnel address that carried its flow',
    back.length > 0 && back.length === replies.length,
    `${back.length} of ${replies.length} packets`,
  );
}

function claimBothCarry(tell: Teller, seen: readonly Seen[]): void {
  const syns = seen.filter(({ node, isFromNode, ip }) => node.startsWith('ld') && !isFromNode && ip.tcp?.flags === 'S');
  const { counts, text } = tally(syns.map(({ node }) => node));
  const least = Math.min(counts['ld1'] ?? 0, counts['ld2'] ?? 0) / Math.max(1, syns.length);
  tell.claim(
    'both directors carry traffic: more than 30 % of the connections each',
    least > 0.3,
    `connections opened: ${text}`,
  );
}

export async function neverMixed(cluster: Cluster, tell: Teller, pairs = 200): Promise<void> {
  await createBalancer(cluster, {
    id: 'b',
    vips: [VIP.b],
    port: 80,
    targets: [{ instance: 'ins-vm-b1', port: TARGET_PORT }],
  });
  const revision = await addListener(
    cluster,
    { id: 'a', vips: [], port: 81, targets: [{ instance: 'ins-vm-a1', port: TARGET_PORT }] },
    'a-81',
  );
  await served(cluster, revision, VIP.a, VIP.b);
  const watch = cluster.watch(['ld1', 'ld2'], 'never-mixed');
  const path = '/hold/20';
  const orders = Array.from({ length: pairs }, (_, index) => 20_000 + index).flatMap((localPort) => [
    { kind: 'http' as const, address: VIP.a, port: 81, localPort, path },
    { kind: 'http' as const, address: VIP.b, port: 80, localPort, path },
  ]);
  const outcomes = await cluster.client.run(orders, { concurrency: 32 });
  const { seen } = watch.stop();
  const right = outcomes.filter((outcome, index) => {
    const answer = vmAnswer(outcome);
    const isToA = orders[index]?.address === VIP.a;
    return (
      answer?.name === (isToA ? 'vm-a1' : 'vm-b1') &&
      answer.peer === CLIENT.v4 &&
      answer.peerPort === orders[index]?.localPort
    );
  });
  const { text } = tally(outcomes.map((outcome, index) => `${orders[index]?.address} → ${nameOf(outcome)}`));
  tell.claim(
    `vm-a1 and vm-b1 are both ${VMS['vm-a1'].v4}, in two VPCs, and are never mixed: same client address and port towards both at the same time`,
    right.length === orders.length,
    `${pairs} pairs of connections: ${text}`,
  );
  const inner = (key: number): Set<string> =>
    new Set(
      seen
        .filter(({ isFromNode, ip }) => isFromNode && ip.gre?.key === key && ip.inner?.tcp?.flags === 'S')
        .map(({ ip }) => tupleOf(ip.inner)),
    );
  const [first, second] = [inner(100), inner(200)];
  const common = [...first].filter((tuple) => second.has(tuple));
  tell.claim(
    'inside the tunnels the two flows of a pair are equal to the last bit of the 5-tuple; only the key tells them apart',
    common.length === pairs,
    `${common.length} of ${pairs} tuples seen under key 100 and key 200, for example ${common[0] ?? 'none'}`,
  );
}

const tupleOf = (ip: Seen['ip'] | undefined): string =>
  `${ip?.source}:${ip?.tcp?.sourcePort} → ${ip?.destination}:${ip?.tcp?.destinationPort}`;

export async function physicalServer(cluster: Cluster, tell: Teller, requests = 120): Promise<void> {
  const targets = [
    { physical: NODES.phys1.v4, port: TARGET_PORT, weight: 10 },
    { instance: 'ins-vm-a1', port: TARGET_PORT, weight: 10 },
  ];
  const revision = await createBalancer(cluster, { id: 'mixed', vips: [VIP.mixed], port: 80, targets });
  await served(cluster, revision, VIP.mixed);
  const watch = cluster.watch(['ld1', 'ld2', 'phys1'], 'physical');
  const outcomes = await cluster.client.run(
    Array.from({ length: requests }, () => ({ kind: 'http' as const, address: VIP.mixed, port: 80 })),
  );
  const { seen } = watch.stop();
  const { counts, text } = tally(outcomes.map(nameOf));
  tell.claim(
    'one listener mixes a VM in a VPC and a physical server',
    (counts['phys1'] ?? 0) > requests * 0.25 &&
      (counts['vm-a1'] ?? 0) > requests * 0.25 &&
      (counts['phys1'] ?? 0) + (counts['vm-a1'] ?? 0) === requests,
    text,
  );
  const peers = outcomes.map(vmAnswer).filter((answer) => answer?.name === 'phys1');
  const isOwn = peers.every((answer) => answer?.peer === CLIENT.v4 && answer.local === NODES.phys1.v4);
  tell.claim(
    "the physical server sees the client's own address",
    peers.length > 0 && isOwn,
    `${peers.length} answers, local address ${peers[0]?.local}`,
  );
  const there = seen.filter(
    ({ node, isFromNode, ip }) => node === 'phys1' && !isFromNode && ip.inner?.tcp?.destinationPort === TARGET_PORT,
  );
  const back = seen.filter(
    ({ node, isFromNode, ip }) => node === 'phys1' && isFromNode && ip.inner?.tcp?.sourcePort === TARGET_PORT,
  );
  const plain = seen.filter(
    ({ node, ip }) =>
      node === 'phys1' && (ip.tcp?.destinationPort === TARGET_PORT || ip.tcp?.sourcePort === TARGET_PORT),
  );
  tell.claim(
    'IPIP both ways: to the server and back to the tunnel address, nothing beside it',
    there.length > 0 &&
      back.length > 0 &&
      plain.length === 0 &&
      [...there, ...back].every(({ ip }) => ip.protocol === 4),
    `${there.length} packets in, ${back.length} back, ${plain.length} outside the tunnel`,
  );
}
