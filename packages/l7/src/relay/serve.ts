// An accepted connection of a relay listener: may it enter, does it have to say who it is (MySQL), and then the relay.
import type net from 'node:net';
import type { Accepted } from '../phase/accept.ts';
import type { RelayContext } from './context.ts';
import { LoginRefused, type Routed, routeLogin } from './mysql/login.ts';
import { mayEnter } from './policy.ts';
import { TcpRelay } from './tcp.ts';

/** A connection that a closing proxy waits for and in the end destroys. */
export interface Closable {
  drain(): void;
  destroy(): void;
}

/** Calls `opened` and later `closed` with what stands for the connection; neither when it may not enter. */
export function serveRelay(
  context: RelayContext,
  socket: net.Socket,
  accepted: Accepted,
  opened: (entry: Closable) => void,
  closed: (entry: Closable) => void,
): void {
  const listener = accepted.binding.listener!;
  const { relay } = listener;
  if (relay !== null && !mayEnter(relay, accepted.clientAddress)) {
    context.count('source-denied');
    socket.on('error', () => {});
    socket.destroy();
    return;
  }
  let current: TcpRelay | null = null;
  const entry: Closable = {
    drain: () => {},
    destroy: () => (current === null ? socket.destroy() : current.close()),
  };
  opened(entry);
  const begin = (routed: Routed | null): void => {
    current = new TcpRelay(context, socket, accepted, listener, routed, () => closed(entry));
  };
  if (relay === null || relay.mysqlGroups === null) return begin(null);
  const onError = (): void => {};
  socket.on('error', onError);
  const { limits, mysqlRouters, greetings } = context;
  routeLogin(socket, accepted, listener, mysqlRouters, greetings, limits.handshakeTimeoutMs).then(begin, (error) => {
    context.count(error instanceof LoginRefused ? error.reason : 'mysql-login-failed');
    setTimeout(() => socket.destroy(), 1000).unref();
    closed(entry);
  });
}
