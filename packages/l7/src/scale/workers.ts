// createProxy({ workers }): the main thread of a proxy of several threads. It compiles each image once to check it, probes targets,
// answers /ready and keeps the workers alive; connections are the workers' alone (`worker.ts`), so one that stands still harms its
// own and nobody else's. Threads and not processes, because counters, limits and verdicts are shared memory.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { Worker } from 'node:worker_threads';
import type { ProxyImage } from '@openclb/model';
import { type Counters, createCounters } from '../counters.ts';
import { explain, type Explanation, type ExplainRequest } from '../explain.ts';
import { explainRequest, type RequestExplanation, type RequestToExplain } from '../explain-request.ts';
import { HealthChecks, type TargetHealth } from '../health.ts';
import { type CompiledImage, compileInSlices, EMPTY_IMAGE, ImageRefused } from '../image.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import { healthRecords } from '../log/health.ts';
import type { Proxy, ProxyOptions } from '../proxy.ts';
import { ReadyServer } from '../ready.ts';
import type { CertificatePair } from '../tls/certificates.ts';
import type { FromWorker, ImageState, ToWorker, WorkerStart } from './messages.ts';
import { CounterPages, countsBuffer, pagesBuffer, ratesBuffer, SharedCounts } from './shared.ts';
import { membersOf, VERDICTS } from './share.ts';

/** Bits of one word say which worker found a target wanting. */
export const WORKERS_MAX = 31;
const RESTART_MS = 500;
const CLOSE_GRACE_MS = 2_000;

interface Thread {
  worker: Worker;
  isUp: boolean;
  /** Waits for `applied` or `refused`. */
  pending: { serial: number; answer: PromiseWithResolvers<void> } | null;
  addresses: { address: string; port: number }[];
}

export async function startWorkers(options: ProxyOptions, count: number, simple: ProxyImage | null): Promise<Proxy> {
  if (!Number.isInteger(count) || count > WORKERS_MAX)
    throw new RangeError(`a proxy has 1 to ${WORKERS_MAX} workers, not ${count}`);
  for (const name of ['filters', 'schedulers', 'mysqlRouters', 'tlsProviders'] as const) {
    if ((options[name]?.length ?? 0) > 0)
      throw new TypeError(`${name} cannot be sent to workers: export them from a module and name it in workerModule`);
  }
  const proxy = new ProxyWorkers(options, count);
  try {
    await proxy.start();
    if (simple !== null) await proxy.applyAnywhere(simple);
  } catch (error) {
    await proxy.close();
    throw error;
  }
  return proxy;
}

class ProxyWorkers implements Proxy {
  readonly #options: ProxyOptions;
  readonly #count: number;
  #shared: Pick<WorkerStart, 'rates' | 'counts' | 'pages' | 'options'>;
  readonly #pages: CounterPages;
  readonly #counts: SharedCounts;
  readonly #threads: Thread[] = [];
  readonly #health: HealthChecks;
  readonly #ready: ReadyServer;
  /** Counted by workers that are gone. */
  readonly #gone = createCounters();
  #image: CompiledImage = EMPTY_IMAGE;
  #state: ImageState = stateOf(EMPTY_IMAGE);
  #serial = 0;
  #applying: Promise<void> = Promise.resolve();
  #isClosing = false;

