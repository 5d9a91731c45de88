// clb proxy: a layer-7 reverse proxy with its own endpoint, as a process.
import { NodeInput } from '@openclb/model';
import { accessLogFlags, openAccessLog } from '../access-log.ts';
import { defineCommand } from '../command.ts';
import { createLog } from '../log.ts';
import { nodeFamilies } from '../metrics/packet.ts';
import { metricsFlag, serveMetrics } from '../metrics/serve.ts';
import { loadPlugins } from '../plugins.ts';
import { startProxyNode } from '../proxy-node.ts';
import { logFlag, nodeFlags, packetFlags, pluginFlag, runRole, startAll } from '../role.ts';

export const proxy = defineCommand({
  name: 'proxy',
  group: 'roles',
  summary: 'run a proxy: HTTP, HTTPS and TLS listeners',
  text: [
    'With a device it runs its own endpoint, through which its sockets reach targets inside VPCs; without one it reaches',
    'targets by plain routing.',
  ].join('\n'),
  arguments: [],
  flags: {
    id: { schema: NodeInput.properties.id, value: 'ID', required: true },
    device: {
      ...packetFlags.device,
      required: false,
      text: 'network device of the underlay; absent: no endpoint, plain routing',
    },
    port: packetFlags.port,
    inside: {
      schema: { enum: ['auto', 'tun', 'veth'], default: 'auto' },
      text: 'how packets of the endpoint reach the kernel of this machine',
    },
    workers: {
      schema: { type: 'integer', minimum: 1, maximum: 31, default: 1, description: 'threads that serve connections' },
      value: 'N',
    },
    ...nodeFlags,
    ...pluginFlag,
    ...accessLogFlags,
    ...metricsFlag,
    ...logFlag,
  },
  connects: false,
  examples: [
    'clb proxy --id px1 --device eth0 --controller http://192.0.2.1:7000 --token join-me --state-dir /var/lib/clb',
  ],
  async run({ flags }, context) {
    const log = createLog((text) => context.out.log(text), flags.log, context.out.isJson);
    return runRole(context, {
      name: `proxy ${flags.id}`,
      start: (giveUp) =>
        startAll(async (stack) => {
          const plugins = stack.add(await loadPlugins(flags.plugin ?? [], log));
          const accessLog = await openAccessLog(flags, flags['state-dir'], log);
          const { port, counters } = stack.add(
            await startProxyNode({
              id: flags.id,
              controller: { url: flags.controller, token: flags.token },
              stateDir: flags['state-dir'],
              ...(flags.device === undefined ? {} : { device: flags.device }),
              port: flags.port,
              inside: flags.inside,
              bind: 'wildcard',
              plugins,
              accessLog,
              pluginNames: flags.plugin ?? [],
              workers: flags.workers,
              log,
              onGiveUp: giveUp,
            }),
          );
          const metrics =
            flags.metrics === undefined
              ? undefined
              : stack.add(await serveMetrics(flags.metrics, () => nodeFamilies(counters())));
          return { port, metrics: metrics?.url };
        }),
      ready: ({ port, metrics }) => ({
        facts: { role: 'proxy', id: flags.id, port, device: flags.device, metrics },
        text: `proxy ${flags.id}, packets by ${port}${flags.device === undefined ? '' : ` (${flags.device})`}`,
      }),
    });
  },
});
