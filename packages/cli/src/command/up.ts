// clb up: a whole load balancer from one file, in one process, which follows the file.
import { accessLogFlags, openAccessLog } from '../access-log.ts';
import { parseHostPort } from '../address.ts';
import { type Context, defineCommand } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { CliError, sentenceOf } from '../errors.ts';
import { createLog } from '../log.ts';
import { loadPlugins } from '../plugins.ts';
import { logFlag, packetFlags, pluginFlag, runRole, startAll } from '../role.ts';
import { type Applied, up as startUp, type Up } from '../up/up.ts';
import { watchFile } from '../up/watch.ts';

export const up = defineCommand({
  name: 'up',
  group: 'one box',
  summary: 'run a load balancer from one file',
  text: [
    'Controller and proxy in one process, the same code as a cluster; no root needed. HTTP, HTTPS and TCP_SSL listeners work',
    'as in a cluster; TCP and UDP listeners are relayed. VIPs of the file are addresses of this machine to listen on. The',
    'file is watched: a change is applied live, and while it is wrong the last good configuration goes on serving.',
    '',
    'With --device (root, or a user namespace) a director runs on that device, too. Load balancers with TCP and UDP listeners',
    'only, whose VIPs are routed to this machine without being its addresses, are then forwarded packet by packet: targets see',
    'the client itself, and this machine must be their gateway.',
  ].join('\n'),
  arguments: [],
  flags: {
    file: {
      schema: { type: 'string', description: 'YAML or JSON file, or .ts or .js module' },
      value: 'FILE',
      short: 'f',
      required: true,
    },
    'no-watch': { schema: { type: 'boolean', description: 'do not follow the file' } },
    api: {
      schema: { type: 'string', description: 'serve the API here, for clb status, get and others' },
      value: 'HOST:PORT',
    },
    device: {
      ...packetFlags.device,
      required: false,
      text: 'run a director on this network device; absent: TCP and UDP are relayed',
    },
    port: packetFlags.port,
    'api-key': {
      schema: { type: 'string', description: 'key of the API; without one clb makes one and prints it' },
      value: 'KEY',
      env: 'CLB_API_KEY',
    },
    ...pluginFlag,
    ...accessLogFlags,
    log: { ...logFlag.log, schema: { ...logFlag.log.schema, default: 'warn' } },
  },
  connects: false,
  examples: [
    'clb up -f lb.yaml',
    'clb up -f lb.yaml --device eth0',
    'clb up -f lb.yaml --api 127.0.0.1:7000 --api-key let-me-in',
  ],
  async run({ flags }, context) {
    const log = createLog((text) => context.out.log(text), flags.log, context.out.isJson);
    const api = flags.api === undefined ? undefined : parseHostPort(flags.api, '--api');
    const config = await loadConfig(flags.file);
    return runRole(context, {
      name: 'clb up',
      start: (giveUp) =>
        startAll(async (stack) => {
          const pluginHost = await loadPlugins(flags.plugin ?? [], log);
          const accessLog = await openAccessLog(flags, undefined, log);
          const box = stack.add(
            await startUp({
              config,
              pluginHost,
              accessLog,
              signal: context.signal,
              log,
              port: flags.port,
              onGiveUp: giveUp,
              ...(flags.device === undefined ? {} : { device: flags.device }),
              ...(api === undefined ? {} : { api }),
              ...(flags['api-key'] === undefined ? {} : { apiKey: flags['api-key'] }),
            }),
          );
          if (flags['no-watch'] !== true && flags.file !== '-')
            stack.add(watchFile(flags.file, () => follow(context, box, flags.file)));
          return { box };
        }),
      ready: ({ box }) => {
        const shown = api === undefined ? {} : { api: box.api.url, apiKey: box.api.key };
        return {
          facts: { role: 'up', file: flags.file, port: box.port, ...shown, problems: box.first.problems },
          text: readyText(flags.file, box, api !== undefined),
        };
      },
    });
  },
});

function readyText(file: string, box: Up, isApiShown: boolean): string {
  const count = box.first.status.loadBalancers.length;
  const lines = [
    `${file}, ${count} load balancer${count === 1 ? '' : 's'}${box.port === null ? '' : `, packets by ${box.port}`}${isApiShown ? `, API on ${box.api.url} with key ${box.api.key}` : ''}`,
  ];
  return [...lines, ...box.first.problems.map((problem) => `  ${problem}`)].join('\n');
}

/** One change of the file. Nothing that is wrong with it may end the process. */
async function follow(context: Context, box: Up, file: string): Promise<void> {
  try {
    const applied = await box.apply(await loadConfig(file));
    const { revision } = applied.result;
    if (applied.result.created.length + applied.result.updated.length + applied.result.deleted.length === 0) return;
    context.out.event({ event: 'applied', file, revision, problems: applied.problems }, appliedText(file, applied));
  } catch (error) {
    if (context.signal.aborted) return;
    const hint = error instanceof CliError ? error.hint : undefined;
    const reason = sentenceOf(error);
    context.out.event(
      { event: 'refused', file, reason, hint },
      `refused: ${reason}\nthe last good configuration goes on serving${hint === undefined ? '' : `; ${hint}`}`,
    );
  }
}

function appliedText(file: string, { result, status, problems }: Applied): string {
  const counts = `${result.created.length} created, ${result.updated.length} updated, ${result.deleted.length} deleted`;
  const head = status.applied ? `applied: ${file}, ${counts}` : `not applied yet: ${file}, ${counts}`;
  return [head, ...problems.map((problem) => `  ${problem}`)].join('\n');
}
