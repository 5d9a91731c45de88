// Holds connections for the bench of memory: `hold.ts idle|websocket <port> <count>` opens them, says so and keeps them;
// `hold.ts serve <port>` is a target that agrees to every upgrade. Ends by itself after two minutes.
import net from 'node:net';

const [, , kind = '', port = '0', total = '0'] = process.argv;
const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
const AT_ONCE = 64;
setTimeout(() => process.exit(0), 120_000);

function serve(): void {
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.once('data', () =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
    );
  });
  server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
}

function open(): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect({ port: Number(port), host: '127.0.0.1', noDelay: true });
    socket.write(`GET / HTTP/1.1\r\nHost: a.test\r\n${kind === 'websocket' ? UPGRADE : ''}\r\n`);
    socket.on('error', () => resolve());
    socket.on('data', () => resolve());
  });
}

if (kind === 'serve') serve();
else {
  let left = Number(total);
  const loop = async (): Promise<void> => {
    while (left-- > 0) await open();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, loop));
  console.log('held');
}
