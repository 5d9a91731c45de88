// route: listener → domain → rule → variant (E3), and what their policies say. Leaves `rule`, or `answer` when no target is needed.
import type { Head } from '../codec/h1.ts';
import type { CompiledListener } from '../image.ts';
import { applyListenerPolicy, applyPolicy, chooseVariant } from '../policy/apply.ts';
import { BAD_PATH } from '../routes.ts';
import type { Exchange } from '../state.ts';
import type { FailureCode } from './fail.ts';

/** `head` is null when filters have left `host` and `target`. */
export function route(exchange: Exchange, head: Head | null): FailureCode | null {
  const { listener } = exchange;
  if (listener === null) return 'listener-gone';
  if (listener.challenges !== null && answersChallenge(exchange, head, listener.challenges)) return null;
  if (listener.policy !== null) {
    const failure = applyListenerPolicy(exchange, head, listener.policy);
    if (failure !== null || exchange.answer !== null) return failure;
  }
  // Most domains have one rule `/`; then the path needs no look.
  let rule = listener.routes.single ?? listener.routes.findByHost(exchange.host);
  if (rule === null) {
    const failure = routeByPath(exchange, head, listener);
    if (failure !== null || exchange.answer !== null) return failure;
    rule = exchange.rule!;
  }
  if (rule.hasConditions) {
    rule = chooseVariant(exchange, head, rule);
    if (rule === null) return 'no-rule';
  }
  exchange.rule = rule;
  if (rule.policy !== null) {
    const failure = applyPolicy(exchange, head, rule.policy);
    if (failure !== null) return failure;
  }
  return exchange.contentLength > exchange.bodyBytesMax ? 'body-too-large' : null;
}

/** An ACME authority asks in the name of a domain that may have no rule yet, or one that redirects (RFC 8555 8.3). */
function answersChallenge(exchange: Exchange, head: Head | null, challenges: ReadonlyMap<string, string>): boolean {
  if (exchange.target === '' && head !== null) exchange.target = head.text(head.targetStart, head.targetEnd);
  const body = challenges.get(exchange.target);
  if (body === undefined) return false;
  exchange.answer = { status: 200, fields: 'Content-Type: application/octet-stream\r\n', body };
  return true;
}

function routeByPath(exchange: Exchange, head: Head | null, listener: CompiledListener): FailureCode | null {
  if (exchange.target === '' && head !== null) exchange.target = head.text(head.targetStart, head.targetEnd);
  const match = listener.routes.find(exchange.host, exchange.target === '*' ? '/' : exchange.target);
  if (match === BAD_PATH) return 'bad-target';
  if (match === null) return 'no-rule';
  exchange.rule = match.rule;
  if (match.redirectPath !== undefined) {
    exchange.answer = { status: 301, fields: `Location: ${redirectLocation(exchange)}\r\n`, body: '' };
  }
  return null;
}

/** Where a directory without its slash is sent: the same place with the slash, query kept, as an absolute path. */
function redirectLocation(exchange: Exchange): string {
  const query = exchange.target.indexOf('?');
  const path = query < 0 ? exchange.target : exchange.target.slice(0, query);
  // `//host` would be taken for another authority.
  const location = `/${path.replace(/^\/+/, '')}/`;
  return query < 0 ? location : location + exchange.target.slice(query);
}
