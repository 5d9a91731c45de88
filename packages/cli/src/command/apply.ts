// clb apply: the whole desired state from a file to the controller, in one transaction, and on to every live node.
import { setTimeout as wait } from 'node:timers/promises';
import type { ConfigResult, Status } from '@openclb/model';
import { type Client, ProblemError } from '../client.ts';
import { defineCommand } from '../command.ts';
import { loadConfig, type LoadedConfig, placeProblem } from '../config/load.ts';
import { ExitStatus } from '../errors.ts';

/** A refusal does not end the controller's own wait, so it is asked again and again. */
const WAIT_SLICE_MS = 500;
const WAIT_AGAIN_MS = 20;

export const apply = defineCommand({
  name: 'apply',
  group: 'configure',
  summary: 'make the desired state what a file says',
  text: [
    'A section of the file replaces what is stored; an absent section is left alone. All of it is applied or nothing.',
    'Then clb waits until every live node applied it.',
  ].join('\n'),
  arguments: [],
  flags: {
    file: {
      schema: { type: 'string', description: 'YAML or JSON file, .ts or .js module, or - for standard input' },
      value: 'FILE',
      short: 'f',
      required: true,
    },
    'dry-run': { schema: { type: 'boolean', description: 'only check the file' } },
    'no-wait': { schema: { type: 'boolean', description: 'do not wait for the nodes' } },
    timeout: {
      schema: { type: 'integer', minimum: 1, maximum: 30, default: 15, description: 'seconds to wait for the nodes' },
      value: 'SECONDS',
    },
  },
  connects: true,
  examples: ['clb apply -f lb.yaml', 'clb apply -f lb.yaml --dry-run'],
  async run({ flags }, context) {
    const loaded = await loadConfig(flags.file);
    if (flags['dry-run'] === true) {
      context.out.answer({ valid: true, file: flags.file }, () => `${flags.file} is valid`);
      return ExitStatus.ok;
    }
    const client = context.connect();
    const result = await putConfig(client, loaded);
    const status = flags['no-wait'] === true ? null : await waitApplied(client, result.revision, flags.timeout * 1000);
    context.out.answer({ ...result, applied: status?.applied ?? null }, () => renderResult(result, status));
    return status !== null && !status.applied ? ExitStatus.failed : ExitStatus.ok;
  },
});

/** Sends the document; a refusal that names a field comes back with its line and column. */
export async function putConfig(client: Client, loaded: LoadedConfig): Promise<ConfigResult> {
  try {
    return await client.call<ConfigResult>('PUT', '/v1/config', { body: loaded.config });
  } catch (error) {
    if (error instanceof ProblemError && error.problem.field !== undefined) {
      throw placeProblem(loaded.source, error.problem.field, error.message);
    }
    throw error;
  }
}

/** Waits until every live node applied the revision, one refused it, or the time is over. `nodes` must be live, too. */
export async function waitApplied(
  client: Client,
  revision: number,
  timeoutMs: number,
  ...nodes: readonly string[]
): Promise<Status> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const slice = Math.min(WAIT_SLICE_MS, Math.max(1, Math.round(deadline - performance.now())));
    const status = await client.call<Status>('GET', '/v1/status', { query: { wait: revision, timeoutMs: slice } });
    const isRefused = status.nodes.some((one) => one.refused !== null && one.refused.generation.revision >= revision);
    const isLive = (id: string): boolean => status.nodes.some((one) => one.id === id && one.live);
    const isServed = status.applied && nodes.every(isLive);
    if (isServed || isRefused || performance.now() >= deadline) return status;
    // Applied everywhere, but the node that matters has not said a word yet.
    if (status.applied) await wait(WAIT_AGAIN_MS);
  }
}

function renderResult(result: ConfigResult, status: Status | null): string {
  const changes = [
    `${result.created.length} created`,
    `${result.updated.length} updated`,
    `${result.deleted.length} deleted`,
    `${result.unchanged} unchanged`,
  ];
  const lines = [`revision ${result.revision}: ${changes.join(', ')}`];
  if (status === null) return lines.join('\n');
  const live = status.nodes.filter((node) => node.live);
  if (status.applied)
    lines.push(live.length === 0 ? 'no live node yet' : `applied on ${live.map((node) => node.id).join(', ')}`);
  for (const problem of problemsOf(status)) lines.push(problem);
  return lines.join('\n');
}

/** What a status has to complain about, one line each. */
export function problemsOf(status: Status): string[] {
  const lines: string[] = [];
  for (const one of status.loadBalancers) {
    if (!one.compiled)
      lines.push(`${one.id}: not compiled, the last good state serves: ${one.problem ?? 'no reason given'}`);
    for (const warning of one.warnings) lines.push(`${one.id}: ${warning}`);
  }
  for (const node of status.nodes) {
    if (node.refused !== null)
      lines.push(`${node.id}: refused revision ${node.refused.generation.revision}: ${node.refused.reason}`);
    for (const alarm of node.alarms) lines.push(`${node.id}: ${alarm}`);
  }
  // Older revisions are overtaken by the newest one.
  const task = status.tasks.at(-1);
  if (task?.state === 'running') lines.push(`revision ${task.revision}: waiting for ${task.waitingFor.join(', ')}`);
  if (task?.state === 'failed' && !lines.some((line) => line.includes('refused revision'))) {
    lines.push(`revision ${task.revision}: failed: ${task.reason ?? 'no reason given'}`);
  }
  return [...lines, ...status.warnings];
}
