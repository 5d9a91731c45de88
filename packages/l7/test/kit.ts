// Raw sockets on both sides of the proxy: what tests write and read is bytes, and none of it goes through our own codec.
import net from 'node:net';
import { onTestFinished } from 'vitest';
import { createProxy, type Proxy, type ProxyOptions } from '../src/index.ts';
import type { SimpleConfig } from '../src/simple.ts';

const WAIT_MS = 3000;

/** One end of a TCP connection with everything it has received. */
export class Peer {
  readonly socket: net.Socket;
  text = '';
  bytes = 0;
  isEnded = false;
  isClosed = false;
  /** When FIN or RST came. */
  goneAt = 0;
  wasReset = false;
  /** Counts instead of keeping, for large streams. */
  keeps = true;
  #waiting: { isDone: () => boolean; resolve: () => void }[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (this.keeps) this.text += chunk.toString('latin1');
      this.#check();
    });
    socket.on('end', () => {
      this.isEnded = true;
      this.goneAt ||= performance.now();
      this.#check();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET') this.wasReset = true;
    });
    socket.on('close', () => {
      this.isClosed = true;
      this.goneAt ||= performance.now();
      this.#check();
    });
  }

  #check(): void {
    this.#waiting = this.#waiting.filter(({ isDone, resolve }) => {
      if (!isDone()) return true;
      resolve();
      return false;
    });
  }

  async #until(what: string, isDone: () => boolean): Promise<void> {
    if (isDone()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new Error(`waited ${WAIT_MS} ms for ${what}; got:\n${this.text.slice(-2000)}`)),
      WAIT_MS,
    );
    this.#waiting.push({ isDone, resolve });
    await promise.finally(() => clearTimeout(timer));
  }

  write(text: string | Buffer): this {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
    return this;
  }

  async has(part: string | RegExp): Promise<this> {
    await this.#until(String(part), () => (typeof part === 'string' ? this.text.includes(part) : part.test(this.text)));
    return this;
  }

  /** Waits for `total` bytes as long as some come. */
  async gets(total: number): Promise<this> {
    while (this.bytes < total) {
      const { bytes } = this;
      await this.#until(`byte ${bytes + 1} of ${total}`, () => this.bytes > bytes);
    }
    return this;
  }

  async counts(part: RegExp, times: number): Promise<this> {
    await this.#until(`${times} × ${part}`, () => (this.text.match(part)?.length ?? 0) >= times);
    return this;
  }

  /** FIN or RST of the other side. */
  async ended(): Promise<this> {
    await this.#until('the end', () => this.isEnded || this.isClosed);
    return this;
  }

  /** Hands out what has come and forgets it. */
  take(): string {
    const text = this.text;
    this.text = '';
    return text;
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export interface Origin {
  readonly port: number;
  readonly url: string;
  readonly peers: Peer[];
  /** The nth connection from the proxy (from 0). */
  connection(index?: number): Promise<Peer>;
  close(): Promise<void>;
}

/** A target on raw bytes. `onRequest` is called once for each complete head. */
export async function origin(onRequest?: (head: string, peer: Peer, count: number) => void): Promise<Origin> {
  const peers: Peer[] = [];
  const sockets = new Set<net.Socket>();
  let count = 0;
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    const peer = new Peer(socket);
    peers.push(peer);
    if (onRequest === undefined) return;
    let seen = '';
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      for (let end = seen.indexOf('\r\n\r\n'); end >= 0; end = seen.indexOf('\r\n\r\n')) {
        const head = seen.slice(0, end + 4);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
        if (/transfer-encoding: chunked/i.test(head)) {
          const last = /\r\n0\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(seen.slice(end + 2));
          if (last === null) return;
          seen = seen.slice(end + 2 + last.index + last[0].length);
        } else if (seen.length < end + 4 + length) return;
        else seen = seen.slice(end + 4 + length);
        onRequest(head, peer, count++);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  onTestFinished(() => (server.listening ? close() : undefined));
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    peers,
    connection: async (index = 0) => {
      for (let waited = 0; peers[index] === undefined; waited += 5) {
        if (waited > WAIT_MS) throw new Error(`the proxy made no connection ${index}`);
        await sleep(5);
      }
      return peers[index]!;
    },
    close,
  };
}

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Answers every request with 200 and `ok`. */
export const okOrigin = (): Promise<Origin> => origin((_, peer) => void peer.write(OK));

export interface Started {
  readonly proxy: Proxy;
  readonly port: number;
  client(options?: Partial<net.TcpNetConnectOpts>): Promise<Peer>;
  /** Sends bytes on a new connection, waits for its end, returns what came. */
  ask(bytes: string): Promise<string>;
}

export async function start(config: Partial<SimpleConfig> & ProxyOptions): Promise<Started> {
  const proxy = await createProxy({ listen: 0, ...config, limits: { drainMs: 50, lingerMs: 300, ...config.limits } });
  onTestFinished(() => proxy.close());
  const { port } = proxy.addresses()[0]!;
  const client = async (options: Partial<net.TcpNetConnectOpts> = {}): Promise<Peer> => connect(port, options);
  return {
    proxy,
    port,
    client,
    ask: async (bytes) => {
      const peer = await client();
      peer.write(bytes);
      await peer.ended();
      peer.socket.destroy();
      return peer.text;
    },
  };
}

export async function connect(port: number, options: Partial<net.TcpNetConnectOpts> = {}): Promise<Peer> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true, ...options });
  const peer = new Peer(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  onTestFinished(() => void socket.destroy());
  return peer;
}

export const get = (path = '/', fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`;
export const getAndClose = (path = '/', fields = ''): string => get(path, `${fields}Connection: close\r\n`);
export const statusOf = (response: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(response)?.[1] ?? 0);

/** A target that answers with its name. */
export const named = (name: string): Promise<Origin> =>
  origin((_, peer) => void peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`));
export const bodyOf = (response: string): string => response.slice(response.indexOf('\r\n\r\n') + 4);

export async function freePort(): Promise<number> {
  const target = await origin();
  await target.close();
  await sleep(1);
  return target.port;
}
