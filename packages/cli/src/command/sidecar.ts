// clb sidecar: client-side balancing for programs that cannot load a library. A listener of this machine leads to one service.
import type { CheckSpec } from '@openclb/model';
import { parseHostPort } from '../address.ts';
import { defineCommand } from '../command.ts';
import { CliError, sentenceOf, usageError } from '../errors.ts';
import { createLog, type Log } from '../log.ts';
import { logFlag, runRole, startAll } from '../role.ts';

interface SourceFlags {
  readonly targets: readonly string[] | undefined;
  readonly dns: string | undefined;
  readonly 'dns-server': readonly string[] | undefined;
  readonly 'target-group': string | undefined;
  readonly controller: string | undefined;
  readonly token: string | undefined;
  readonly vpc: number | undefined;
}

export const sidecar = defineCommand({
  name: 'sidecar',
  group: 'roles',
  summary: 'balance the calls of one program to one service, beside the program',
  text: [
    'The program calls http://127.0.0.1:PORT; the sidecar balances over the targets itself, without a balancer in between.',
    'Targets come from one of --targets, --dns (SRV records, or NAME:PORT for A and AAAA) and --target-group. The listener',
    'answers programs of this machine alone as long as it is a loopback address.',
  ].join('\n'),
  arguments: [],
  flags: {
    listen: {
      schema: { type: 'string', default: '127.0.0.1:8080', description: 'address that the program calls' },
      value: 'HOST:PORT',
    },
    targets: {
      schema: { type: 'array', items: { type: 'string' }, minItems: 1, maxItems: 1000, description: 'a fixed list' },
      value: 'IP:PORT[,IP:PORT]',
    },
    dns: { schema: { type: 'string', description: 'an SRV name, or a name with a port' }, value: 'NAME[:PORT]' },
    'dns-server': {
      schema: {
        type: 'array',
        items: { type: 'string' },
        maxItems: 8,
        description: 'servers to ask; those of the machine when absent',
      },
      value: 'IP[:PORT]',
    },
    'target-group': { schema: { type: 'string', description: 'id of a target group of the controller' }, value: 'ID' },
    controller: {
      schema: { type: 'string', description: 'URL of the controller' },
      value: 'URL',
      env: 'CLB_CONTROLLER',
    },
    token: { schema: { type: 'string', description: 'join token of the cluster' }, value: 'TOKEN', env: 'CLB_TOKEN' },
    vpc: {
      schema: {
        type: 'integer',
        minimum: 1,
        maximum: 0xfffffeff,
        description: 'VPC of this machine; absent: targets on the underlay',
      },
      value: 'ID',
    },
    scheduler: {
      schema: { enum: ['wrr', 'least-connections', 'p2c', 'maglev', 'ip-hash'], default: 'wrr' },
      text: 'picks the target of a request',
    },
    check: {
      schema: {
        enum: ['auto', 'tcp', 'http', 'none'],
        default: 'auto',
        description: 'health check every 5 s; auto: what the target group says, else none',
      },
    },
    ...logFlag,
  },
  connects: false,
  examples: [
    'clb sidecar --listen 127.0.0.1:9000 --targets 10.0.0.1:8080,10.0.0.2:8080 --check http',
    'clb sidecar --listen 127.0.0.1:9000 --dns _http._tcp.orders.example.com --scheduler p2c',
    'clb sidecar --listen 127.0.0.1:9000 --controller http://192.0.2.1:7000 --token join-me --target-group lbtg-orders',
  ],
  async run({ flags }, context) {
    const listen = parseHostPort(flags.listen, '--listen');
    const log = createLog((text) => context.out.log(text), flags.log, context.out.isJson);
    const source = await sourceOf(flags);
    return runRole(context, {
      name: `sidecar for ${source.name}`,
      start: () => start(source, listen, flags, log),
      ready: ({ address }) => ({
        facts: { role: 'sidecar', address, service: source.name },
        text: `sidecar on http://${address} for ${source.name}`,
      }),
    });
  },
});

type Source = import('@openclb/l7/client').TargetSource;

