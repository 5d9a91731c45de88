// The plugin contract (design.md 6): `definePlugin({ name, setup(api) })`, the extension points, and a host that runs plugins in order.
// A plugin's error never takes the data path with it: the host isolates it, reports it once a second and goes on without it.

/** A request as a layer-7 filter sees it. Header names are lower case; order and repetition are kept. */
export interface FilterRequest {
  method: string;
  /** Path with query, as it will be sent upstream. */
  target: string;
  host: string;
  headers: [name: string, value: string][];
  readonly client: { readonly address: string; readonly port: number };
  readonly listener: string;
}

export interface FilterResponse {
  status: number;
  headers: [name: string, value: string][];
}

/** An answer that a filter gives itself; the request then never reaches a target. */
export interface FilterAnswer {
  readonly status: number;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly body?: string;
}

export interface L7Filter {
  readonly name: string;
  /** How long a hook that gives a promise may take, milliseconds; 5,000 when absent. */
  readonly timeoutMs?: number;
  /** Promises of this filter under way at once; 10,000 when absent. One more counts as a failure. */
  readonly concurrencyMax?: number;
  /** After an error, a time-out or too many at once. closed (the default): the request is refused. open: it goes on without this filter. */
  readonly onFailure?: 'open' | 'closed';
  /** Before a target is selected. May change the request in place, or answer. */
  request?(request: FilterRequest): FilterAnswer | void | Promise<FilterAnswer | void>;
  /** Before the response head goes to the client. May change it in place. */
  response?(response: FilterResponse, request: Readonly<FilterRequest>): void | Promise<void>;
}

export interface SchedulerFlow {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly listener: string;
}

export interface SchedulerCandidate {
  readonly target: string;
  readonly weight: number;
  /** Connections or flows that this node has open towards it. */
  readonly active: number;
}

/** Called for the first packet of a flow (layer 4, between bursts) or for each request (layer 7). */
export interface Scheduler {
  readonly name: string;
  readonly layers: readonly ('l4' | 'l7')[];
  /** The index into `candidates`, or −1 for "no opinion": the listener's own scheduler then decides. Must not wait. */
  pick(flow: SchedulerFlow, candidates: readonly SchedulerCandidate[]): number;
}

/** What a MySQL client says of itself before it has proved it. */
export interface MysqlLogin {
  readonly user: string;
  /** Empty when the client names none. */
  readonly schema: string;
  /** Connection attributes as `program_name`. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly client: { readonly address: string; readonly port: number };
  readonly listener: string;
}

/** Called for each login of a relay with `mysql`. Must not wait. */
export interface MysqlRouter {
  readonly name: string;
  /** Id of a target group that the listener allows; undefined: no opinion. */
  route(login: MysqlLogin): string | undefined;
}

export interface HealthProbe {
  readonly name: string;
  probe(target: { address: string; port: number }, signal: AbortSignal): Promise<boolean>;
}

export interface Announcer {
  readonly name: string;
  announce(addresses: readonly string[]): Promise<void>;
  withdraw(addresses: readonly string[]): Promise<void>;
}

export interface ServiceDiscovery {
  readonly name: string;
  watch(
    service: string,
    onTargets: (targets: readonly { address: string; port: number; weight: number }[]) => void,
  ): () => void;
}

export interface CertificateSource {
  readonly name: string;
  find(serverName: string): Promise<{ certificate: string; privateKey: string } | undefined>;
}

export interface LogSink {
  readonly name: string;
  write(record: Readonly<Record<string, unknown>>): void;
}

/** A Fastify plugin by another name: this package imports no server. */
export interface ApiDialect {
  readonly name: string;
  readonly prefix: string;
  readonly register: (app: unknown) => Promise<void> | void;
}

export interface ExtensionPoints {
  filter: L7Filter;
  scheduler: Scheduler;
  mysqlRouter: MysqlRouter;
  probe: HealthProbe;
  announcer: Announcer;
  discovery: ServiceDiscovery;
  certificates: CertificateSource;
  logSink: LogSink;
  dialect: ApiDialect;
}
export type ExtensionPoint = keyof ExtensionPoints;

export interface PluginApi {
  /** Adds an extension. Those of one point run in the order of the config, then of registration. */
  add<P extends ExtensionPoint>(point: P, extension: ExtensionPoints[P]): void;
  /** Runs when the plugin is removed or the process ends, in reverse order. */
  onClose(close: () => void | Promise<void>): void;
}

export interface Plugin {
  readonly name: string;
  readonly setup: (api: PluginApi) => void | Promise<void>;
}

export function definePlugin(plugin: Plugin): Plugin {
  return plugin;
}

export interface PluginHost {
  extensions<P extends ExtensionPoint>(point: P): readonly ExtensionPoints[P][];
  /** Calls an extension; an error is reported and answered with `otherwise`. */
  guard<T>(extension: { readonly name: string }, otherwise: T, call: () => T): T;
  close(): Promise<void>;
}

export interface PluginHostOptions {
  readonly onError: (plugin: string, error: unknown) => void;
}

const POINTS: readonly ExtensionPoint[] = [
  'filter',
  'scheduler',
  'mysqlRouter',
  'probe',
  'announcer',
  'discovery',
  'certificates',
  'logSink',
  'dialect',
];

/** Sets plugins up in order. One that fails is left out whole: what it added before failing is taken back. */
export async function createPluginHost(plugins: readonly Plugin[], options: PluginHostOptions): Promise<PluginHost> {
  const added: { point: ExtensionPoint; extension: ExtensionPoints[ExtensionPoint] }[] = [];
  const closers: { plugin: string; close: () => void | Promise<void> }[] = [];
  const closeFrom = async (index: number): Promise<void> => {
    for (const { plugin, close } of closers.splice(index).reverse()) {
      try {
        await close();
      } catch (error) {
        options.onError(plugin, error);
      }
    }
  };
  for (const plugin of plugins) {
    const [addedBefore, closersBefore] = [added.length, closers.length];
    try {
      await plugin.setup({
        add(point, extension) {
          if (!POINTS.includes(point))
            throw new TypeError(`${plugin.name}: there is no extension point ${String(point)}`);
          added.push({ point, extension });
        },
        onClose: (close) => void closers.push({ plugin: plugin.name, close }),
      });
    } catch (error) {
      added.length = addedBefore;
      await closeFrom(closersBefore);
      options.onError(plugin.name, error);
    }
  }
  return {
    extensions<P extends ExtensionPoint>(point: P) {
      return added.filter((row) => row.point === point).map((row) => row.extension as ExtensionPoints[P]);
    },
    guard(extension, otherwise, call) {
      try {
        return call();
      } catch (error) {
        options.onError(extension.name, error);
        return otherwise;
      }
    },
    close: () => closeFrom(0),
  };
}
