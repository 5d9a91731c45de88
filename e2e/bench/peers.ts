// The two ends of the e2e benches: a server and a client for bounded bytes over one TCP connection, and an answerer of small HTTP requests.
// usage: node peers.ts serve PORT · node peers.ts fetch ADDRESS PORT BYTES (prints seconds) · node peers.ts answer PORT
import { connect, createServer } from 'node:net';

const BLOCK = Buffer.alloc(1 << 20, 0x61);
const FETCH_MS_MAX = 30_000;
/** Nobody needs a server of a bench for longer. */
const SERVE_MS_MAX = 600_000;
const ANSWER = Buffer.from('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n');

const [mode = '', ...words] = process.argv.slice(2);

/** The first line of a connection says how many bytes are wanted. */
function serve(port: number): void {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (chunk: Buffer) => {
      let left = Number(chunk.toString('latin1'));
      const pump = (): void => {
        while (left > 0) {
          const bytes = Math.min(left, BLOCK.length);
          left -= bytes;
          if (!socket.write(bytes === BLOCK.length ? BLOCK : BLOCK.subarray(0, bytes))) return;
        }
        socket.end();
      };
      socket.on('drain', pump);
      pump();
    });
  });
  server.listen(port, '::', () => console.log(`ready: serves on ${port}`));
}

function fetchBytes(address: string, port: number, wanted: number): void {
  const socket = connect({ host: address, port });
  const from = performance.now();
  let seen = 0;
  const fail = (why: string): void => {
    console.error(why);
    process.exit(1);
  };
  setTimeout(() => fail(`only ${seen} of ${wanted} bytes came in ${FETCH_MS_MAX} ms`), FETCH_MS_MAX).unref();
  socket.on('error', (error) => fail(error.message));
  socket.on('connect', () => socket.write(`${wanted}\n`));
  socket.on('data', (chunk: Buffer) => (seen += chunk.length));
  socket.on('end', () => {
    if (seen !== wanted) fail(`${seen} of ${wanted} bytes came`);
    console.log((performance.now() - from) / 1000);
    process.exit(0);
  });
}

/** Every read is one request, because the proxy sends one at a time on a connection. */
function answer(port: number): void {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write(ANSWER));
  });
  server.listen(port, '::', () => console.log(`ready: answers on ${port}`));
}

if (mode === 'serve') serve(Number(words[0]));
else if (mode === 'answer') answer(Number(words[0]));
else fetchBytes(words[0] ?? '', Number(words[1]), Number(words[2]));
if (mode !== 'fetch') setTimeout(() => process.exit(0), SERVE_MS_MAX).unref();
