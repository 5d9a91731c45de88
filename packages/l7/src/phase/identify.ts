// identify: what the first byte of a connection says about how to read it. TLS providers claim it; the rest is plain HTTP.
import type net from 'node:net';
import type { CompiledListener } from '../image.ts';

export interface SecureIdentity {
  /** The connection as the client's plain bytes. */
  readonly socket: net.Socket;
  readonly serverName: string;
  readonly alpn: string;
  /** Header lines that tell a target who the client proved to be; empty where nobody asked it. */
  readonly clientFields: string;
  /** The host is served here under another certificate than the one this connection was given (RFC 9110 15.5.20). */
  isMisdirected(host: string): boolean;
  /** How long the handshake took, for logs. */
  readonly handshakeMs?: number;
}

/** A handshake that did not come to be, with the reason that is counted. */
export class HandshakeRefused extends Error {
  readonly reason: string;
  constructor(reason: string) {
    super(reason);
    this.reason = reason;
  }
}

/** Terminates one kind of TLS. A second one (TLCP, GB/T 38636: record version 01 01) shares the port through the same interface. */
export interface TlsProvider {
  readonly name: string;
  /** Looks at the first record of a connection; at least three bytes. */
  claims(first: Buffer): boolean;
  accept(socket: net.Socket, listener: CompiledListener): Promise<SecureIdentity>;
}

export const TLS_RECORD_BYTES = 3;

/** Waits for the first record's header, puts the bytes back and hands the connection to the provider that claims it. */
export function identify(
  socket: net.Socket,
  listener: CompiledListener,
  providers: readonly TlsProvider[],
  timeoutMs: number,
): Promise<SecureIdentity | 'plain'> {
  const { promise, resolve, reject } = Promise.withResolvers<SecureIdentity | 'plain'>();
  let seen: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => settle(() => reject(new Error('no first record in time'))), timeoutMs);
  const onGone = (): void => settle(() => reject(new Error('gone before the first record')));
  const settle = (act: () => void): void => {
    clearTimeout(timer);
    socket.off('data', onData);
    socket.off('end', onGone);
    socket.off('close', onGone);
    act();
  };
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    if (seen.length < TLS_RECORD_BYTES && seen[0] === 0x16) return;
    settle(() => {
      socket.pause();
      const provider = providers.find((candidate) => candidate.claims(seen));
      socket.unshift(seen);
      if (provider === undefined) resolve('plain');
      else provider.accept(socket, listener).then(resolve, reject);
    });
  };
  socket.on('data', onData);
  socket.once('end', onGone);
  socket.once('close', onGone);
  return promise;
}
