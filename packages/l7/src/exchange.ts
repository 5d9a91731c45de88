// THE walk of one request (design.md, walk 2): route → admit → select → stick → rewrite → send → receive → respond → log.
// `begin` starts it, events of both sockets move it on, `giveUp` ends it from anywhere. accept and identify come before, once
// a connection (`listener.ts`).
import { Framing } from './codec/body.ts';
import { Bad, type Head, INCOMPLETE } from './codec/h1.ts';
import {
  answerFields,
  type FilterOutcome,
  filterRequest,
  filterResponse,
  viewRequest,
  viewResponse,
} from './filter.ts';
import { note } from './note.ts';
import { admit, failureOf, placed } from './phase/admit.ts';
import { fail, type FailureCode } from './phase/fail.ts';
import { log } from './phase/log.ts';
import { frame, noteKeepAlive, receive } from './phase/receive.ts';
import { decideClosing, respond, respondBody, respondEnd, respondOwn, respondWith } from './phase/respond.ts';
import { rewriteFiltered, rewriteFilteredResponse, rewriteRequest } from './phase/rewrite.ts';
import { route } from './phase/route.ts';
import { select } from './phase/select.ts';
import { readMs, send, sendBody } from './phase/send.ts';
import { stick } from './phase/stick.ts';
import type { OwnAnswer } from './policy/compile.ts';
import { editResponse } from './policy/edit.ts';
import { encoderEvents } from './policy/encode.ts';
import { holdBody, isHeld } from './policy/hold.ts';
import { fieldOf } from './policy/view.ts';
import { isStopped } from './sockets.ts';
import type { Exchange } from './state.ts';
import { clientEndedTunnel, openTunnel, tunnelDown, upstreamEndedTunnel } from './tunnel.ts';
import { IDEMPOTENT } from './upstream/compile.ts';
import { grpcKindOf } from './upstream/grpc.ts';
import { mirror } from './upstream/mirror.ts';
import { isWhole, mayRetry, noteFirstByte, noteLatency, prepare, substitute, unconnected } from './upstream/steps.ts';
import type { UpstreamConnection, UpstreamEvents } from './upstream.ts';

/**
 * A head has been parsed; `chunk` from `at` to `end` is what came behind it. Returns the offset after the body's part of it,
 * or a negative number when the request was refused and the rest must not be read as requests.
 */
export function begin(exchange: Exchange, head: Head, chunk: Buffer, at: number, end: number): number {
  note(exchange, head);
  const refused = admit(exchange, head) ?? placed(exchange, head);
  if (refused !== null) {
    giveUpEarly(exchange, refused, head);
    return -1;
  }
  const { filters } = exchange.proxy;
  if (filters.length > 0) exchange.filtered = viewRequest(exchange, head);
  let next = at;
  if (exchange.requestBody.isDone) exchange.isRequestDone = true;
  else if (at < end) {
    next = requestBytes(exchange, chunk, at, end);
    if (next < 0) return next;
  }
  if (filters.length > 0) beginFiltered(exchange);
  else {
    const failure = route(exchange, head);
    if (exchange.proxy.shadow !== null) exchange.proxy.shadow.compare(exchange, head, failure);
    if (failure !== null) giveUpEarly(exchange, failure, head);
    else if (exchange.answer !== null) answer(exchange);
    else if (exchange.requestBody.bytes > exchange.bodyBytesMax) giveUp(exchange, 'body-too-large');
    else {
      holdBody(exchange);
      rewriteRequest(exchange, head);
      launch(exchange);
    }
  }
  return next;
}

function beginFiltered(exchange: Exchange): void {
  const { serial } = exchange;
  const { host } = exchange.filtered!;
  const outcome = filterRequest(exchange);
  if (!(outcome instanceof Promise)) return goOn(exchange, host, outcome);
  exchange.isWaiting = true;
  void outcome.then((late) => {
    if (exchange.serial !== serial || !exchange.isActive) return;
    exchange.isWaiting = false;
    goOn(exchange, host, late);
  });
}

/** The request hooks are done. */
function goOn(exchange: Exchange, host: string, outcome: FilterOutcome): void {
  if (outcome !== null && 'failure' in outcome) return giveUp(exchange, outcome.failure);
  if (outcome !== null) {
    const { answer } = outcome;
    respondOwn(exchange, answer.status, answerFields(answer), answer.body ?? '');
    return settle(exchange);
  }
  const request = exchange.filtered!;
  exchange.method = request.method;
  if (request.host !== host) exchange.host = request.host;
  exchange.target = request.target;
  const failure = route(exchange, null);
  if (exchange.proxy.shadow !== null) exchange.proxy.shadow.compare(exchange, null, failure);
  if (failure !== null) return giveUpEarly(exchange, failure, null);
  if (exchange.answer !== null) return answer(exchange);
  if (exchange.requestBody.bytes > exchange.bodyBytesMax) return giveUp(exchange, 'body-too-large');
  holdBody(exchange);
  rewriteFiltered(exchange);
  launch(exchange);
}

