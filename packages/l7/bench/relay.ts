// The ceiling of node:net: `relay.ts <port> <target port>` joins connections and parses nothing.
import net from 'node:net';

const [, , port = '0', target = '0'] = process.argv;

net
  .createServer({ noDelay: true }, (client) => {
    const upstream = net.connect({ port: Number(target), host: '127.0.0.1', noDelay: true });
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.on('data', (chunk) => void (upstream.write(chunk) || client.pause()));
    upstream.on('data', (chunk) => void (client.write(chunk) || upstream.pause()));
    upstream.on('drain', () => client.resume());
    client.on('drain', () => upstream.resume());
  })
  .listen(Number(port), '127.0.0.1');
