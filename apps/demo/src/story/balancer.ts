// What a tenant does through the API, and line 1 of the story: a load balancer is made and serves on both directors in under a second.
import { vmAnswer } from '../agent.ts';
import type { Outcome } from '../client.ts';
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { TARGET_PORT, VIP } from '../topology.ts';
import { routed } from '../watch.ts';

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

export const nameOf = (outcome: Outcome): string =>
  vmAnswer(outcome)?.name ?? outcome.error ?? `status ${outcome.status}`;

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
