// clb controller: the API, the desired state and its way to the nodes, as a process.
import { formatHostPort, parseHostPort } from '../address.ts';
import { defineCommand } from '../command.ts';
import { listenError } from '../listen-error.ts';
import { createLog } from '../log.ts';
import { controllerFamilies } from '../metrics/controller.ts';
import { metricsFlag, serveMetrics } from '../metrics/serve.ts';
import { logFlag, runRole, startAll } from '../role.ts';

const blocks = { type: 'array', items: { type: 'string' }, maxItems: 64 } as const;

export const controller = defineCommand({
  name: 'controller',
  group: 'roles',
  summary: 'run the controller: API, desired state, compile, publish',
  text: [
    'People and tools use the API key, nodes the join token. The store is one SQLite file; without one the state is kept',
    'in memory and lost with the process. Nodes keep serving while the controller is away.',
  ].join('\n'),
  arguments: [],
  flags: {
    listen: {
      schema: { type: 'string', default: '127.0.0.1:7000', description: 'address to serve on' },
      value: 'HOST:PORT',
    },
    store: {
      schema: { type: 'string', default: ':memory:', description: 'SQLite file of the desired state' },
      value: 'FILE',
    },
    'join-token': {
      schema: { type: 'string', minLength: 1, description: 'secret that nodes present' },
      value: 'TOKEN',
      env: 'CLB_TOKEN',
      required: true,
    },
    'api-key': {
      schema: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        minItems: 1,
        maxItems: 64,
        description: 'keys that people and tools present',
      },
      value: 'KEY[,KEY]',
      env: 'CLB_API_KEY',
      required: true,
    },
    'vip-pool': { schema: { ...blocks, description: 'blocks that VIPs are allocated from' }, value: 'CIDR[,CIDR]' },
    'eip-pool': { schema: { ...blocks, description: 'blocks that EIPs are allocated from' }, value: 'CIDR[,CIDR]' },
    ...metricsFlag,
    ...logFlag,
  },
  connects: false,
  examples: ['clb controller --store /var/lib/clb/desired.sqlite --join-token join-me --api-key let-me-in'],
  async run({ flags }, context) {
    const listen = parseHostPort(flags.listen, '--listen');
    const { createController } = await import('@openclb/control');
    const log = createLog((text) => context.out.log(text), flags.log, context.out.isJson);
    return runRole(context, {
      name: 'controller',
      start: () =>
        startAll(async (stack) => {
          const app = await createController({
            store: flags.store,
            joinToken: flags['join-token'],
            apiKeys: flags['api-key'],
            pools: {
              ...(flags['vip-pool'] === undefined ? {} : { vip: flags['vip-pool'] }),
              ...(flags['eip-pool'] === undefined ? {} : { eip: flags['eip-pool'] }),
            },
            log: (message, data) => log.info(data ?? {}, message),
          });
          stack.add({ close: () => app.close() });
          const url = await app.listen(listen).catch((error: unknown) => {
            throw listenError(error, formatHostPort(listen));
          });
          const metrics =
            flags.metrics === undefined
              ? undefined
              : stack.add(await serveMetrics(flags.metrics, () => controllerFamilies(app.board.status())));
          return { url, metrics: metrics?.url };
        }),
      ready: ({ url, metrics }) => ({
        facts: { role: 'controller', url, store: flags.store, metrics },
        text: `controller on ${url}, store ${flags.store}`,
      }),
    });
  },
});
