// What net and tls sockets do not do alike.
import type net from 'node:net';
import { TLSSocket } from 'node:tls';

/** Ends a connection so that the peer cannot take it for a proper end: RST, or TLS without close_notify. */
export function cut(socket: net.Socket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