/** Before a rule has said what it speaks, the request itself says whether its client reads gRPC. */
function giveUpEarly(exchange: Exchange, code: FailureCode, head: Head | null): void {
  if (exchange.plan === null) exchange.earlyGrpc = grpcKindOf(fieldOf(exchange, head, 'content-type'));
  giveUp(exchange, code);
}

function answer(exchange: Exchange): void {
  const { status, fields, body } = exchange.answer!;
  respondOwn(exchange, status, fields, body);
  settle(exchange);
}

/** The first try. */
function launch(exchange: Exchange): void {
  if (exchange.isHolding) return;
  if (exchange.plan !== null) prepare(exchange, giveUp);
  attempt(exchange, false);
}

/** One try: select → stick → send. `wantsFresh` after a kept connection turned out to be dead. */
function attempt(exchange: Exchange, wantsFresh: boolean, reason: FailureCode = 'no-target'): void {
  const failure = select(exchange);
  if (failure !== null) return giveUp(exchange, exchange.attempts > 0 ? reason : failure);
  const { target } = exchange.member!;
  const { plan, proxy } = exchange;
  const { circuit } = exchange.rule!.group;
  if (circuit !== null) {
    const refused = circuit.enter(exchange);
    if (refused !== null) return giveUp(exchange, refused);
  }
  if (proxy.accessLog !== null) exchange.attemptAt = performance.now();
  const connection =
    plan === null
      ? proxy.pool.acquire(target, exchange, wantsFresh)
      : proxy.pool.acquire(target, exchange, wantsFresh, plan.spec.peer, plan.spec.times.connectMs);
  if (connection === null) return giveUp(exchange, 'target-full');
  stick(exchange);
  exchange.connection = connection;
  exchange.isSent = false;
  if (connection.isConnected) send(exchange);
  else if (circuit !== null) circuit.wait(exchange);
}

/** Bytes of the request body. Returns the offset after it, or a negative number when it is refused. */
export function requestBytes(exchange: Exchange, bytes: Buffer, at: number, end: number): number {
  const { requestBody } = exchange;
  const next = requestBody.consume(bytes, at, end);
  if (next < 0) {
    giveUp(exchange, failureOf(next));
    return next;
  }
  exchange.requestBytes += next - at;
  if (requestBody.bytes > exchange.bodyBytesMax) {
    giveUp(exchange, 'body-too-large');
    return Bad.ContentLength;
  }
  exchange.isRequestDone = requestBody.isDone;
  sendBody(exchange, bytes);
  if (exchange.isHolding && isHeld(exchange)) {
    exchange.isHolding = false;
    launch(exchange);
  }
  if (exchange.plan?.wantsMirror === true && exchange.isRequestDone) mirror(exchange);
  return next;
}

/** The response is complete: the connection goes back to its pool if both sides are at a message's end. */
function complete(exchange: Exchange, isClean: boolean): void {
  const connection = exchange.connection!;
  const reusable = isClean && exchange.isRequestDone && exchange.isUpstreamPersistent && !connection.isEnded;
  exchange.connection = null;
  connection.target.active--;
  if (exchange.plan !== null) exchange.plan.grpcStatus = connection.grpcStatus;
  // A target that has said all and heard all is left with FIN; one that still gets a body, with RST.
  if (exchange.isRequestDone) connection.owner = null;
  else exchange.closesAfter = true;
  if (reusable) exchange.proxy.pool.release(connection);
  else exchange.proxy.pool.discard(connection);
  if (exchange.encoder === null) settle(exchange);
  else exchange.encoder.end();
}

export function settle(exchange: Exchange): void {
  exchange.isActive = false;
  exchange.plan?.end();
  exchange.circuit?.leave(exchange);
  log(exchange);
  exchange.downstream.finished(exchange.closesAfter);
}

/** Lets go of the target and answers with a failure. */
export function giveUp(exchange: Exchange, code: FailureCode): void {
  letGo(exchange);
  fail(exchange, code);
  settle(exchange);
}

function letGo(exchange: Exchange): void {
  const { connection } = exchange;
  exchange.encoder?.destroy();
  if (connection === null) return;
  exchange.connection = null;
  connection.target.active--;
  exchange.proxy.pool.discard(connection);
}

