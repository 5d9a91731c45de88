// A proxy as a node of a cluster: layer 7, its own endpoint when it has a device, and the link that brings the image of both.
import type { Endpoint, Link } from '@openclb/l4';
import type { Counters, Proxy, ProxyOptions, TargetHealth } from '@openclb/l7';
import type {
  ExplainAnswer,
  Generation,
  RequestQuery,
  ShadowCounts,
  HealthReport,
  Image,
  PluginHost,
  ProxyImage,
} from '@openclb/model';
import { type AccessLog, NO_STORE } from './access-log.ts';
import { certificateSource } from './certificates.ts';
import { sentenceOf } from './errors.ts';
import type { Log } from './log.ts';
import { type Running, startAll } from './role.ts';
import { followTickets } from './tickets.ts';

export interface ProxyNodeOptions {
  readonly id: string;
  readonly controller: { readonly url: string; readonly token: string };
  /** Keeps the last image and the certificates in use, so that the node serves without a controller. */
  readonly stateDir?: string;
  /** Underlay device of the node's own endpoint; absent: targets are reached by plain routing. */
  readonly device?: string;
  readonly port?: 'auto' | 'xdp' | 'packet' | 'tun';
  readonly inside?: 'auto' | 'tun' | 'veth';
  /** `vips` binds each VIP as an address of this machine; `wildcard` takes VIPs that are routed here (P20). */
  readonly bind: 'wildcard' | 'vips';
  /** How long connections may go on after a signal; 10 s by default. */
  readonly drainMs?: number;
  readonly plugins: PluginHost;
  /** Where requests are logged; closed with the node. */
  readonly accessLog?: AccessLog | undefined;
  /** Threads that serve connections; 1 when absent. */
  readonly workers?: number;
  /** Paths or names of `plugins`, which each worker loads for itself. */
  readonly pluginNames?: readonly string[];
  readonly log: Log;
  onGiveUp?(error: Error): void;
}

export interface ProxyNode extends Running {
  readonly link: Link;
  readonly proxy: Proxy;
  /** What carries the endpoint's packets, or 'sockets' without one. */
  readonly port: string;
  /** Everything that it and its endpoint count. */
  counters(): Record<string, number>;
}

const HEALTH_EVERY_MS = 5_000;

export function startProxyNode(options: ProxyNodeOptions): Promise<ProxyNode> {
  const { id, controller, log } = options;
  return startAll(async (stack) => {
    const [{ createProxy }, { connectLink }] = await Promise.all([import('@openclb/l7'), import('@openclb/l4')]);
    const endpoint = options.device === undefined ? null : stack.add(await startOwnEndpoint(options, options.device));
    const { accessLog } = options;
    if (accessLog !== undefined) stack.add(accessLog);
    const certificates = stack.add(await certificateSource(options));
    const proxy: Proxy = stack.add(
      await createProxy({
        bind: options.bind,
        // A new process takes over from an old one by listening beside it (docs/how-to/upgrade-a-proxy.md).
        reusePort: true,
        ...(options.drainMs === undefined ? {} : { limits: { drainMs: options.drainMs } }),
        certificates: certificates.find,
        stickinessKey: `stickiness ${controller.token}`,
        ...extensionsOf(options),
        ...(accessLog === undefined
          ? {}
          : { accessLog: accessLog.write, healthLog: accessLog.health, connectionLog: accessLog.connection }),
        onHealth: (health) => link?.reportHealth([reportOf(health)]),
        onError: (source, error) => log.error({ source, reason: sentenceOf(error) }, 'a filter failed'),
      }),
    );
    stack.add(await followTickets(certificates.tickets, (secret) => proxy.setTicketSecret(secret)));
    const port = endpoint?.port ?? 'sockets';
    const take = adopter(proxy, endpoint);
    const counters = (): Record<string, number> => ({
      ...flatCounters(proxy.counters()),
      'proxy.log.lost': accessLog?.lost() ?? 0,
      ...endpoint?.counters(),
    });
    let link: Link | null = null;
    link = stack.add(
      await connectLink({
        ...controller,
        node: id,
        role: 'proxy',
        ...(options.stateDir === undefined ? {} : { stateDir: options.stateDir }),
        log,
        onImage: (image) => take(asProxyImage(image)),
        onCounters: counters,
        onExplainRequest: (query) => explained(proxy, id, link?.applied?.generation, query),
        onShadow: (action, image) => shadowed(proxy, action, image),
        onLogs: (query) => accessLog?.query(query) ?? Promise.resolve(NO_STORE),
        describe: () => ({ port }),
      }),
    );
    const reporting = setInterval(() => link?.reportHealth(proxy.health().map(reportOf)), HEALTH_EVERY_MS);
    stack.add({ close: () => Promise.resolve(clearInterval(reporting)) });
    return { link, proxy, port, counters };
  });
}

