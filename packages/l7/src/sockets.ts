// What net and tls sockets do not do alike.
import type net from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * The peer does not read what waits for it, and `drain` will come. A write of a whole watermark says "stop" even when the kernel took
 * all of it at once, so its word alone is not enough.
 */
export function isStopped(socket: Pick<net.Socket, 'writableNeedDrain' | 'writableLength'>): boolean {
  return socket.writableNeedDrain && socket.writableLength > 0;
}

/** Ends a connection so that the peer cannot take it for a proper end: RST, or TLS without close_notify. */
export function cut(socket: net.Socket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
