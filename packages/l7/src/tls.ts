// TLS by node:tls behind the provider interface of `identify`: one context per certificate, chosen by SNI among the listener's.
import { X509Certificate } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import { type CompiledImage, type CompiledListener, ImageRefused, type Prepared } from './image.ts';
import type { SecureIdentity, TlsProvider } from './phase/identify.ts';

export interface CertificatePair {
  /** PEM, the leaf first. */
  readonly certificate: string;
  /** PEM. */
  readonly privateKey: string;
}

/** Secrets come beside the image, never in it (B11). */
export type CertificateLookup = (id: string) => CertificatePair | undefined | Promise<CertificatePair | undefined>;

interface SniTable {
  readonly byName: ReadonlyMap<string, tls.SecureContext>;
  readonly fallback: tls.SecureContext;
}

const HANDSHAKE_RECORD = 0x16;
const TLS_MAJOR = 3;

export class NodeTls implements TlsProvider {
  readonly name = 'node:tls';
  readonly #lookup: CertificateLookup;
  readonly #handshakeTimeoutMs: number;
  /** By listener id. */
  #tables: ReadonlyMap<string, SniTable> = new Map();

  constructor(lookup: CertificateLookup, handshakeTimeoutMs: number) {
    this.#lookup = lookup;
    this.#handshakeTimeoutMs = handshakeTimeoutMs;
  }

  /** Builds the contexts of an image. */
  async prepare(image: CompiledImage): Promise<Prepared> {
    const tables = new Map<string, SniTable>();
    const contexts = new Map<string, { names: readonly string[]; context: tls.SecureContext }>();
    for (const listener of image.listeners) {
      if (listener.protocol !== 'https' && listener.protocol !== 'tcp-ssl') continue;
      const byName = new Map<string, tls.SecureContext>();
      let fallback: tls.SecureContext | null = null;
      for (const id of listener.certificates) {
        let row = contexts.get(id);
        if (row === undefined) {
          row = await this.#load(id, listener);
          contexts.set(id, row);
        }
        fallback ??= row.context;
        for (const name of row.names) if (!byName.has(name)) byName.set(name, row.context);
      }
      if (fallback === null) throw new ImageRefused(`listener ${listener.name} speaks TLS but has no certificate`);
      tables.set(listener.id, { byName, fallback });
    }
    return { commit: () => void (this.#tables = tables), abort: () => {} };
  }

  async #load(
    id: string,
    listener: CompiledListener,
  ): Promise<{ names: readonly string[]; context: tls.SecureContext }> {
    const pair = await this.#lookup(id);
    if (pair === undefined)
      throw new ImageRefused(`listener ${listener.name} names certificate ${id}, which is not here`);
    try {
      const context = tls.createSecureContext({ cert: pair.certificate, key: pair.privateKey, minVersion: 'TLSv1.2' });
      return { names: namesOf(new X509Certificate(pair.certificate)), context };
    } catch (error) {
      throw new ImageRefused(`certificate ${id} cannot be used: ${(error as Error).message}`);
    }
  }

  claims(first: Buffer): boolean {
    return first[0] === HANDSHAKE_RECORD && first[1] === TLS_MAJOR;
  }

  accept(socket: net.Socket, listener: CompiledListener): Promise<SecureIdentity> {
    const { promise, resolve, reject } = Promise.withResolvers<SecureIdentity>();
    const table = this.#tables.get(listener.id);
    if (table === undefined) {
      reject(new Error(`listener ${listener.name} has no certificates`));
      return promise;
    }
    const secure = new tls.TLSSocket(socket, {
      isServer: true,
      secureContext: table.fallback,
      ALPNProtocols: ['http/1.1'],
      SNICallback: (name, answer) => answer(null, contextFor(table, name)),
    });
    const timer = setTimeout(() => secure.destroy(new Error('handshake timed out')), this.#handshakeTimeoutMs);
    const onFailed = (error?: Error | boolean): void => {
      clearTimeout(timer);
      reject(error instanceof Error ? error : new Error('gone during the handshake'));
      socket.destroy();
    };
    secure.on('error', onFailed);
    secure.once('close', onFailed);
    secure.once('secure', () => {
      clearTimeout(timer);
      secure.off('error', onFailed);
      secure.off('close', onFailed);
      const name = (secure as { servername?: string | false }).servername;
      resolve({ socket: secure, serverName: typeof name === 'string' ? name : '', alpn: secure.alpnProtocol || '' });
    });
    return promise;
  }
}

function contextFor(table: SniTable, serverName: string): tls.SecureContext {
  const name = serverName.toLowerCase();
  const exact = table.byName.get(name);
  if (exact !== undefined) return exact;
  const dot = name.indexOf('.');
  return (dot > 0 ? table.byName.get(`*${name.slice(dot)}`) : undefined) ?? table.fallback;
}

/** DNS names of a certificate, lower case. */
function namesOf(certificate: X509Certificate): string[] {
  const names = certificate.subjectAltName ?? '';
  return names
    .split(', ')
    .filter((part) => part.startsWith('DNS:'))
    .map((part) => part.slice(4).toLowerCase());
}