async function shadowed(
  proxy: Proxy,
  action: 'start' | 'stop' | 'report',
  image: Image | null,
): Promise<ShadowCounts | null> {
  if (action === 'stop') await proxy.shadow(null);
  if (action === 'start' && image !== null) await proxy.shadow(asProxyImage(image));
  const report = proxy.shadowReport();
  return report === null ? null : { ...report, differences: { ...report.differences }, examples: [...report.examples] };
}

function explained(proxy: Proxy, node: string, generation: Generation | undefined, query: RequestQuery): ExplainAnswer {
  const { steps, ...answer } = proxy.explainRequest(query);
  return { node, generation: generation ?? { revision: 0, compiler: 0 }, ...answer, steps: [...steps] };
}

/** Functions cannot be sent to threads: each worker loads the plugins again. */
function extensionsOf({ plugins, pluginNames = [], workers = 1 }: ProxyNodeOptions): Partial<ProxyOptions> {
  if (workers === 1) {
    return {
      filters: plugins.extensions('filter'),
      schedulers: plugins.extensions('scheduler'),
      mysqlRouters: plugins.extensions('mysqlRouter'),
    };
  }
  if (pluginNames.length === 0) return { workers };
  const url = import.meta.resolve('openclb/proxy-worker');
  return { workers, workerModule: { url, data: { plugins: pluginNames } } };
}

/** Its image comes inside the proxy's, so it keeps none of its own and needs no link. */
async function startOwnEndpoint(options: ProxyNodeOptions, device: string): Promise<Endpoint> {
  const { startEndpoint } = await import('@openclb/l4');
  const { id, port = 'auto', inside = 'auto', log, onGiveUp } = options;
  return startEndpoint({ id, device, port, inside, log, ...(onGiveUp === undefined ? {} : { onGiveUp }) });
}

/**
 * At the start the listeners first: directors may still send packets to a node that has only just died, and an endpoint that takes
 * them before somebody listens answers clients with RST. Later the endpoint first: a listener must not take requests whose targets
 * cannot be reached yet.
 */
function adopter(proxy: Proxy, endpoint: Endpoint | null): (image: ProxyImage) => Promise<void> {
  let isFirst = true;
  return async (image) => {
    if (isFirst) await proxy.apply(image);
    if (endpoint !== null && image.endpoint !== undefined) await endpoint.apply(image.endpoint);
    if (!isFirst) await proxy.apply(image);
    isFirst = false;
  };
}

function asProxyImage(image: Image): ProxyImage {
  if (image.role !== 'proxy') throw new Error(`this node is a proxy and was sent the image of a ${image.role}`);
  return image;
}

function reportOf({ group, target, health }: TargetHealth): HealthReport {
  return { group, target, state: health };
}

export function flatCounters({ responses, failures, ...rest }: Counters): Record<string, number> {
  const flat: Record<string, number> = {};
  for (const [name, value] of Object.entries(rest)) flat[`proxy.${name}`] = value;
  for (let digit = 1; digit <= 5; digit++) flat[`proxy.responses.${digit}xx`] = responses[digit] ?? 0;
  for (const [code, value] of Object.entries(failures)) flat[`proxy.failures.${code}`] = value;
  return flat;
}