  constructor(options: ProxyOptions, count: number) {
    this.#options = options;
    this.#count = count;
    const { stickinessKey = randomBytes(32), ticketSecret = randomBytes(32), ticketPeriodMs, proxyProtocol } = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const share = (total: number): number => Math.ceil(total / count);
    this.#shared = {
      rates: ratesBuffer(),
      counts: countsBuffer(count),
      pages: pagesBuffer(count),
      options: {
        bind: options.bind ?? 'wildcard',
        limits: {
          ...limits,
          connectionsMax: share(limits.connectionsMax),
          connectionsPerTargetMax: share(limits.connectionsPerTargetMax),
          idlePerTargetMax: share(limits.idlePerTargetMax),
        },
        stickinessKey: Buffer.from(stickinessKey),
        ticketSecret: Buffer.from(ticketSecret),
        ...(ticketPeriodMs === undefined ? {} : { ticketPeriodMs }),
        ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
      },
    };
    this.#pages = new CounterPages(this.#shared.pages);
    this.#counts = new SharedCounts(this.#shared.counts, 0);
    this.#health = new HealthChecks((health) => {
      this.#tellHealth();
      options.onHealth?.(health);
      if (options.healthLog === undefined) return;
      for (const record of healthRecords(this.#image, health, Date.now())) options.healthLog(record);
    });
    this.#ready = new ReadyServer(options.readyHost, () => !this.#isClosing, options.reusePort ?? false);
  }

  async start(): Promise<void> {
    await Promise.all(Array.from({ length: this.#count }, (_, index) => this.#launch(index)));
  }

  #launch(index: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const data: WorkerStart = {
      ...this.#shared,
      worker: index,
      workers: this.#count,
      module: this.#options.workerModule ?? null,
      logs: this.#options.accessLog !== undefined,
      logsConnections: this.#options.connectionLog !== undefined,
    };
    const entry = new URL(import.meta.resolve('@openclb/l7/worker'));
    const worker = new Worker(entry, { workerData: data, name: `clb-proxy-${index}` });
    const thread: Thread = { worker, isUp: false, pending: null, addresses: [] };
    this.#threads[index] = thread;
    let reason = 'it ended without saying why';
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'ready') {
        thread.isUp = true;
        resolve();
      } else this.#heard(thread, message);
    });
    worker.on('error', (error: Error) => (reason = error.message));
    worker.on('exit', () => {
      const wasUp = thread.isUp;
      thread.isUp = false;
      thread.pending?.answer.reject(new Error(`worker ${index} ended: ${reason}`));
      if (!wasUp) reject(new Error(`worker ${index} cannot start: ${reason}`));
      else if (!this.#isClosing) this.#lost(index, reason);
    });
    return promise;
  }

  /** A bug ended a worker: its connections are gone with it, and another takes its place. */
  #lost(index: number, reason: string): void {
    this.#options.onError?.(`worker ${index}`, new Error(reason));
    const last = this.#pages.read(index);
    if (last !== null) addCounters(this.#gone, { ...last, connectionsOpen: 0 });
    this.#pages.clear(index);
    this.#counts.forget(index);
    const resting = new Int32Array(this.#state.resting);
    for (let target = 0; target < resting.length; target++) Atomics.and(resting, target, ~(1 << index));
    setTimeout(() => void this.#restart(index), RESTART_MS).unref();
  }

  async #restart(index: number): Promise<void> {
    if (this.#isClosing) return;
    try {
      await this.#launch(index);
      await this.#tell(index, this.#image, this.#state);
    } catch (error) {
      if (!this.#isClosing && !this.#threads[index]!.isUp) this.#lost(index, (error as Error).message);
    }
  }

  #heard(thread: Thread, message: FromWorker): void {
    const { accessLog, connectionLog, onError } = this.#options;
    switch (message.type) {
      case 'applied':
      case 'refused': {
        const { pending } = thread;
        if (pending === null || pending.serial !== message.serial) return;
        thread.pending = null;
        if (message.type === 'refused') return pending.answer.reject(errorOf(message));
        thread.addresses = message.addresses;
        return pending.answer.resolve();
      }
      case 'certificate':
        return void this.#answer(thread, message.ask, message.id);
      case 'log':
        for (const record of message.records) accessLog?.(record);
        return;
      case 'connections':
        for (const record of message.records) connectionLog?.(record);
        return;
      case 'error':
        return onError?.(message.source, new Error(message.message));
      default:
    }
  }

  async #answer({ worker }: Thread, ask: number, id: string): Promise<void> {
    let reply: ToWorker;
    try {
      const pair: CertificatePair | undefined = await this.#options.certificates?.(id);
      reply = { type: 'certificate', ask, ...(pair === undefined ? {} : { pair }) };
    } catch (error) {
      reply = { type: 'certificate', ask, error: (error as Error).message };
    }
    worker.postMessage(reply);
  }

  apply(image: ProxyImage): Promise<void> {
    const run = this.#applying.then(() => this.#apply(image));
    this.#applying = run.catch(() => {});
    return run;
  }

  /** For the few-lines form: port 0 must become one and the same for every worker. */
  async applyAnywhere(image: ProxyImage): Promise<void> {
    const [listener] = image.listeners;
    if (listener === undefined || listener.port !== 0) return this.apply(image);
    const holder = net.createServer();
    await new Promise<void>((resolve, reject) => {
      holder.once('error', reject);
      holder.listen({ host: listener.vips[0]!, port: 0, reusePort: true }, resolve);
    });
    const { port } = holder.address() as net.AddressInfo;
    try {
      await this.apply({ ...image, listeners: [{ ...listener, port }] });
    } finally {
      holder.close();
    }
  }

  async #apply(source: ProxyImage): Promise<void> {
    const image = await compileInSlices(source, this.#image, []);
    const ready = await this.#ready.prepare(image);
    const state = stateOf(image);
    const all = this.#threads.map((_, index) => index);
    const outcomes = await Promise.allSettled(all.map((index) => this.#tell(index, image, state)));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) {
      ready.abort();
      const taken = all.filter((index) => outcomes[index]!.status === 'fulfilled');
      await Promise.allSettled(taken.map((index) => this.#tell(index, this.#image, this.#state)));
      throw failed.reason;
    }
    ready.commit();
    this.#image = image;
    this.#state = state;
    this.#health.apply(image);
  }

  #tell(index: number, image: CompiledImage, state: ImageState): Promise<void> {
    const thread = this.#threads[index]!;
    if (!thread.isUp) return Promise.resolve();
    const answer = Promise.withResolvers<void>();
    thread.pending = { serial: ++this.#serial, answer };
    const source = { ...image.source, readyPort: 0 };
    thread.worker.postMessage({ type: 'apply', serial: this.#serial, image: source, state } satisfies ToWorker);
    return answer.promise;
  }

  #tellHealth(): void {
    writeVerdicts(this.#image, this.#state);
    for (const { worker, isUp } of this.#threads) if (isUp) worker.postMessage({ type: 'health' } satisfies ToWorker);
  }

  addresses(): { address: string; port: number }[] {
    return this.#threads.find(({ isUp }) => isUp)?.addresses ?? [];
  }

  get readyPort(): number {
    return this.#ready.port;
  }

  health(): TargetHealth[] {
    return this.#health.list();
  }

  /** As of a tenth of a second ago. */
  counters(): Counters {
    const sum = structuredClone(this.#gone);
    for (let worker = 0; worker < this.#count; worker++) {
      const page = this.#pages.read(worker) ?? this.#pages.read(worker);
      if (page !== null) addCounters(sum, page);
    }
    return sum;
  }

  explain(request: ExplainRequest): Explanation {
    return explain(this.#image, request);
  }

  /** Requests are compared where they are served, which is not here. */
  async shadow(image: ProxyImage | null): Promise<void> {
    if (image !== null) throw new Error('a candidate image is compared by proxies with one worker only');
  }

  shadowReport(): null {
    return null;
  }

  explainRequest(request: RequestToExplain): RequestExplanation {
    return explainRequest(this.#image, request, Buffer.from(this.#shared.options.stickinessKey));
  }

  setTicketSecret(secret: Uint8Array): void {
    // Workers that start later begin with it.
    this.#shared = { ...this.#shared, options: { ...this.#shared.options, ticketSecret: Buffer.from(secret) } };
    const message: ToWorker = { type: 'tickets', secret };
    for (const { worker, isUp } of this.#threads) if (isUp) worker.postMessage(message);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#applying;
    this.#health.close();
    const drainMs = this.#options.limits?.drainMs ?? DEFAULT_LIMITS.drainMs;
    await Promise.all(this.#threads.map((thread) => this.#stop(thread, drainMs + CLOSE_GRACE_MS)));
    this.#ready.close();
  }

  async #stop({ worker, isUp }: Thread, timeoutMs: number): Promise<void> {
    if (worker.threadId === -1) return;
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    const timer = setTimeout(() => void worker.terminate(), isUp ? timeoutMs : 0);
    worker.postMessage({ type: 'close' } satisfies ToWorker);
    await gone;
    clearTimeout(timer);
  }
}

function stateOf(image: CompiledImage): ImageState {
  const state = {
    verdicts: new SharedArrayBuffer(membersOf(image).length),
    resting: new SharedArrayBuffer(membersOf(image).length * 4),
  };
  writeVerdicts(image, state);
  return state;
}

function writeVerdicts(image: CompiledImage, { verdicts }: ImageState): void {
  const bytes = new Uint8Array(verdicts);
  for (const [index, { member }] of membersOf(image).entries()) bytes[index] = VERDICTS.indexOf(member.health);
}

function errorOf({ code, message }: { code?: string; message: string }): Error {
  if (code === 'ImageRefused') return new ImageRefused(message);
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

/** Adds every number, whatever counters there are. */
function addCounters(into: Counters, from: Counters): void {
  add(into as unknown as Record<string, unknown>, from as unknown as Record<string, unknown>);
}

function add(into: Record<string, unknown>, from: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(from)) {
    if (typeof value === 'number') into[name] = ((into[name] as number | undefined) ?? 0) + value;
    else if (typeof value === 'object' && value !== null) {
      into[name] ??= Array.isArray(value) ? [] : {};
      add(into[name] as Record<string, unknown>, value as Record<string, unknown>);
    }
  }
}
