// One box, one process, the same code as a cluster (control-plane.md B15): a controller with a store in memory, a proxy node beside it,
// and the real link between them. There is no director, so TCP and UDP listeners are relayed by the proxy (compile decides that).
import { randomBytes } from 'node:crypto';
import {
  type Config,
  type ConfigResult,
  createPluginHost,
  type Plugin,
  type PluginHost,
  type Status,
} from '@openclb/model';
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
/** The node needs an underlay address that no VIP has; nothing is ever sent to it (RFC 5737). */
const NODE_UNDERLAY = { v4: '192.0.2.1' };
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
  readonly plugins?: readonly Plugin[];
  /** Already running plugins, instead of `plugins`. */
  readonly pluginHost?: PluginHost;
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
      log: (message, data) => log.debug(data ?? {}, message),
    });
    stack.add({ close: () => app.close() });
    const listen = options.api ?? { host: '127.0.0.1', port: 0 };
    const url = await app.listen(listen).catch((error: unknown) => {
      throw listenError(error, formatHostPort(listen));
    });
    const client = createClient({ controller: new URL(url), apiKey: key }, closing.signal);
    stack.add(client);
    const applied = await applyTo(client, first, true);
    const plugins = options.pluginHost ?? (await pluginsOf(options.plugins ?? [], log));
    stack.add(plugins);
    stack.add(
      await startProxyNode({ id: NODE_ID, controller: { url, token }, bind: 'vips', drainMs: DRAIN_MS, plugins, log }),
    );
    return {
      api: { url, key },
      first: await applied(),
      apply: async (config: Config | string | LoadedConfig) => (await applyTo(client, loadedOf(config), false))(),
      status: () => client.call<Status>('GET', '/v1/status'),
    };
  }, options.signal);
}

/** Puts the document; the result waits for the node. */
async function applyTo(client: Client, loaded: LoadedConfig, isFirst: boolean): Promise<() => Promise<Applied>> {
  const result = await putConfig(client, { ...loaded, config: wholeConfig(loaded.config) });
  return async () => {
    const status = await waitApplied(client, result.revision, APPLY_MS_MAX, NODE_ID);
    const refused = status.nodes.find((node) => node.id === NODE_ID)?.refused;
    if (refused != null && refused.generation.revision >= result.revision) {
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
    nodes: [{ id: NODE_ID, role: 'proxy', underlay: NODE_UNDERLAY }],
  };
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
