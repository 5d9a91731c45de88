// GET /ready for the directors' probes (P24): 200 once an image is applied, 503 before and while draining. Not the data path.
import http from 'node:http';

export interface ReadyServer {
  readonly port: number;
  close(): void;
}

export async function startReady(port: number, host: string | undefined, isReady: () => boolean): Promise<ReadyServer> {
  const server = http.createServer(
    { requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1_000 },
    (request, response) => {
      request.resume();
      const isKnown = request.url === '/ready' && (request.method === 'GET' || request.method === 'HEAD');
      const status = !isKnown ? 404 : isReady() ? 200 : 503;
      response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' });
      response.end(status === 200 ? 'ready\n' : status === 503 ? 'not ready\n' : 'only GET /ready is here\n');
    },
  );
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ port, ...(host === undefined ? {} : { host }) }, resolve);
  await promise;
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
