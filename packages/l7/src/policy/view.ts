// What conditions and templates read of a request, from raw ranges or from what filters left of it. Nothing is kept.
import { type Head, STRIDE } from '../codec/h1.ts';
import type { Exchange } from '../state.ts';

/** The first field of this name, given in lower case; null without one. */
export function fieldOf(exchange: Exchange, head: Head | null, name: string): string | null {
  if (exchange.filtered !== null) {
    for (const [key, value] of exchange.filtered.headers) if (key.toLowerCase() === name) return value;
    return null;
  }
  if (head === null) return null;
  for (let index = 0, at = 0; index < head.count; index++, at += STRIDE) {
    if (isNamed(head, at, name)) return head.value(at);
  }
  return null;
}

/** Whether the field at `at` has this name, given in lower case. */
export function isNamed(head: Head, at: number, name: string): boolean {
  const start = head.fields[at + 1]!;
  if (head.fields[at + 2]! - start !== name.length) return false;
  for (let index = 0; index < name.length; index++) {
    let code = head.bytes[start + index]!;
    if (code >= 0x41 && code <= 0x5a) code |= 0x20;
    if (code !== name.charCodeAt(index)) return false;
  }
  return true;
}

/** The first value of a cookie over all Cookie fields. */
export function cookieOf(exchange: Exchange, head: Head | null, name: string): string | null {
  if (exchange.filtered !== null) {
    for (const [key, value] of exchange.filtered.headers) {
      if (key.toLowerCase() !== 'cookie') continue;
      const found = cookieIn(value, name);
      if (found !== null) return found;
    }
    return null;
  }
  if (head === null) return null;
  for (let index = 0, at = 0; index < head.count; index++, at += STRIDE) {
    if (!isNamed(head, at, 'cookie')) continue;
    const found = cookieIn(head.value(at), name);
    if (found !== null) return found;
  }
  return null;
}

export function cookieIn(text: string, name: string): string | null {
  for (const pair of text.split(';')) {
    const equals = pair.indexOf('=');
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return null;
}

/** Path and query as the request has them. */
export function targetOf(exchange: Exchange, head: Head | null): string {
  if (exchange.target === '' && head !== null) exchange.target = head.text(head.targetStart, head.targetEnd);
  return exchange.target;
}

export function queryOf(exchange: Exchange, head: Head | null, name: string): string | null {
  const target = targetOf(exchange, head);
  const mark = target.indexOf('?');
  return mark < 0 ? null : new URLSearchParams(target.slice(mark + 1)).get(name);
}
