// clb announce: the static announcer, which runs beside a switch and moves routes away from directors that stop forwarding.
import { defineCommand } from '../command.ts';
import { connectionFrom } from '../connection.ts';
import { usageError } from '../errors.ts';
import { createLog } from '../log.ts';
import { logFlag, runRole } from '../role.ts';

export const announce = defineCommand({
  name: 'announce',
  group: 'roles',
  summary: 'run the static announcer beside a switch',
  text: [
    'Asks the packet workers of every director for a heartbeat and writes the routes of VIPs, EIPs and tunnel addresses in',
    "this machine's (or namespace's) routing table. A director that stops answering loses its routes; its tunnel addresses",
    'move to the others. What to announce comes from the controller, and the last that was heard stays when it is away.',
  ].join('\n'),
  arguments: [],
  flags: {
    heartbeat: {
      schema: {
        type: 'integer',
        minimum: 10,
        maximum: 10_000,
        default: 100,
        description: 'milliseconds between heartbeats; three missed ones mean dead',
      },
      value: 'MS',
    },
    token: {
      schema: { type: 'string', description: 'join token of the cluster; a switch need not hold a key of the API' },
      value: 'TOKEN',
      env: 'CLB_TOKEN',
    },
    ...logFlag,
  },
  connects: true,
  examples: ['clb announce --controller http://192.0.2.1:7000 --token join-me'],
  async run({ flags }, context) {
    const values = flags as { controller?: string; 'api-key'?: string };
    const connection = connectionFrom(values, context.env);
    const token = flags.token ?? connection.apiKey;
    if (token === undefined) throw usageError('clb announce needs --token', 'add --token TOKEN or set CLB_TOKEN');
    const url = connection.controller.href;
    const { startSwitchAnnouncer } = await import('@openclb/l4');
    return runRole(context, {
      name: 'announcer',
      start: () =>
        startSwitchAnnouncer({
          controller: { url, token },
          heartbeatMs: flags.heartbeat,
          log: createLog((text) => context.out.log(text), flags.log, context.out.isJson),
        }),
      ready: () => ({ facts: { role: 'announcer' }, text: `announcer, learning from ${url}` }),
    });
  },
});
