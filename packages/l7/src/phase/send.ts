// send: head and body to the target, streamed. A target that reads slowly stops the client, never the other way round.
import { HOLD_BYTES_MAX } from '../policy/hold.ts';
import { isStopped } from '../sockets.ts';
import type { Exchange } from '../state.ts';
import { armHedge } from '../upstream/hedge.ts';

/** Up to this many bytes, one string write costs less than several buffers. */
const JOINED_BYTES_MAX = 12 * 1024;
/** Body bytes kept while a connection is being made. */
const HELD_BYTES_MAX = 64 * 1024;

/** The head, and what of the body has come by now, in one write where they are small. */
export function send(exchange: Exchange): void {
  const { connection, downstream, held, proxy } = exchange;
  const { socket } = connection!;
  exchange.isSent = true;
  const { plan } = exchange;
  proxy.wheel.set(connection!, plan === null ? proxy.limits.readTimeoutMs : firstByteMs(exchange));
  if (proxy.accessLog !== null || exchange.rule!.scheduler === 'p2c' || plan !== null) {
    exchange.sentAt = performance.now();
  }
  if (plan !== null) armHedge(exchange);
  if (held.length === 0) {
    connection!.post(exchange.headText);
    return;
  }
  if (exchange.heldBytes <= JOINED_BYTES_MAX) {
    let text = exchange.headText;
    for (const part of held) text += part.toString('latin1');
    connection!.post(text);
  } else {
    socket.cork();
    socket.write(exchange.headText, 'latin1');
    for (const part of held) socket.write(part);
    socket.uncork();
  }
  held.length = 0;
  exchange.heldBytes = 0;
  if (isStopped(socket)) stop(exchange);
  else downstream.resume();
}

/** The target takes nothing: neither do we, and it has so long to change that. */
function stop(exchange: Exchange): void {
  const { connection, downstream, plan, proxy } = exchange;
  downstream.pause();
  if (plan?.spec.times.sendMs !== undefined) proxy.wheel.set(connection!, plan.spec.times.sendMs);
}

/** How long the target may take to begin its answer. */
export function firstByteMs({ plan, proxy }: Exchange): number {
  const { retry, times } = plan!.spec;
  const ms = times.firstByteMs ?? proxy.limits.readTimeoutMs;
  return retry !== null && retry.perTryMs > 0 ? Math.min(retry.perTryMs, ms) : ms;
}

/** How long it may take to go on. */
export function readMs({ plan, proxy }: Exchange): number {
  return plan!.spec.times.readMs ?? proxy.limits.readTimeoutMs;
}

/** What `requestBody.consume` left of a read goes out, or waits for a connection. */
export function sendBody(exchange: Exchange, bytes: Buffer): void {
  const { connection, downstream, held, proxy, requestBody } = exchange;
  const { pieces, tail, used } = requestBody;
  const { plan } = exchange;
  if (plan !== null) keep(exchange, bytes);
  if (!exchange.isSent) {
    for (let index = 0; index < used; index += 2) held.push(bytes.subarray(pieces[index], pieces[index + 1]));
    if (tail !== '') held.push(Buffer.from(tail, 'latin1'));
    exchange.heldBytes += bytes.length;
    if (exchange.heldBytes > (exchange.isHolding ? HOLD_BYTES_MAX : HELD_BYTES_MAX)) downstream.pause();
    return;
  }
  const { socket } = connection!;
  connection!.flush();
  proxy.wheel.set(
    connection!,
    plan === null || exchange.hasAnswer ? proxy.limits.readTimeoutMs : firstByteMs(exchange),
  );
  const isSingle = used === 2 && tail === '';
  if (!isSingle) socket.cork();
  for (let index = 0; index < used; index += 2) socket.write(bytes.subarray(pieces[index], pieces[index + 1]));
  if (tail !== '') socket.write(tail, 'latin1');
  if (!isSingle) socket.uncork();
  if (isStopped(socket)) stop(exchange);
}

function keep({ plan, requestBody }: Exchange, bytes: Buffer): void {
  const { pieces, tail, used } = requestBody;
  for (let index = 0; index < used; index += 2) plan!.keep(bytes.subarray(pieces[index], pieces[index + 1]));
  if (tail !== '') plan!.keep(Buffer.from(tail, 'latin1'));
}
