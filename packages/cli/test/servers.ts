// Small servers and ports for tests, closed by `closers` after each.
import { once } from 'node:events';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';

export const closers: (() => unknown)[] = [];

export function portOf(server: Server | HttpServer): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

export async function listen<S extends Server | HttpServer>(server: S): Promise<S> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(
    () => new Promise((done) => (server.close(done), 'closeAllConnections' in server && server.closeAllConnections())),
  );
  return server;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  await new Promise((done) => server.close(done));
  return port;
}

/** Answers every request with its name and the address that it was told. */
export function web(name: string): Promise<HttpServer> {
  return listen(
    createHttpServer((request, response) => response.end(`${name} for ${String(request.headers['x-real-ip'])}`)),
  );
}

/** Says its name first and then returns what it gets. */
export function echo(name: string): Promise<Server> {
  return listen(
    createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write(`${name}\n`);
      socket.pipe(socket);
    }),
  );
}

export const get = async (port: number, path = '/'): Promise<string> =>
  (await fetch(`http://127.0.0.1:${port}${path}`)).text();