/** Exactly one source; what only another one needs is refused, not passed over. */
async function sourceOf(flags: SourceFlags): Promise<Source> {
  const given = (['targets', 'dns', 'target-group'] as const).filter((name) => flags[name] !== undefined);
  if (given.length !== 1) {
    const said = given.length === 0 ? 'none' : given.map((name) => `--${name}`).join(' and ');
    throw usageError(`clb sidecar takes one of --targets, --dns and --target-group, and ${said} is given`);
  }
  const foreign = flags.vpc !== undefined && flags['target-group'] === undefined ? 'vpc' : undefined;
  if (foreign !== undefined) throw usageError('--vpc goes with --target-group');
  if (flags['dns-server'] !== undefined && flags.dns === undefined) throw usageError('--dns-server goes with --dns');
  const { fromController, fromDns, listed } = await import('@openclb/l7/client');
  try {
    if (flags.targets !== undefined) return listed(flags.targets);
    if (flags.dns !== undefined) return fromDns(dnsOf(flags.dns, flags['dns-server']));
  } catch (error) {
    throw usageError(sentenceOf(error));
  }
  const { controller, token, vpc } = flags;
  if (controller === undefined || token === undefined)
    throw usageError('--target-group needs --controller and --token', 'or set CLB_CONTROLLER and CLB_TOKEN');
  return fromController({
    url: controller,
    token,
    targetGroup: flags['target-group']!,
    ...(vpc === undefined ? {} : { vpc }),
  });
}

function dnsOf(text: string, servers: readonly string[] | undefined) {
  const [, name = text, port] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined && !text.startsWith('_'))
    throw usageError(
      `--dns: '${text}' has no port`,
      'write orders.example.com:8080, or an SRV name as _http._tcp.NAME',
    );
  return { name, ...(port === undefined ? {} : { port: Number(port) }), ...(servers === undefined ? {} : { servers }) };
}

type Scheduler = NonNullable<import('@openclb/l7/client').ServiceOptions['scheduler']>;

function start(
  source: Source,
  listen: { host: string; port: number },
  flags: { readonly scheduler: Scheduler; readonly check: 'auto' | 'tcp' | 'http' | 'none' },
  log: Log,
) {
  return startAll(async (stack) => {
    const [{ createProxy }, { serviceImage }] = await Promise.all([
      import('@openclb/l7'),
      import('@openclb/l7/client'),
    ]);
    const proxy = stack.add(
      await createProxy({
        bind: 'vips',
        readyHost: '127.0.0.1',
        onHealth: ({ target, health, reason }) => log.info({ target, health, reason }, 'health of a target'),
      }),
    );
    stack.add({ close: () => Promise.resolve(source.close()) });
    const options = {
      scheduler: flags.scheduler,
      ...(flags.check === 'auto' ? {} : { check: checkOf(flags.check) }),
    };
    let revision = 0;
    let applying: Promise<void> = Promise.resolve();
    await source.start({
      targets(snapshot) {
        log.info({ targets: snapshot.targets.length }, `targets of ${source.name}`);
        applying = proxy.apply(serviceImage(source.name, snapshot, ++revision, options, listen));
        applying.catch((error: unknown) => log.error({ reason: sentenceOf(error) }, 'targets could not be taken over'));
      },
      failed: (error) => log.warn({ reason: sentenceOf(error) }, `${source.name} could not be asked`),
    });
    await applying.catch((error: unknown) => {
      throw new CliError(`cannot serve on ${listen.host}:${listen.port}: ${sentenceOf(error)}`, {
        hint: 'choose another --listen',
      });
    });
    const [first] = proxy.addresses();
    return { address: first === undefined ? '' : `${listen.host}:${first.port}`, proxy };
  });
}

function checkOf(type: 'tcp' | 'http' | 'none'): CheckSpec {
  const http = { method: 'HEAD', path: '/', codes: 31 } as const;
  const check = { type, intervalMs: 5000, timeoutMs: 2000, healthyThreshold: 2, unhealthyThreshold: 2 };
  return type === 'http' ? { ...check, http } : check;
}
