// What a policy does to a request between routing and selecting: refuse, answer, rewrite, and note what later phases need.
// All of it reads the parsed head, which is gone when a target has answered.
import type { Head } from '../codec/h1.ts';
import type { CompiledRule } from '../image.ts';
import type { FailureCode } from '../phase/fail.ts';
import { normalPath } from '../routes.ts';
import type { Exchange } from '../state.ts';
import { Plan } from '../upstream/plan.ts';
import type { CompiledListenerPolicy, CompiledPolicy } from './compile.ts';
import { encodeCaptures } from './template.ts';
import { cookieOf, fieldOf, targetOf } from './view.ts';

/** The first rule whose conditions hold; the one without conditions is last. Null: none. */
export function chooseVariant(exchange: Exchange, head: Head | null, rule: CompiledRule): CompiledRule | null {
  for (const variant of rule.variants) if (variant.matcher!.holds(exchange, head)) return variant;
  return rule.matcher === null ? rule : null;
}

export function applyListenerPolicy(
  exchange: Exchange,
  head: Head | null,
  { guard, redirect }: CompiledListenerPolicy,
): FailureCode | null {
  if (guard !== null) {
    const failure = guard.check(exchange, head);
    if (failure !== null) return failure;
  }
  if (redirect === null) return null;
  targetOf(exchange, head);
  const location = redirect.to.render(exchange);
  exchange.answer = { status: redirect.status, fields: `Location: ${location}\r\n`, body: '' };
  return null;
}

export function applyPolicy(exchange: Exchange, head: Head | null, policy: CompiledPolicy): FailureCode | null {
  const { bodyBytesMax, compressor, guard, hash, redirect, respond, rewrite, sticky, upstream } = policy;
  // First, because it says in which words a refusal is told.
  if (upstream !== null) exchange.plan = new Plan(upstream, exchange, head);
  if (guard !== null) {
    const failure = guard.check(exchange, head);
    if (failure !== null) return failure;
  }
  targetOf(exchange, head);
  if (bodyBytesMax !== null) exchange.bodyBytesMax = bodyBytesMax;
  if (respond !== null) {
    exchange.answer = respond;
    return null;
  }
  if (redirect !== null) return applyRedirect(exchange, redirect);
  if (rewrite !== null) {
    const failure = applyRewrite(exchange, rewrite);
    if (failure !== null) return failure;
  }
  if (sticky !== null && sticky.type !== 'source') exchange.pinned = cookieOf(exchange, head, sticky.cookie) ?? '';
  if (hash !== null) exchange.hashKey = hashKeyOf(exchange, head, hash);
  if (compressor !== null) exchange.acceptedCodings = fieldOf(exchange, head, 'accept-encoding') ?? '';
  return null;
}

function applyRedirect(exchange: Exchange, redirect: NonNullable<CompiledPolicy['redirect']>): FailureCode | null {
  let captures: string[] | null = null;
  if (redirect.pattern !== null) {
    const path = normalPath(exchange.target);
    if (path === null) return 'bad-target';
    captures = encodeCaptures(redirect.pattern.exec(path));
  }
  // `//host` would be taken for another authority.
  const location = redirect.to.render(exchange, captures).replace(/^[/\\]{2,}/, '/');
  exchange.answer = { status: redirect.status, fields: `Location: ${location}\r\n`, body: '' };
  return null;
}

function applyRewrite(exchange: Exchange, rewrite: NonNullable<CompiledPolicy['rewrite']>): FailureCode | null {
  const path = normalPath(exchange.target);
  if (path === null) return 'bad-target';
  const found = rewrite.pattern.exec(path);
  if (found === null) return null;
  const query = exchange.target.indexOf('?');
  const to = rewrite.to.render(exchange, encodeCaptures(found));
  exchange.forwardTarget = query < 0 ? to : `${to}${to.includes('?') ? '&' : '?'}${exchange.target.slice(query + 1)}`;
  return null;
}

function hashKeyOf(exchange: Exchange, head: Head | null, hash: NonNullable<CompiledPolicy['hash']>): string {
  switch (hash.by) {
    case 'header':
      return fieldOf(exchange, head, hash.name!.toLowerCase()) ?? exchange.downstream.clientAddress;
    case 'cookie':
      return cookieOf(exchange, head, hash.name!) ?? exchange.downstream.clientAddress;
    case 'path':
      return normalPath(exchange.target) ?? '';
    default:
      return exchange.downstream.clientAddress;
  }
}
