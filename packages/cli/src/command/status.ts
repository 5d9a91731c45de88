// clb status and clb health: what the controller knows about its nodes, its load balancers and their targets.
import type { Status, TargetHealth } from '@openclb/model';
import { defineCommand } from '../command.ts';
import { ExitStatus } from '../errors.ts';
import { table } from '../output.ts';
import { itemsOf } from '../resources.ts';
import { problemsOf } from './apply.ts';

export const status = defineCommand({
  name: 'status',
  group: 'look into',
  summary: 'show the revision, every node and what it applied',
  text: 'Exit status 1 when a live node has not applied the newest generation or a load balancer does not compile.',
  arguments: [],
  flags: {
    wait: {
      schema: { type: 'integer', minimum: 0, description: 'first wait until this revision is applied' },
      value: 'REVISION',
    },
    timeout: {
      schema: { type: 'integer', minimum: 1, maximum: 30, default: 15, description: 'seconds to wait' },
      value: 'SECONDS',
    },
  },
  connects: true,
  examples: ['clb status', 'clb status --wait 12 --json'],
  async run({ flags }, context) {
    const query = flags.wait === undefined ? {} : { wait: flags.wait, timeoutMs: flags.timeout * 1000 };
    const answer = await context.connect().call<Status>('GET', '/v1/status', { query });
    context.out.answer(answer, renderStatus);
    return answer.applied && answer.loadBalancers.every((one) => one.compiled) ? ExitStatus.ok : ExitStatus.failed;
  },
});

export function renderStatus(one: Status): string {
  const head = `revision ${one.revision}, generation ${one.generation.revision}.${one.generation.compiler}, ${one.applied ? 'applied everywhere' : 'not applied everywhere'}`;
  const parts = [head, ''];
  if (one.nodes.length === 0) parts.push('no nodes');
  else {
    const rows = one.nodes.map((node) => [
      node.id,
      node.role,
      node.live ? (node.draining ? 'draining' : 'live') : 'dead',
      node.port,
      node.applied === null ? '-' : `${node.applied.revision}.${node.applied.compiler}`,
    ]);
    parts.push(table(['NODE', 'ROLE', 'STATE', 'PACKETS BY', 'GENERATION'], rows));
  }
  parts.push('');
  if (one.loadBalancers.length === 0) parts.push('no load balancers');
  else {
    const rows = one.loadBalancers.map((lb) => [lb.id, lb.name, lb.compiled ? 'compiled' : 'kept back']);
    parts.push(table(['LOAD BALANCER', 'NAME', 'STATE'], rows));
  }
  const problems = problemsOf(one);
  if (problems.length > 0) parts.push('', ...problems);
  return parts.join('\n');
}

export const health = defineCommand({
  name: 'health',
  group: 'look into',
  summary: 'show the health of every target, and how each node sees it',
  arguments: [],
  flags: {},
  connects: true,
  examples: ['clb health'],
  async run(_input, context) {
    const answer = await context.connect().call<unknown>('GET', '/v1/health');
    context.out.answer(answer, (value) => renderHealth(itemsOf(value) as unknown as TargetHealth[]));
    return ExitStatus.ok;
  },
});

function renderHealth(targets: readonly TargetHealth[]): string {
  if (targets.length === 0) return 'no targets';
  const rows = targets.map((target) => [
    target.targetGroup,
    target.target,
    target.state,
    target.nodes.map((node) => `${node.node}=${node.state}`),
  ]);
  return table(['TARGET GROUP', 'TARGET', 'STATE', 'BY NODE'], rows);
}
