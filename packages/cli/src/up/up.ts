// One box, one process, the same code as a cluster (control-plane.md B15): a controller with a store in memory, a proxy node beside it,
// and the real link between them. Without a device there is no director, so TCP and UDP listeners are relayed by the proxy; with one,
// a director on it forwards what is not an address of this machine (compile decides both).
import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import {
  type Config,
  type ConfigResult,
  createPluginHost,
  type NodeInput,
  type Plugin,
  type PluginHost,
  type Status,
} from '@openclb/model';
import type { Director } from '@openclb/l4';
import type { AccessLog } from '../access-log.ts';
import { formatHostPort, type HostPort } from '../address.ts';
import { createClient, type Client } from '../client.ts';
import { problemsOf, putConfig, waitApplied } from '../command/apply.ts';
import { listenError, listenHint } from '../listen-error.ts';
import { type LoadedConfig, parseConfig } from '../config/load.ts';
import { CliError } from '../errors.ts';
import { createLog, type Log } from '../log.ts';
import { startProxyNode } from '../proxy-node.ts';
import { type Running, startAll } from '../role.ts';

const NODE_ID = 'box';
const DIRECTOR_ID = 'box-director';
/** Nodes need underlay addresses that no VIP has; nothing is ever sent to them, because nothing here is tunnelled (RFC 5737). */
const NODE_UNDERLAY = { v4: '192.0.2.1' };
const DIRECTOR_UNDERLAY = { v4: '192.0.2.2' };
/** Somebody waits at the terminal: connections that idle do not keep it. */
const DRAIN_MS = 1_500;
const APPLY_MS_MAX = 10_000;

export interface UpOptions {
  /** The configuration, or the text of one. */
  readonly config: Config | string | LoadedConfig;
  /** Serve the API here too; without it the controller listens on a loopback port of its own choice. */
  readonly api?: HostPort;
  /** Key of the API; otherwise a random one. */
  readonly apiKey?: string;
  /** Runs a director on this network device: root, or a user namespace. */
  readonly device?: string;
  /** What carries the director's packets; `auto` takes the first that works. */
  readonly port?: 'auto' | 'xdp' | 'packet' | 'tun';
  /** The director can no longer do its work. */
  onGiveUp?(error: Error): void;
  readonly plugins?: readonly Plugin[];
  /** Already running plugins, instead of `plugins`. */
  readonly pluginHost?: PluginHost;
  /** Where requests are logged; closed with the box. */
  readonly accessLog?: AccessLog | undefined;
  readonly log?: Log;
  /** Ends a start half-way, cleanly. */
  readonly signal?: AbortSignal;
}

export interface Applied {
  readonly result: ConfigResult;
  readonly status: Status;
  /** What is not as it should be, one sentence each. */
  readonly problems: readonly string[];
}

export interface Up extends Running {
  /** URL of the controller and the key that it takes. */
  readonly api: { readonly url: string; readonly key: string };
  /** What carries the packets of the director, or null without one. */
  readonly port: string | null;
  /** What the first configuration led to. */
  readonly first: Applied;
  /** Applies another configuration; when it is refused the last good one goes on serving, and this rejects with the reason. */
  apply(config: Config | string | LoadedConfig): Promise<Applied>;
  status(): Promise<Status>;
}

