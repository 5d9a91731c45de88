// Keeps one packet worker alive (conventions 1.7, data-plane.md P11): a bug ends the worker, its region is cleared, a new one starts.
// A worker that dies again and again is a fault that restarting does not mend: then the role gives up and says so.
import { Worker } from 'node:worker_threads';
import { type Log, messageOf } from './log.ts';
import { type FromWorker, type ToWorker, type WorkerStart } from './worker-messages.ts';

export interface SupervisorOptions {
  readonly start: WorkerStart;
  readonly log: Log;
  /** Deaths within a minute after which no new worker is started. */
  readonly deathsMax?: number | undefined;
  onMessage(message: FromWorker): void;
  /** The worker is gone: clear its region. */
  onDeath(): void;
  /** A worker is up, the first one or a later one: open its ports. */
  onStart(): void;
  /** No more restarts. */
  onGiveUp(error: Error): void;
  /** Where the worker's file is; only tests have another. */
  readonly entry?: URL;
}

export interface Supervisor {
  post(message: ToWorker): void;
  /** Workers started after the first one, and workers that died. */
  readonly restarts: number;
  readonly deaths: number;
  /** The worker takes messages; before that `onStart` is still to come. */
  readonly isReady: boolean;
  /** Stops the worker in an orderly way, or by force after a second. */
  close(): Promise<void>;
}

const DEATHS_MAX = 5;
const MINUTE_MS = 60_000;
const STOP_MS = 1_000;

export function superviseWorker(options: SupervisorOptions): Supervisor {
  const { log } = options;
  const entry = options.entry ?? new URL(import.meta.resolve('@openclb/l4/worker'));
  const recent: number[] = [];
  let deaths = 0;
  let restarts = 0;
  let closing = false;
  let isReady = false;
  let worker = launch();

  function launch(): Worker {
    const started = new Worker(entry, { workerData: options.start, name: `clb-worker-${options.start.worker}` });
    let reason = 'it ended without saying why';
    started.on('message', (message: FromWorker) => {
      if (message.type === 'ready') {
        isReady = true;
        options.onStart();
      } else options.onMessage(message);
    });
    started.on('error', (error) => (reason = messageOf(error)));
    started.on('exit', () => {
      if (!closing) bury(reason);
    });
    return started;
  }

  function bury(reason: string): void {
    isReady = false;
    options.onDeath();
    const now = performance.now();
    deaths++;
    recent.push(now);
    while (recent[0]! < now - MINUTE_MS) recent.shift();
    if (recent.length >= (options.deathsMax ?? DEATHS_MAX)) {
      const text = `the packet worker died ${recent.length} times within a minute, the last time: ${reason}`;
      log.error({ reason }, text);
      options.onGiveUp(new Error(text));
      return;
    }
    log.error({ reason, deaths }, 'the packet worker died; its flows are lost, a new one starts');
    restarts++;
    worker = launch();
  }

  return {
    post: (message) => worker.postMessage(message),
    get restarts() {
      return restarts;
    },
    get deaths() {
      return deaths;
    },
    get isReady() {
      return isReady;
    },
    async close() {
      closing = true;
      const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      worker.postMessage({ type: 'stop' } satisfies ToWorker);
      const timer = setTimeout(() => void worker.terminate(), STOP_MS);
      if (worker.threadId === -1) return clearTimeout(timer);
      await gone;
      clearTimeout(timer);
    },
  };
}
