// Upstream for machines without nginx: `upstream.ts <port>` answers every read with one response, which is enough for keep-alive.
import net from 'node:net';

const [, , port = '0'] = process.argv;
const answer = (body: string): Buffer =>
  Buffer.from(
    `HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
const small = answer('hello, world\n');
const large = answer('x'.repeat(100 * 1024));

net
  .createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => socket.write(chunk.includes('GET /large') ? large : small));
  })
  .listen(Number(port), '127.0.0.1');
setTimeout(() => process.exit(0), 300_000).unref();
