// The client: makes HTTP requests and UDP questions from its namespace, with the local address and port it is told. Plain Node, no package.
// Commands come as JSON lines on stdin, answers go as JSON lines to stdout. It never retries: a failure is an answer.
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';

export interface HttpOrder {
  kind: 'http';
  address: string;
  port: number;
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  localAddress?: string;
  localPort?: number;
  /** A body of this many pattern bytes. */
  bodyBytes?: number;
  /** Or this body. */
  body?: string;
  timeoutMs?: number;
}

export interface UdpOrder {
  kind: 'udp';
  address: string;
  port: number;
  text: string;
  localAddress?: string;
  localPort?: number;
  timeoutMs?: number;
}

export type Order = HttpOrder | UdpOrder;

export interface Outcome {
  /** HTTP status; 0 for UDP and failures. */
  status: number;
  headers: Record<string, string>;
  /** Text of bodies up to 512 KiB; longer ones by their hash. */
  body: string;
  bodyBytes: number;
  bodyHash: string;
  localPort: number;
  error?: string;
  ms: number;
}

/** One line on stdin: many orders, `concurrency` of them at a time. */
export interface Command {
  id: number;
  orders: Order[];
  concurrency: number;
  /** Waits between two starts of one lane. */
  paceMs?: number;
}

/** Longer bodies are told by their hash. */
const BODY_TEXT_BYTES_MAX = 512 << 10;
const TIMEOUT_MS = 3000;

const failed = (error: string, started: number, localPort = 0): Outcome => ({
  status: 0,
  headers: {},
  body: '',
  bodyBytes: 0,
  bodyHash: '',
  localPort,
  error,
  ms: performance.now() - started,
});

function requestText(order: HttpOrder, bodyBytes: number): string {
  const host = isIPv6(order.address) ? `[${order.address}]` : order.address;
  const headers: Record<string, string> = { host, connection: 'close', ...order.headers };
  if (bodyBytes > 0) headers['content-length'] = String(bodyBytes);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${order.method ?? (bodyBytes > 0 ? 'POST' : 'GET')} ${order.path ?? '/'} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** One request on one connection, read to the end that the server makes, so no TIME_WAIT stays at this side. */
export function http(order: HttpOrder): Promise<Outcome> {
  const started = performance.now();
  return new Promise((resolve) => {
    const socket = connect({
      host: order.address,
      port: order.port,
      ...(order.localAddress ? { localAddress: order.localAddress } : {}),
      ...(order.localPort ? { localPort: order.localPort } : {}),
    });
    let localPort = order.localPort ?? 0;
    const chunks: Buffer[] = [];
    const give = (outcome: Outcome): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => give(failed('timeout', started, localPort)), order.timeoutMs ?? TIMEOUT_MS);
    socket.on('connect', () => {
      localPort = socket.localPort ?? localPort;
      const body = order.body === undefined ? pattern(order.bodyBytes ?? 0) : Buffer.from(order.body);
      socket.write(requestText(order, body.length));
      if (body.length > 0) socket.write(body);
    });
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', (error: NodeJS.ErrnoException) => give(failed(error.code ?? error.message, started, localPort)));
    socket.on('end', () => give({ ...readAnswer(Buffer.concat(chunks)), localPort, ms: performance.now() - started }));
  });
}

function readAnswer(bytes: Buffer): Omit<Outcome, 'ms' | 'localPort'> {
  const headEnd = bytes.indexOf('\r\n\r\n');
  const [statusLine = '', ...lines] = bytes.subarray(0, Math.max(headEnd, 0)).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1] ?? 0);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const raw = bytes.subarray(headEnd + 4);
  const body = headers['transfer-encoding'] === 'chunked' ? joinChunks(raw) : raw;
  const expected = headers['content-length'];
  const error =
    status === 0
      ? 'no HTTP answer'
      : expected !== undefined && Number(expected) !== body.length
        ? 'body cut short'
        : undefined;
  return {
    status,
    headers,
    body: body.length <= BODY_TEXT_BYTES_MAX ? body.toString() : '',
    bodyBytes: body.length,
    bodyHash: createHash('sha256').update(body).digest('hex'),
    ...(error ? { error } : {}),
  };
}

function joinChunks(raw: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < raw.length;) {
    const lineEnd = raw.indexOf('\r\n', at);
    if (lineEnd < 0) break;
    const size = Number.parseInt(raw.subarray(at, lineEnd).toString('latin1'), 16);
    if (!(size > 0)) break;
    parts.push(raw.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
  return Buffer.concat(parts);
}

function pattern(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at + 4 <= count; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at);
  return bytes;
}

export function udp(order: UdpOrder): Promise<Outcome> {
  const started = performance.now();
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(order.address) ? 'udp6' : 'udp4');
    const give = (outcome: Outcome): void => {
      clearTimeout(timer);
      socket.close();
      resolve(outcome);
    };
    const timer = setTimeout(() => give(failed('timeout', started)), order.timeoutMs ?? TIMEOUT_MS);
    socket.on('error', (error: NodeJS.ErrnoException) => give(failed(error.code ?? error.message, started)));
    socket.on('message', (message, { address }) => {
      // An answer from somewhere else is none.
      if (address !== order.address) return;
      give({
        ...failed('', started, socket.address().port),
        body: message.toString(),
        bodyBytes: message.length,
        ...({ error: undefined } as object),
      } as Outcome);
    });
    socket.bind(order.localPort ?? 0, order.localAddress, () => socket.send(order.text, order.port, order.address));
  });
}

async function run(command: Command): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < command.orders.length; index = next++) {
      const order = command.orders[index] as Order;
      outcomes[index] = order.kind === 'http' ? await http(order) : await udp(order);
      if (command.paceMs) await new Promise((resolve) => setTimeout(resolve, command.paceMs));
    }
  };
  await Promise.all(Array.from({ length: Math.min(command.concurrency, command.orders.length) }, lane));
  return outcomes;
}

function main(): void {
  createInterface({ input: process.stdin }).on('line', (line) => {
    const command = JSON.parse(line) as Command;
    void run(command).then((outcomes) => process.stdout.write(`${JSON.stringify({ id: command.id, outcomes })}\n`));
  });
  process.stdin.on('end', () => process.exit(0));
  console.error('ready: client');
}

if (import.meta.main) main();
