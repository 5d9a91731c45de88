// A UDP server that answers from the very addresses it was given, as one must whose machine has several: node udp-echo.ts NAME PORT ADDRESS…
import { createSocket } from 'node:dgram';

const [name = '', port = '', ...addresses] = process.argv.slice(2);
await Promise.all(
  addresses.map((address) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('message', (text, from) =>
      socket.send(
        JSON.stringify({ name, peer: from.address, local: address, text: text.toString() }),
        from.port,
        from.address,
      ),
    );
    return new Promise<void>((resolve) => socket.bind(Number(port), address, resolve));
  }),
);
console.error(`ready: ${name}`);
