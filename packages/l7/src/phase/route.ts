// route: listener → domain → rule (E3). Leaves `rule`, or `redirectPath` when Tencent's slash rule answers.
import type { Head } from '../codec/h1.ts';
import { BAD_PATH } from '../routes.ts';
import type { Exchange } from '../state.ts';
import type { FailureCode } from './fail.ts';

/** `head` is null when filters have left `host` and `target`. */
export function route(exchange: Exchange, head: Head | null): FailureCode | null {
  const { listener } = exchange;
  if (listener === null) return 'listener-gone';
  // Most domains have one rule `/`; then the path needs no look.
  const rule = listener.routes.single ?? listener.routes.findByHost(exchange.host);
  if (rule !== null) {
    exchange.rule = rule;
    return null;
  }
  if (exchange.target === '' && head !== null) exchange.target = head.text(head.targetStart, head.targetEnd);
  const match = listener.routes.find(exchange.host, exchange.target === '*' ? '/' : exchange.target);
  if (match === BAD_PATH) return 'bad-target';
  if (match === null) return 'no-rule';
  exchange.rule = match.rule;
  if (match.redirectPath !== undefined) exchange.redirectPath = match.redirectPath;
  return null;
}

/** Where a directory without its slash is sent: the same place with the slash, query kept, as an absolute path. */
export function redirectLocation(exchange: Exchange): string {
  const query = exchange.target.indexOf('?');
  const path = query < 0 ? exchange.target : exchange.target.slice(0, query);
  // `//host` would be taken for another authority.
  const location = `/${path.replace(/^\/+/, '')}/`;
  return query < 0 ? location : location + exchange.target.slice(query);
}
