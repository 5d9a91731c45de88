// clb endpoint: the far end of the tunnels on a VM host or a physical server, as a process.
import { NodeInput } from '@openclb/model';
import { defineCommand } from '../command.ts';
import { createLog } from '../log.ts';
import { nodeFamilies } from '../metrics/packet.ts';
import { metricsFlag, withMetrics } from '../metrics/serve.ts';
import { logFlag, nodeFlags, packetFlags, runRole } from '../role.ts';

export const endpoint = defineCommand({
  name: 'endpoint',
  group: 'roles',
  summary: 'run an endpoint: deliver tunnelled packets to the VMs of a host, or to a physical server itself',
  arguments: [],
  flags: {
    id: { schema: NodeInput.properties.id, value: 'ID', required: true },
    ...packetFlags,
    inside: {
      schema: { enum: ['auto', 'tun', 'veth'], default: 'auto' },
      text: 'how packets for this machine itself reach its kernel (physical servers and proxies)',
    },
    ...nodeFlags,
    ...metricsFlag,
    ...logFlag,
  },
  connects: false,
  examples: [
    'clb endpoint --id host1 --device eth0 --controller http://192.0.2.1:7000 --token join-me --state-dir /var/lib/clb',
  ],
  async run({ flags }, context) {
    const { startEndpoint } = await import('@openclb/l4');
    return runRole(context, {
      name: `endpoint ${flags.id}`,
      start: async () =>
        withMetrics(
          await startEndpoint({
            id: flags.id,
            controller: { url: flags.controller, token: flags.token },
            stateDir: flags['state-dir'],
            device: flags.device,
            port: flags.port,
            inside: flags.inside,
            log: createLog((text) => context.out.log(text), flags.log, context.out.isJson),
          }),
          flags.metrics,
          (role) => nodeFamilies(role.counters()),
        ),
      ready: ({ role, metrics }) => ({
        facts: { role: 'endpoint', id: flags.id, port: role.port, device: flags.device, metrics },
        text: `endpoint ${flags.id}, packets by ${role.port} (${flags.device})`,
      }),
    });
  },
});
