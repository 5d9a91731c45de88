// The server inside a VM: answers HTTP with its own name, the peer it saw and the headers it got; echoes UDP. Plain Node, no package.
// usage: node vm.ts --name vm-a1 --port 8080 [--broken-port 8081]
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { parseArgs } from 'node:util';

/** What a VM answers. */
export interface VmAnswer {
  name: string;
  peer: string;
  peerPort: number;
  local: string;
  localPort: number;
  method: string;
  url: string;
  headers: Record<string, string | string[] | undefined>;
  /** Bytes received in the body and their SHA-256. */
  bodyBytes: number;
  bodyHash: string;
}

const BODY_BYTES_MAX = 64 << 20;
/** `/hold/<ms>` keeps a connection open, so that two of them surely overlap. */
const HOLD_MS_MAX = 10_000;
/** `/drip/<pieces>` answers with as many pieces of this size. */
export const DRIP_BYTES = 4000;
const DRIP_MS = 20;
const DRIPS_MAX = 1000;
/** `::ffff:a.b.c.d` is how a dual-stack socket shows an IPv4 peer. */
const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

/** `n` bytes that depend on their place, so that a lost or doubled segment changes the hash. */
export function patternBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at + 4 <= count; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at);
  return bytes;
}

/** Sends a piece every 20 ms for as long as asked: a download that takes its time, in which only this side sends. */
function dripInto(response: ServerResponse, pieces: number): void {
  const all = patternBytes(pieces * DRIP_BYTES);
  response.setHeader('content-length', all.length);
  let sent = 0;
  const timer = setInterval(() => {
    response.write(all.subarray(sent * DRIP_BYTES, (sent + 1) * DRIP_BYTES));
    sent += 1;
    if (sent < pieces) return;
    clearInterval(timer);
    response.end();
  }, DRIP_MS);
  response.on('close', () => clearInterval(timer));
}

function answer(name: string, request: IncomingMessage, response: ServerResponse): void {
  const size = /^\/bytes\/(\d+)$/.exec(request.url ?? '');
  const hash = createHash('sha256');
  let bodyBytes = 0;
  request.on('data', (chunk: Buffer) => {
    bodyBytes += chunk.length;
    hash.update(chunk);
  });
  request.on('end', () => {
    const drip = /^\/drip\/(\d+)$/.exec(request.url ?? '');
    if (drip) return dripInto(response, Math.min(Number(drip[1]), DRIPS_MAX));
    if (size) return void response.end(patternBytes(Math.min(Number(size[1]), BODY_BYTES_MAX)));
    const { remoteAddress, remotePort, localAddress, localPort } = request.socket;
    const body: VmAnswer = {
      name,
      peer: plain(remoteAddress),
      peerPort: remotePort ?? 0,
      local: plain(localAddress),
      localPort: localPort ?? 0,
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      bodyBytes,
      bodyHash: hash.digest('hex'),
    };
    response.setHeader('content-type', 'application/json');
    const hold = /^\/hold\/(\d+)$/.exec(request.url ?? '');
    setTimeout(() => response.end(`${JSON.stringify(body)}\n`), hold ? Math.min(Number(hold[1]), HOLD_MS_MAX) : 0);
  });
}

function main(): void {
  const { values } = parseArgs({
    options: {
      name: { type: 'string' },
      port: { type: 'string', default: '8080' },
      'broken-port': { type: 'string' },
    },
  });
  const name = values.name ?? 'vm';
  const port = Number(values.port);
  const server = createServer((request, response) => answer(name, request, response));
  const echo = createSocket('udp6');
  echo.on('message', (message, peer) =>
    echo.send(
      JSON.stringify({ name, peer: plain(peer.address), peerPort: peer.port, text: message.toString() }),
      peer.port,
      peer.address,
    ),
  );
  echo.on('error', () => undefined);
  const ready = (): void => console.log(`ready: ${name} on port ${port}`);
  const listen = (): void => void server.listen(port, '::', ready);
  const brokenPort = values['broken-port'];
  echo.bind(port, '::', () => (brokenPort === undefined ? listen() : breakAll(Number(brokenPort), listen)));
}

/** A server that fails: it accepts, as health checks want it, and resets as soon as a request has come. */
function breakAll(port: number, onReady: () => void): void {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.resetAndDestroy());
  });
  server.listen(port, '::', onReady);
}

if (import.meta.main) main();
