// Load generator on raw sockets for machines without wrk: `load.ts <url> <connections> <seconds>`, prints `Requests/sec:`.
import net from 'node:net';

const [, , url = '', connections = '64', seconds = '3'] = process.argv;
const { hostname, port, pathname, host } = new URL(url);
const request = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
let done = 0;

for (let index = 0; index < Number(connections); index++) {
  const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
  let left = -1;
  let head = '';
  socket.on('connect', () => socket.write(request));
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    if (left < 0) {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      left = Number(/content-length: (\d+)/i.exec(head)![1]) - (head.length - end - 4);
    } else left -= chunk.length;
    if (left > 0) return;
    done++;
    left = -1;
    head = '';
    socket.write(request);
  });
}
setTimeout(
  () => {
    console.log(`Requests/sec: ${done / Number(seconds)}`);
    process.exit(0);
  },
  Number(seconds) * 1000,
);
