// Servers of e2e/syn-proxy.e2e.test.ts inside a VM: one that speaks first, and TLS with a certificate that names it.
// usage: node speak-first.ts NAME BANNER_PORT TLS_PORT
import { createServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { CERTIFICATES } from '../packages/l7/test/certificates.ts';

const [name = '', banner = '', tls = ''] = process.argv.slice(2);
const { certificate, privateKey } = CERTIFICATES['a.test']!;

createServer((socket) => {
  socket.on('error', () => socket.destroy());
  socket.write(`220 ${name}\r\n`);
  socket.on('data', (data) => socket.end(`250 ${data.length}\r\n`));
}).listen(Number(banner), () => {
  createTlsServer({ cert: certificate, key: privateKey }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.end(`tls ${name}\r\n`);
  }).listen(Number(tls), () => process.stdout.write('ready:\n'));
});