/** The client is gone: what runs for it upstream stops now. */
export function clientClosed(exchange: Exchange): void {
  if (!exchange.isActive) return;
  letGo(exchange);
  exchange.isActive = false;
  exchange.plan?.end();
  exchange.circuit?.leave(exchange);
  if (!exchange.isTunnel) {
    exchange.failure = 'client-gone';
    exchange.proxy.counters.failures['client-gone'] = (exchange.proxy.counters.failures['client-gone'] ?? 0) + 1;
    if (exchange.status === 0) exchange.status = 499;
  }
  log(exchange);
}

/** The client's FIN, when it is no abort. */
export function clientEnded(exchange: Exchange): void {
  if (exchange.isTunnel) clientEndedTunnel(exchange);
}

export function clientDrained(exchange: Exchange): void {
  exchange.encoder?.resume();
  exchange.connection?.resume();
}

/** A target was lost before it answered, or in the middle. Another is tried only where nothing was sent or nothing can be doubled. */
function lost(exchange: Exchange, connection: UpstreamConnection, code: FailureCode): void {
  const { plan, proxy } = exchange;
  const { isUnprocessed, target } = connection;
  const isUnsent = !exchange.isSent || isUnprocessed;
  const isStale =
    connection.isReused && !exchange.hasAnswer && !isUnprocessed && exchange.requestBody.framing === Framing.None;
  if (!isStale && !isUnprocessed) {
    target.failures++;
    proxy.onTargetFailure(target, exchange.rule!.group);
  }
  if (exchange.isResponding) return giveUp(exchange, code);
  // The second target that was asked already now answers for the first.
  if (plan !== null && plan.hedge !== null) return plan.hedge.adopt();
  const mayRepeat =
    isStale && exchange.attempts < proxy.limits.attemptsMax && (connection.isUnsent || IDEMPOTENT.has(exchange.method));
  const isLeft = plan === null ? isUnsent && exchange.attempts < proxy.limits.attemptsMax : false;
  if (!mayRepeat && !isLeft && !mayRetry(exchange, connection, code)) return giveUp(exchange, code);
  // A stale connection says nothing about its target; a refused one does. A target that only left this stream out may be the only one.
  const isAlone = isUnprocessed && exchange.rule!.group.usable.length === 1;
  if (!(mayRepeat && !isUnsent) && !isAlone) exchange.tried.push(target);
  again(exchange, (mayRepeat && !isUnsent) || isAlone, code);
}

/** One more try, with the body that has been sent. */
function again(exchange: Exchange, wantsFresh: boolean, code: FailureCode): void {
  exchange.proxy.counters.retries++;
  if (exchange.isSent) exchange.plan?.refill(exchange);
  exchange.hasAnswer = false;
  attempt(exchange, wantsFresh, code);
}

/** What the pool tells: the upstream half of the walk. */
export const upstreamEvents: UpstreamEvents = {
  connected(connection) {
    const exchange = connection.owner as Exchange;
    if (exchange.isPending) exchange.circuit!.connected(exchange);
    send(exchange);
  },

  bytes(connection, bytes, end) {
    const exchange = connection.owner as Exchange;
    const { wheel, limits } = exchange.proxy;
    if (exchange.isTunnel) return tunnelDown(exchange, bytes, end);
    wheel.set(connection, exchange.plan === null ? limits.readTimeoutMs : readMs(exchange));
    if (exchange.isResponding) {
      const next = respondBody(exchange, bytes, 0, end);
      return afterBody(exchange, next, end);
    }
    return answerBytes(exchange, connection, bytes, end);
  },

  ended(connection) {
    const exchange = connection.owner as Exchange;
    if (exchange.isTunnel) return upstreamEndedTunnel(exchange);
    if (exchange.isWaiting) return;
    if (exchange.isResponding && exchange.responseBody.framing === Framing.UntilClose) {
      respondEnd(exchange);
      return complete(exchange, false);
    }
    letGo(exchange);
    lost(exchange, connection, exchange.isResponding ? 'response-truncated' : 'response-missing');
  },

  failed(connection, error) {
    const exchange = connection.owner as Exchange;
    exchange.connection = null;
    connection.target.active--;
    if (exchange.isTunnel) return cutTunnel(exchange);
    if (!connection.isConnected) lost(exchange, connection, unconnected(connection, error));
    else if (error?.code === 'ERR_HTTP2_ERROR') lost(exchange, connection, 'response-malformed');
    else lost(exchange, connection, exchange.isResponding ? 'response-truncated' : 'response-missing');
  },

  timedOut(connection) {
    const exchange = connection.owner as Exchange;
    const { wheel, limits } = exchange.proxy;
    if (!connection.isConnected) {
      letGo(exchange);
      return lost(exchange, connection, 'connect-timeout');
    }
    if (exchange.isTunnel) {
      letGo(exchange);
      return cutTunnel(exchange);
    }
    const isStuck = isStopped(connection.socket);
    // It is the client that is slow: its own deadline decides. A client that streams messages has none.
    const isClientSlow = !exchange.isRequestDone && !exchange.hasAnswer && (exchange.plan?.grpc ?? '') === '';
    if (connection.isPaused || (isClientSlow && !isStuck)) return wheel.set(connection, limits.readTimeoutMs);
    letGo(exchange);
    lost(exchange, connection, isStuck ? 'send-timeout' : 'response-timeout');
  },

  drained(connection) {
    (connection.owner as Exchange | null)?.downstream.resume();
  },
};

