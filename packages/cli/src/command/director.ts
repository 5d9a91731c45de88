// clb director: one all-active packet forwarder, as a process.
import { NodeInput } from '@openclb/model';
import { announceFlags, birdOptionsOf } from '../announce-flags.ts';
import { defineCommand } from '../command.ts';
import { createLog } from '../log.ts';
import { nodeFamilies } from '../metrics/packet.ts';
import { metricsFlag, withMetrics } from '../metrics/serve.ts';
import { logFlag, nodeFlags, packetFlags, runRole } from '../role.ts';

export const director = defineCommand({
  name: 'director',
  group: 'roles',
  summary: 'run a director: forward packets for VIPs',
  text: [
    'The port carries the packets: xdp (root), packet (AF_PACKET; also in a user namespace), tun. auto takes the first that',
    'this machine allows, and the ready line says which. VIPs are announced by BGP or OSPF with --bgp or --ospf; without them',
    'by clb announce beside the switch.',
  ].join('\n'),
  arguments: [],
  flags: {
    id: { schema: NodeInput.properties.id, value: 'ID', required: true },
    ...packetFlags,
    flows: {
      schema: { type: 'integer', minimum: 1024, maximum: 16_777_216, description: 'most flows at one time' },
      value: 'N',
    },
    sync: {
      schema: {
        type: 'string',
        enum: ['unicast', 'multicast', 'off'],
        description: 'how the other directors hear of flows: unicast (default), multicast, off',
      },
      value: 'HOW',
    },
    'high-load-cpu': {
      schema: {
        type: 'integer',
        minimum: 1,
        maximum: 100,
        description: 'percent of a CPU that packets may take before services are limited; 85 by default',
      },
      value: 'PERCENT',
    },
    'high-load-packets': {
      schema: {
        type: 'integer',
        minimum: 1000,
        maximum: 1_000_000_000,
        description: 'packets a second before services are limited; no such number by default',
      },
      value: 'N',
    },
    ...announceFlags,
    ...nodeFlags,
    ...metricsFlag,
    ...logFlag,
  },
  connects: false,
  examples: [
    'clb director --id ld1 --device eth0 --controller http://192.0.2.1:7000 --token join-me --state-dir /var/lib/clb',
    'clb director --id ld1 --device eth0 --controller http://192.0.2.1:7000 --token join-me --state-dir /var/lib/clb --bgp 65000@10.255.0.0',
  ],
  async run({ flags }, context) {
    const bird = birdOptionsOf(flags);
    const { startDirector } = await import('@openclb/l4');
    return runRole(context, {
      name: `director ${flags.id}`,
      start: async (giveUp) =>
        withMetrics(
          await startDirector({
            id: flags.id,
            controller: { url: flags.controller, token: flags.token },
            stateDir: flags['state-dir'],
            device: flags.device,
            port: flags.port,
            workers: 1,
            onGiveUp: giveUp,
            ...(bird === undefined ? {} : { bird }),
            ...(flags.flows === undefined ? {} : { flows: flags.flows }),
            ...(flags.sync === undefined ? {} : { sync: flags.sync as 'unicast' | 'multicast' | 'off' }),
            watermark: watermarkOf(flags),
            log: createLog((text) => context.out.log(text), flags.log, context.out.isJson),
          }),
          flags.metrics,
          (role) => nodeFamilies(role.counters()),
        ),
      ready: ({ role, metrics }) => ({
        facts: {
          role: 'director',
          id: flags.id,
          port: role.port,
          device: flags.device,
          metrics,
          detail: role.portInfo.detail,
        },
        text: `director ${flags.id}, packets by ${role.port} (${flags.device})`,
      }),
    });
  },
});

function watermarkOf(flags: {
  readonly 'high-load-cpu'?: number | undefined;
  readonly 'high-load-packets'?: number | undefined;
}): { cpuShare?: number; packetsPerSecond?: number } {
  const { 'high-load-cpu': percent, 'high-load-packets': packetsPerSecond } = flags;
  return {
    ...(percent === undefined ? {} : { cpuShare: percent / 100 }),
    ...(packetsPerSecond === undefined ? {} : { packetsPerSecond }),
  };
}
