// One worker thread of a proxy: listeners of its own on the same ports (`reusePort`), pools of its own, and what all share.
import { parentPort, workerData } from 'node:worker_threads';
import type { ProxyOptions } from './proxy.ts';
import { createWorkerProxy } from './proxy.ts';
import type { AccessRecord } from './log/record.ts';
import type { ConnectionRecord } from './relay/context.ts';
import type { FromWorker, ToWorker, WorkerStart } from './scale/messages.ts';
import { CounterPages } from './scale/shared.ts';
import { WorkerShare } from './scale/share.ts';
import type { CertificatePair } from './tls/certificates.ts';

const TICK_MS = 100;
const LOG_BATCH_RECORDS = 512;

const start = workerData as WorkerStart;
const port = parentPort!;
const post = (message: FromWorker): void => port.postMessage(message);
const share = new WorkerShare(start.rates, start.counts, start.worker);
const pages = new CounterPages(start.pages);
const asked = new Map<number, PromiseWithResolvers<CertificatePair | undefined>>();
let asks = 0;
let records: AccessRecord[] = [];
let connections: ConnectionRecord[] = [];

const flushConnections = (): void => {
  if (connections.length === 0) return;
  post({ type: 'connections', records: connections });
  connections = [];
};

const flushLog = (): void => {
  if (records.length === 0) return;
  post({ type: 'log', records });
  records = [];
};

const extensions = await extensionsOf(start);
const { ticketPeriodMs, proxyProtocol, ...options } = start.options;
const proxy = createWorkerProxy(
  {
    ...options,
    ...(ticketPeriodMs === undefined ? {} : { ticketPeriodMs }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    ...extensions,
    reusePort: true,
    certificates: (id) => {
      const answer = Promise.withResolvers<CertificatePair | undefined>();
      asked.set(++asks, answer);
      post({ type: 'certificate', ask: asks, id });
      return answer.promise;
    },
    onError: (source, error) =>
      post({ type: 'error', source, message: error instanceof Error ? error.message : String(error) }),
    ...(start.logs
      ? {
          accessLog: (record: AccessRecord) => {
            if (records.push(record) >= LOG_BATCH_RECORDS) flushLog();
          },
        }
      : {}),
    ...(start.logsConnections
      ? {
          connectionLog: (record: ConnectionRecord) => {
            if (connections.push(record) >= LOG_BATCH_RECORDS) flushConnections();
          },
        }
      : {}),
  },
  share,
);

const tick = (): void => {
  pages.write(start.worker, proxy.counters());
  share.syncResting();
  flushLog();
  flushConnections();
};
const timer = setInterval(tick, TICK_MS);

port.on('message', (message: ToWorker) => void on(message));
post({ type: 'ready' });

async function extensionsOf({
  module,
}: WorkerStart): Promise<Pick<ProxyOptions, 'filters' | 'schedulers' | 'mysqlRouters'>> {
  if (module === null) return {};
  const { setup } = (await import(module.url)) as { setup: (data: unknown) => Promise<Pick<ProxyOptions, 'filters'>> };
  return setup(module.data);
}

async function on(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'apply':
      return apply(message);
    case 'health':
      return share.readVerdicts();
    case 'tickets':
      return proxy.setTicketSecret(message.secret);
    case 'certificate': {
      const { ask, pair, error } = message;
      if (error === undefined) asked.get(ask)?.resolve(pair);
      else asked.get(ask)?.reject(new Error(error));
      asked.delete(ask);
      return;
    }
    case 'close':
      await proxy.close();
      clearInterval(timer);
      tick();
      post({ type: 'closed' });
      port.close();
  }
}

async function apply({ serial, image, state }: Extract<ToWorker, { type: 'apply' }>): Promise<void> {
  try {
    await proxy.apply(image, state);
    post({ type: 'applied', serial, addresses: proxy.addresses() });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    post({ type: 'refused', serial, message, ...(code === undefined ? {} : { code }) });
  }
}
