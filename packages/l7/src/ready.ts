// GET /ready for the directors' probes (P24): 200 while this proxy takes requests, 503 while it drains. Not the data path.
import http from 'node:http';
import type { CompiledImage, Prepared } from './image.ts';

export class ReadyServer {
  readonly #host: string | undefined;
  readonly #isReady: () => boolean;
  readonly #reusePort: boolean;
  #server: http.Server | null = null;
  port = 0;

  constructor(host: string | undefined, isReady: () => boolean, reusePort = false) {
    this.#host = host;
    this.#isReady = isReady;
    this.#reusePort = reusePort;
  }

  /** Listens on the image's port. Its commit leaves the port before. */
  async prepare(image: CompiledImage): Promise<Prepared> {
    const { readyPort } = image.source;
    if (readyPort === this.port) return { commit: () => {}, abort: () => {} };
    const server = readyPort === 0 ? null : await this.#listen(readyPort);
    const commit = (): void => {
      this.close();
      this.#server = server;
      this.port = readyPort;
    };
    return { commit, abort: () => void server?.close() };
  }

  async #listen(port: number): Promise<http.Server> {
    const timeouts = { requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1_000 };
    const server = http.createServer(timeouts, (request, response) => {
      request.resume();
      const isKnown = request.url === '/ready' && (request.method === 'GET' || request.method === 'HEAD');
      const status = !isKnown ? 404 : this.#isReady() ? 200 : 503;
      response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' });
      response.end(status === 200 ? 'ready\n' : status === 503 ? 'not ready\n' : 'only GET /ready is here\n');
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen(
      { port, reusePort: this.#reusePort, ...(this.#host === undefined ? {} : { host: this.#host }) },
      resolve,
    );
    await promise;
    return server;
  }

  close(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#server = null;
    this.port = 0;
  }
}