/** Starts a load balancer in this process. */
export function up(options: UpOptions): Promise<Up> {
  const log = options.log ?? createLog(() => undefined, 'silent', false);
  const first = loadedOf(options.config);
  return startAll(async (stack) => {
    const closing = new AbortController();
    options.signal?.addEventListener('abort', () => closing.abort(), { once: true });
    stack.add({ close: () => Promise.resolve(closing.abort()) });
    const key = options.apiKey ?? randomBytes(24).toString('base64url');
    const token = randomBytes(24).toString('base64url');
    const { createController } = await import('@openclb/control');
    const app = await createController({
      store: ':memory:',
      joinToken: token,
      apiKeys: [key],
      // Nobody probes this box.
      readyPort: 0,
      oneBox: true,
      ...(options.device === undefined ? {} : { ownAddresses }),
      log: (message, data) => log.debug(data ?? {}, message),
    });
    stack.add({ close: () => app.close() });
    const listen = options.api ?? { host: '127.0.0.1', port: 0 };
    const url = await app.listen(listen).catch((error: unknown) => {
      throw listenError(error, formatHostPort(listen));
    });
    const client = createClient({ controller: new URL(url), apiKey: key }, closing.signal);
    stack.add(client);
    const nodes = nodesOf(options.device);
    const applied = await applyTo(client, first, nodes, true);
    const plugins = options.pluginHost ?? (await pluginsOf(options.plugins ?? [], log));
    stack.add(plugins);
    stack.add(
      await startProxyNode({
        id: NODE_ID,
        controller: { url, token },
        bind: 'vips',
        drainMs: DRAIN_MS,
        plugins,
        accessLog: options.accessLog,
        log,
      }),
    );
    const director =
      options.device === undefined ? null : stack.add(await startBoxDirector(options, { url, token }, log));
    return {
      api: { url, key },
      port: director?.port ?? null,
      first: await applied(),
      apply: async (config: Config | string | LoadedConfig) =>
        (await applyTo(client, loadedOf(config), nodes, false))(),
      status: () => client.call<Status>('GET', '/v1/status'),
    };
  }, options.signal);
}

/** Puts the document; the result waits for the node. */
async function applyTo(
  client: Client,
  loaded: LoadedConfig,
  nodes: readonly NodeInput[],
  isFirst: boolean,
): Promise<() => Promise<Applied>> {
  const result = await putConfig(client, { ...loaded, config: { ...wholeConfig(loaded.config), nodes: [...nodes] } });
  return async () => {
    const names = nodes.map(({ id }) => id);
    const status = await waitApplied(client, result.revision, APPLY_MS_MAX, ...names);
    for (const { id, refused } of status.nodes) {
      if (!names.includes(id) || refused === null || refused.generation.revision < result.revision) continue;
      throw new CliError(refused.reason, { hint: listenHint(refused.reason), code: 'Refused' });
    }
    if (isFirst && !status.applied)
      throw new CliError('the configuration was not applied in time', { hint: 'look closer with --log debug' });
    const problems = problemsOf(status);
    return { result, status, problems };
  };
}

/** In a cluster an absent section is left alone; here the file is everything, so it is empty. */
function wholeConfig(config: Config): Config {
  return {
    vpcs: [],
    instances: [],
    certificates: [],
    targetGroups: [],
    loadBalancers: [],
    eips: [],
    ...config,
  };
}

function nodesOf(device: string | undefined): NodeInput[] {
  const proxy: NodeInput = { id: NODE_ID, role: 'proxy', underlay: NODE_UNDERLAY };
  return device === undefined ? [proxy] : [proxy, { id: DIRECTOR_ID, role: 'director', underlay: DIRECTOR_UNDERLAY }];
}

/** Addresses of this machine, without the zone that a link-local one is shown with. */
function ownAddresses(): string[] {
  const rows = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return rows.map(({ address }) => address.replace(/%.*$/, ''));
}

async function startBoxDirector(
  { device = '', port = 'auto', onGiveUp }: UpOptions,
  controller: { readonly url: string; readonly token: string },
  log: Log,
): Promise<Director> {
  const { startDirector } = await import('@openclb/l4');
  return startDirector({
    id: DIRECTOR_ID,
    controller,
    device,
    port,
    workers: 1,
    log,
    ...(onGiveUp === undefined ? {} : { onGiveUp }),
  });
}

function loadedOf(config: Config | string | LoadedConfig): LoadedConfig {
  if (typeof config === 'string') return parseConfig(config);
  return 'source' in config ? config : parseConfig(JSON.stringify(config, null, 2));
}

function pluginsOf(plugins: readonly Plugin[], log: Log): Promise<PluginHost> {
  const onError = (plugin: string, error: unknown): void =>
    log.error({ plugin, reason: String(error) }, 'a plugin failed; going on without it');
  return createPluginHost(plugins, { onError });
}
