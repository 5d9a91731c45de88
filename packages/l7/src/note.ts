// The first look at a parsed head: what of it must outlive the turn in which it was read.
import { Framing } from './codec/body.ts';
import type { Head } from './codec/h1.ts';
import { fieldOf } from './policy/view.ts';
import type { Exchange } from './state.ts';

/** Copies out of the parsed head what must outlive this turn. */
export function note(exchange: Exchange, head: Head): void {
  const { proxy, downstream } = exchange;
  exchange.reset();
  proxy.counters.requests++;
  exchange.listener = downstream.listener;
  if (exchange.listener !== null) exchange.bodyBytesMax = exchange.listener.limits.bodyBytesMax;
  exchange.method = head.method;
  exchange.minor = head.minor;
  const needsHost = exchange.listener?.needsHost === true || proxy.accessLog !== null || proxy.filters.length > 0;
  exchange.host = needsHost && head.hostAt >= 0 ? head.value(head.hostAt) : '';
  exchange.keepsAlive = head.minor === 1 ? !head.isClose : head.isKeepAlive && !head.isClose;
  exchange.requestBytes = head.end - head.start;
  exchange.contentLength = head.contentLength;
  if (head.isChunked) exchange.requestBody.begin(Framing.Chunked, 0);
  else if (head.contentLength > 0) exchange.requestBody.begin(Framing.Length, head.contentLength);
  else exchange.requestBody.begin(Framing.None, 0);
  if (head.contentLength === 0) exchange.requestBody.framing = Framing.Length;
  exchange.isRequestDone = false;
  exchange.wantsUpgrade = false;
  exchange.expectsContinue = false;
  exchange.readsTrailers = false;
  if (head.isEdited) noteConnectionFields(exchange, head);
  exchange.requestBody.keepsTrailers = true;
  if (proxy.accessLog === null) return;
  exchange.startedAt = performance.now();
  exchange.userAgent = fieldOf(exchange, head, 'user-agent') ?? '';
  exchange.referer = fieldOf(exchange, head, 'referer') ?? '';
  exchange.target = head.text(head.targetStart, head.targetEnd);
}

function noteConnectionFields(exchange: Exchange, head: Head): void {
  if (head.minor === 0) return;
  if (head.isUpgradeNominated && head.upgradeAt >= 0) {
    // h2c would let a client speak to the target past every rule; other versions of HTTP are offered by ALPN only.
    exchange.wantsUpgrade = !/^(?:h2c?|tls\/|http\/)/i.test(head.value(head.upgradeAt));
  }
  exchange.expectsContinue = head.expectAt >= 0 && !exchange.requestBody.isDone;
  exchange.readsTrailers = head.teAt >= 0 && /(?:^|,)\s*trailers\s*(?:,|$)/i.test(head.value(head.teAt));
}
