// GET /metrics of a role (`--metrics ADDRESS:PORT`): Prometheus text, made anew for each scrape. Answers nothing else and changes nothing.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { formatHostPort, parseHostPort } from '../address.ts';
import { sentenceOf } from '../errors.ts';
import type { Flags } from '../flags.ts';
import { listenError } from '../listen-error.ts';
import type { Running } from '../role.ts';
import { CONTENT_TYPE, type Family, metricsText } from './text.ts';

const CONNECTIONS_MAX = 64;
const REQUEST_MS_MAX = 10_000;

export const metricsFlag = {
  metrics: {
    schema: { type: 'string', description: 'serve Prometheus metrics at http://ADDRESS:PORT/metrics' },
    value: 'ADDRESS:PORT',
    env: 'CLB_METRICS',
  },
} as const satisfies Flags;

export interface MetricsServer extends Running {
  readonly url: string;
}

/** Serves until closed. Throws when the address cannot be listened on. */
export async function serveMetrics(listen: string, read: () => Family[] | Promise<Family[]>): Promise<MetricsServer> {
  const where = parseHostPort(listen, '--metrics');
  const server = createServer(
    { requestTimeout: REQUEST_MS_MAX, headersTimeout: REQUEST_MS_MAX },
    (request, response) => {
      if (request.url?.split('?')[0] !== '/metrics' || (request.method !== 'GET' && request.method !== 'HEAD')) {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at GET /metrics\n');
        return;
      }
      void (async () => metricsText([...(await read()), ...processFamilies()]))().then(
        (text) => response.writeHead(200, { 'content-type': CONTENT_TYPE }).end(request.method === 'HEAD' ? '' : text),
        (error: unknown) => response.writeHead(500, { 'content-type': 'text/plain' }).end(`${sentenceOf(error)}\n`),
      );
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, formatHostPort(where))));
    server.listen(where.port, where.host, resolve);
  });
  const { address, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}/metrics`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A role with its metrics beside it: they end first. */
export async function withMetrics<R extends Running>(
  role: R,
  listen: string | undefined,
  read: (role: R) => Family[] | Promise<Family[]>,
): Promise<{ readonly role: R; readonly metrics: string | undefined } & Running> {
  if (listen === undefined) return { role, metrics: undefined, close: () => role.close() };
  try {
    const server = await serveMetrics(listen, () => read(role));
    return {
      role,
      metrics: server.url,
      async close() {
        await server.close();
        await role.close();
      },
    };
  } catch (error) {
    await role.close();
    throw error;
  }
}

/** The names that every Prometheus client library gives them. */
function processFamilies(): Family[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const one = (name: string, type: Family['type'], help: string, value: number): Family => ({
    name,
    type,
    help,
    samples: [{ value }],
  });
  return [
    one('process_cpu_seconds_total', 'counter', 'CPU time of all threads, in seconds.', (user + system) / 1e6),
    one('process_resident_memory_bytes', 'gauge', 'Memory in use, in bytes.', rss),
    one(
      'process_start_time_seconds',
      'gauge',
      'Start, in seconds since 1970.',
      Math.round(performance.timeOrigin) / 1000,
    ),
    one('nodejs_heap_size_used_bytes', 'gauge', 'JavaScript heap in use, in bytes.', heapUsed),
  ];
}