function cutTunnel(exchange: Exchange): void {
  exchange.isActive = false;
  exchange.downstream.abort();
  settle(exchange);
}

/** Bytes before the final head is complete. */
function answerBytes(exchange: Exchange, connection: UpstreamConnection, bytes: Buffer, length: number): boolean {
  const { proxy } = exchange;
  let end = length;
  if (connection.partial !== null) {
    bytes = Buffer.concat([connection.partial, bytes.subarray(0, length)]);
    end = bytes.length;
    connection.partial = null;
  }
  if (!exchange.hasAnswer) {
    exchange.hasAnswer = true;
    if (proxy.accessLog !== null) exchange.answeredAt = performance.now();
    if (exchange.rule!.scheduler === 'p2c') noteLatency(exchange, connection);
    if (exchange.plan !== null) noteFirstByte(exchange);
  }
  const at = receive(exchange, bytes, end);
  if (at === INCOMPLETE) return true;
  const head = proxy.responseHead;
  if (at < 0) return malformed(exchange);
  exchange.upstreamStatus = head.status;
  if (head.status === 101) {
    if (!exchange.wantsUpgrade || !exchange.isRequestDone) return malformed(exchange);
    return openTunnel(exchange, head, bytes, at, end);
  }
  const { group } = exchange.rule!;
  if (group.failStatuses !== null && group.failStatuses.has(head.status)) {
    proxy.onTargetFailure(connection.target, group);
  }
  if (exchange.plan !== null) {
    const instead = substitute(exchange, connection, head);
    if (instead !== null) return replace(exchange, connection, instead, isWhole(exchange, head, end - at));
  }
  if (!frame(exchange, head)) return malformed(exchange);
  if (head.keepAliveAt >= 0) noteKeepAlive(connection, head);
  exchange.status = head.status;
  if (exchange.rule!.policy?.editsResponse === true)
    editResponse(exchange, head, encoderEvents(exchange, giveUp, settle));
  if (exchange.filtered !== null) {
    void answerFiltered(exchange, connection, head, Buffer.from(bytes.subarray(at, end)));
    return false;
  }
  return afterBody(exchange, respond(exchange, head, bytes, at, end), end);
}

/** The target's answer is not the client's: another target is asked, or a page stands for it. */
function replace(
  exchange: Exchange,
  connection: UpstreamConnection,
  instead: OwnAnswer | 'retry',
  isReusable: boolean,
): boolean {
  exchange.connection = null;
  connection.target.active--;
  if (isReusable) connection.release();
  else connection.discard();
  if (instead === 'retry') {
    exchange.tried.push(connection.target);
    again(exchange, false, 'response-refused');
  } else {
    respondOwn(exchange, instead.status, instead.fields, instead.body);
    settle(exchange);
  }
  return isReusable;
}

async function answerFiltered(
  exchange: Exchange,
  connection: UpstreamConnection,
  head: Head,
  rest: Buffer,
): Promise<void> {
  const { serial } = exchange;
  const response = viewResponse(head);
  const length = head.contentLength;
  exchange.isWaiting = true;
  const outcome = await filterResponse(exchange, response);
  if (exchange.serial !== serial || !exchange.isActive || exchange.connection !== connection) return;
  exchange.isWaiting = false;
  if (outcome !== null && 'failure' in outcome) return giveUp(exchange, outcome.failure);
  exchange.status = response.status;
  decideClosing(exchange, response.status);
  connection.resume();
  const next = respondWith(exchange, rewriteFilteredResponse(exchange, response, length), rest, 0, rest.length);
  afterBody(exchange, next, rest.length);
}

/** After bytes of the response: complete it, refuse it, or say whether to read on. */
function afterBody(exchange: Exchange, next: number, end: number): boolean {
  if (next < 0) return malformed(exchange);
  if (exchange.responseBody.isDone) {
    complete(exchange, next === end);
    return true;
  }
  return !exchange.downstream.isBacklogged && exchange.encoder?.isFull !== true;
}

function malformed(exchange: Exchange): boolean {
  const connection = exchange.connection!;
  letGo(exchange);
  lost(exchange, connection, 'response-malformed');
  return false;
}
