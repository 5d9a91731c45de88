// After 101: bytes both ways until both sides have said FIN. Nothing is parsed; each side stops the other when it does not read.
import type { Head } from './codec/h1.ts';
import { rewriteResponse } from './phase/rewrite.ts';
import { isStopped } from './sockets.ts';
import type { Exchange } from './state.ts';

const STRING_BYTES_MAX = 4 * 1024;

/** The target agreed. What came behind its head, and what the client sent early, is not lost. */
export function openTunnel(exchange: Exchange, head: Head, bytes: Buffer, at: number, end: number): boolean {
  const { downstream, proxy, connection } = exchange;
  exchange.status = 101;
  exchange.isTunnel = true;
  exchange.isResponding = true;
  exchange.closesAfter = true;
  proxy.counters.tunnels++;
  connection!.shareBuffer();
  proxy.wheel.set(connection!, idleMs(exchange));
  downstream.write(rewriteResponse(exchange, head) + bytes.toString('latin1', at, end));
  const early = downstream.becomeTunnel();
  if (early !== null) tunnelUp(exchange, early);
  return !downstream.isBacklogged;
}

/** Target → client. `bytes` is the pool's, so it is copied. */
export function tunnelDown(exchange: Exchange, bytes: Buffer, end: number): boolean {
  const { downstream, proxy, connection } = exchange;
  proxy.wheel.set(connection!, idleMs(exchange));
  exchange.responseBytes += end;
  downstream.write(end <= STRING_BYTES_MAX ? bytes.toString('latin1', 0, end) : Buffer.from(bytes.subarray(0, end)));
  return !downstream.isBacklogged;
}

/** Client → target. */
export function tunnelUp(exchange: Exchange, bytes: Buffer): void {
  const { downstream, proxy, connection } = exchange;
  proxy.wheel.set(connection!, idleMs(exchange));
  exchange.requestBytes += bytes.length;
  const { socket } = connection!;
  connection!.flush();
  socket.write(bytes);
  if (isStopped(socket)) downstream.pause();
}

export function clientEndedTunnel(exchange: Exchange): void {
  exchange.connection?.socket.end();
  if (exchange.connection?.isEnded) finish(exchange);
}

export function upstreamEndedTunnel(exchange: Exchange): void {
  const { downstream } = exchange;
  downstream.endTunnel();
  if (downstream.isInputEnded) finish(exchange);
}

function idleMs({ plan, proxy }: Exchange): number {
  return plan?.spec.times.tunnelIdleMs ?? proxy.limits.tunnelIdleMs;
}

/** Both sides have ended; what is still to be written is, and the sockets close behind it. */
function finish(exchange: Exchange): void {
  const { connection } = exchange;
  if (connection === null) return;
  exchange.connection = null;
  connection.target.active--;
  connection.owner = null;
  exchange.proxy.pool.forget(connection);
  connection.socket.destroySoon();
}
