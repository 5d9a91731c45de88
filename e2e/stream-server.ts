// A server of long streams inside a VM, for the tests of cluster state: the first byte of a client says who sends. Plain Node, no package.
// usage: node stream-server.ts --port 9000. 'd': only this side sends, a byte every 50 ms. 'e': what comes goes back.
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';

const DRIP_MS = 50;

const { values } = parseArgs({ options: { port: { type: 'string', default: '9000' } } });
const server = createServer((socket) => {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.once('data', (first) => {
    if (first.toString('latin1', 0, 1) === 'e') {
      socket.on('data', (bytes) => socket.write(bytes));
      return;
    }
    const timer = setInterval(() => socket.write('.'), DRIP_MS);
    socket.on('close', () => clearInterval(timer));
  });
});
server.listen(Number(values.port), '::', () => console.log(`ready: streams on port ${values.port}`));
