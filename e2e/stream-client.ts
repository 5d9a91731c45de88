// A client with many long streams, for the tests of cluster state. Plain Node, no package; it never opens a stream again.
// Orders come as JSON lines on stdin: {"open": …} makes streams, {"wake": true} lets the silent ones speak, {"report": true} asks for all.
import { type Socket, connect } from 'node:net';
import { createInterface } from 'node:readline';

export interface StreamOrder {
  /** Streams of this name: `drip` only the target sends, `echo` both, `idle` nobody until woken. */
  open?: { name: string; address: string; port: number; kind: 'drip' | 'echo' | 'idle'; count: number };
  wake?: boolean;
  report?: boolean;
}

export interface StreamReport {
  name: string;
  kind: string;
  /** Milliseconds since a byte came. */
  silentMs: number;
  bytes: number;
  error: string | null;
  localPort: number;
}

const ECHO_MS = 50;

interface Stream {
  name: string;
  kind: 'drip' | 'echo' | 'idle';
  socket: Socket;
  lastMs: number;
  bytes: number;
  error: string | null;
  localPort: number;
  timer?: NodeJS.Timeout;
}

const streams: Stream[] = [];

function speak(stream: Stream): void {
  stream.timer ??= setInterval(() => stream.socket.write('.'), ECHO_MS);
}

function open({ name, address, port, kind }: NonNullable<StreamOrder['open']>): void {
  const socket = connect({ host: address, port, noDelay: true });
  const stream: Stream = { name, kind, socket, lastMs: performance.now(), bytes: 0, error: null, localPort: 0 };
  streams.push(stream);
  socket.on('connect', () => {
    stream.localPort = socket.localPort ?? 0;
    socket.write(kind === 'drip' ? 'd' : 'e');
    if (kind === 'echo') speak(stream);
    // One byte there and back proves the stream to the director before it falls silent.
    if (kind === 'idle') setTimeout(() => socket.write('.'), ECHO_MS);
  });
  socket.on('data', (bytes) => {
    stream.lastMs = performance.now();
    stream.bytes += bytes.length;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => (stream.error = error.code ?? error.message));
  socket.on('close', () => {
    stream.error ??= 'closed';
    clearInterval(stream.timer);
  });
}

const report = (): StreamReport[] =>
  streams.map(({ name, kind, lastMs, bytes, error, localPort }) => ({
    name,
    kind,
    silentMs: performance.now() - lastMs,
    bytes,
    error,
    localPort,
  }));

createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line) as StreamOrder;
  if (order.open) for (let number = 0; number < order.open.count; number++) open(order.open);
  if (order.wake) for (const stream of streams) if (stream.kind === 'idle') speak(stream);
  if (order.report) process.stdout.write(`${JSON.stringify(report())}\n`);
});
process.stdin.on('end', () => process.exit(0));
console.error('ready: streams');
