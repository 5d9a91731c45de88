// TLS by node:tls behind the provider interface of `identify`: versions, ciphers and client certificates by the listener's policy,
// certificates by SNI. What it refuses has a reason that is counted.
import type net from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type CompiledImage, type CompiledListener, ImageRefused, type Prepared } from './image.ts';
import { HandshakeRefused, type SecureIdentity, type TlsProvider } from './phase/identify.ts';
import { normalHost } from './routes.ts';
import { type CertificatePair, keyOf, load, type Loaded } from './tls/certificates.ts';
import { clientFields } from './tls/client.ts';
import { buildListener, type ListenerTls } from './tls/context.ts';
import { readServerName } from './tls/hello.ts';
import type { TicketKeys } from './tls/secrets.ts';

export type { CertificatePair } from './tls/certificates.ts';

/** Secrets come beside the image, never in it (B11). */
export type CertificateLookup = (id: string) => CertificatePair | undefined | Promise<CertificatePair | undefined>;

const HANDSHAKE_RECORD = 0x16;
const TLS_MAJOR = 3;

/** OpenSSL's words → reasons that are counted. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|WRONG_VERSION|PROTOCOL_VERSION|INAPPROPRIATE_FALLBACK/, 'tls-version'],
  [/NO_SHARED_CIPHER|NO_CIPHERS/, 'tls-cipher'],
  [/NO_APPLICATION_PROTOCOL/, 'tls-alpn'],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/, 'tls-client-certificate-missing'],
  [/CERT|SELF_SIGNED|UNABLE_TO|INVALID_CA|PATH_LENGTH/, 'tls-client-certificate-refused'],
];

interface Waiting {
  readonly resolve: (socket: TLSSocket) => void;
  readonly reject: (error: Error) => void;
}

interface Row extends ListenerTls {
  readonly listener: CompiledListener;
  readonly certificates: readonly Loaded[];
  /** Handshakes under way by the connection's four numbers. */
  readonly waiting: Map<string, Waiting>;
}

export class NodeTls implements TlsProvider {
  readonly name = 'node:tls';
  readonly #lookup: CertificateLookup;
  readonly #handshakeTimeoutMs: number;
  readonly #tickets: TicketKeys;
  /** By listener id. */
  #rows: ReadonlyMap<string, Row> = new Map();

  constructor(lookup: CertificateLookup, handshakeTimeoutMs: number, tickets: TicketKeys) {
    this.#lookup = lookup;
    this.#handshakeTimeoutMs = handshakeTimeoutMs;
    this.#tickets = tickets;
    tickets.start(() => this.#rotate());
  }

  /** Tickets of the secret before cost their clients one full handshake. */
  setTicketSecret(secret: Uint8Array): void {
    this.#tickets.set(secret);
    this.#rotate();
  }

  close(): void {
    this.#tickets.stop();
  }

  /** Builds the contexts of an image. */
  async prepare(image: CompiledImage): Promise<Prepared> {
    const rows = new Map<string, Row>();
    const loaded = new Map<string, Loaded>();
    const keys = this.#tickets.at(Date.now());
    for (const listener of image.listeners) {
      if (listener.protocol !== 'https' && listener.protocol !== 'tcp-ssl') continue;
      const certificates: Loaded[] = [];
      for (const id of listener.certificates) {
        let certificate = loaded.get(id);
        if (certificate === undefined) {
          certificate = await this.#load(id, listener);
          loaded.set(id, certificate);
        }
        certificates.push(certificate);
      }
      if (certificates.length === 0)
        throw new ImageRefused(`listener ${listener.name} speaks TLS but has no certificate`);
      rows.set(listener.id, this.#row(listener, certificates, keys));
    }
    return { commit: () => void (this.#rows = rows), abort: () => {} };
  }

  /** New ticket keys for the handshakes to come. */
  #rotate(): void {
    const keys = this.#tickets.at(Date.now());
    const rows = new Map<string, Row>();
    for (const [id, { listener, certificates }] of this.#rows) rows.set(id, this.#row(listener, certificates, keys));
    this.#rows = rows;
  }

  #row(listener: CompiledListener, certificates: readonly Loaded[], keys: Buffer): Row {
    const row: Row = { ...buildListener(listener, certificates, keys), listener, certificates, waiting: new Map() };
    for (const server of row.servers) {
      server.on('secureConnection', (socket) => row.waiting.get(connectionKey(socket))?.resolve(socket));
      server.on('tlsClientError', (error, socket) => row.waiting.get(connectionKey(socket))?.reject(error));
    }
    return row;
  }

  async #load(id: string, listener: CompiledListener): Promise<Loaded> {
    const pair = await this.#lookup(id);
    if (pair === undefined)
      throw new ImageRefused(`listener ${listener.name} names certificate ${id}, which is not here`);
    try {
      return load(id, pair);
    } catch (error) {
      throw new ImageRefused(`certificate ${id} cannot be used: ${(error as Error).message}`);
    }
  }

  claims(first: Buffer): boolean {
    return first[0] === HANDSHAKE_RECORD && first[1] === TLS_MAJOR;
  }

  async accept(socket: net.Socket, listener: CompiledListener): Promise<SecureIdentity> {
    const row = this.#rows.get(listener.id);
    if (row === undefined) throw new Error(`listener ${listener.name} has no certificates`);
    const startedAt = performance.now();
    const { secure, serverName } = await this.#handshake(socket, row);
    const told = clientFields(secure, row.policy);
    return {
      socket: secure,
      serverName,
      alpn: secure.alpnProtocol || '',
      clientFields: told,
      handshakeMs: performance.now() - startedAt,
      isMisdirected: (host) => isMisdirected(row, serverName, host),
    };
  }

  async #handshake(socket: net.Socket, row: Row): Promise<{ secure: TLSSocket; serverName: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
    const key = connectionKey(socket);
    const timer = setTimeout(() => reject(new HandshakeRefused('handshake-failed')), this.#handshakeTimeoutMs);
    const onClose = (): void => reject(new HandshakeRefused('handshake-failed'));
    row.waiting.set(key, { resolve, reject: (error) => reject(new HandshakeRefused(reasonOf(error))) });
    socket.once('close', onClose);
    try {
      const serverName = await Promise.race([readServerName(socket), promise.then(() => '')]);
      row.serverFor(serverName).emit('connection', socket);
      // From here on OpenSSL has one context and no say in names.
      return { secure: await promise, serverName };
    } finally {
      clearTimeout(timer);
      socket.off('close', onClose);
      row.waiting.delete(key);
    }
  }
}

/** Both addresses and both ports: no other connection has them at the same time. */
function connectionKey(socket: net.Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

function reasonOf(error: NodeJS.ErrnoException): string {
  const text = error.code ?? error.message;
  return REASONS.find(([pattern]) => pattern.test(text))?.[1] ?? 'handshake-failed';
}

/** A client that named no server, or a host without a certificate of its own, is where it belongs. */
function isMisdirected({ names }: Row, serverName: string, host: string): boolean {
  if (serverName === '') return false;
  const name = normalHost(host);
  if (name === serverName.toLowerCase()) return false;
  const wanted = names.find(name);
  return wanted !== null && keyOf(wanted) !== keyOf(names.find(serverName) ?? names.fallback);
}
