// The walk of one request told step by step (`clb explain --request`): made by the phases themselves on a dry exchange.
import type { ExplainStep, RulePolicy } from '@openclb/model';
import { checkRequest, Head, parseRequest } from './codec/h1.ts';
import { dryExchange, requestBytesOf } from './dry.ts';
import type { CompiledImage, CompiledListener, CompiledRule } from './image.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import { note } from './note.ts';
import { admit, failureOf } from './phase/admit.ts';
import { FAILURES, type FailureCode } from './phase/fail.ts';
import { rewriteRequest } from './phase/rewrite.ts';
import { route } from './phase/route.ts';
import { select } from './phase/select.ts';
import { normalHost } from './routes.ts';
import type { Member } from './scheduler.ts';
import type { Exchange } from './state.ts';

export interface RequestToExplain {
  readonly method: string;
  /** Scheme, host, port, path and query. */
  readonly url: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly client?: string;
  readonly vip?: string;
}

export interface RequestExplanation {
  /** `forward`, `answer` or `refuse`. */
  readonly verdict: 'forward' | 'answer' | 'refuse';
  /** Status and code of what the client gets without a target. */
  readonly reason: string;
  readonly steps: readonly ExplainStep[];
}

const CLIENT = '192.0.2.1';

export function explainRequest(image: CompiledImage, asked: RequestToExplain, stickyKey: Buffer): RequestExplanation {
  const steps: ExplainStep[] = [];
  const say = (step: string, text: string, data: Record<string, unknown> = {}): void =>
    void steps.push({ step, text, data });
  const url = new URL(asked.url);
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const port = Number(url.port || (scheme === 'https' ? 443 : 80));
  const listener = listenerOf(image, port, asked.vip);
  if (listener === null) {
    say('accept', `no listener on ${asked.vip ?? 'any address'} port ${port}: the connection is closed`);
    return { verdict: 'refuse', reason: 'no listener', steps };
  }
  const { loadBalancer, name, protocol } = listener;
  say('accept', `${protocol} listener ${name} of ${loadBalancer} on port ${port}`, { listener: name });
  if (protocol !== scheme) {
    say('identify', `it speaks ${protocol}, and the request is ${scheme}`);
    return { verdict: 'refuse', reason: `not ${scheme}`, steps };
  }
  // The text of the target, not what URL makes of it: dots and doubled slashes are part of the question.
  const target = /^https?:\/\/[^/?]*([^]*)$/.exec(asked.url)?.[1] ?? '/';
  const vip = asked.vip ?? listener.vips[0] ?? '';
  const client = { address: asked.client ?? CLIENT, port: 40_000, vip, vport: port, scheme } as const;
  const exchange = dryExchange(listener, client, { limits: listener.limits, stickyKey }, false);
  const path = target.startsWith('/') ? target : `/${target}`;
  const bytes = requestBytesOf(asked.method, path, url.host, asked.headers ?? []);
  const head = new Head();
  const end = parseRequest(
    head,
    bytes,
    0,
    bytes.length,
    listener.limits.targetBytesMax ?? DEFAULT_LIMITS.targetBytesMax,
  );
  const bad = end === bytes.length ? checkRequest(head) : end;
  if (bad < 0 || end !== bytes.length) return refused(steps, bad < 0 ? failureOf(bad) : 'bad-head', exchange);
  note(exchange, head);
  exchange.isDry = true;
  exchange.host ||= url.host;
  exchange.target ||= path;
  const failure = admit(exchange, head) ?? route(exchange, head);
  sayGuard(say, 'admit', listener.policy?.policy, client.address);
  sayRule(say, exchange, listener);
  if (failure !== null) return finish(exchange, refused(steps, failure, exchange));
  const { answer, rule } = exchange;
  if (answer !== null) {
    const location = /^Location: (.*)\r$/m.exec(answer.fields)?.[1];
    const where = location === undefined ? '' : `, to ${location}`;
    say('respond', `the ${rule === null ? 'listener' : 'rule'} answers ${answer.status} itself${where}`);
    return finish(exchange, { verdict: 'answer', reason: String(answer.status), steps });
  }
  return finish(exchange, sayTarget(say, steps, exchange, rule!, head));
}

type Say = (step: string, text: string, data?: Record<string, unknown>) => void;

function finish(exchange: Exchange, explanation: RequestExplanation): RequestExplanation {
  exchange.plan?.end();
  return explanation;
}

function refused(steps: ExplainStep[], code: FailureCode, exchange: Exchange): RequestExplanation {
  const { status, source } = FAILURES[code];
  const page =
    exchange.rule?.policy?.errorPages?.get(status) ?? exchange.listener?.custom?.errorPages.get(status) ?? null;
  const instead = page === null ? '' : `; its error page answers ${page.status}`;
  steps.push({ step: 'fail', text: `${code}: ${status}, by ${source}${instead}`, data: { code, status } });
  return { verdict: 'refuse', reason: `${status} ${code}`, steps };
}

function listenerOf(image: CompiledImage, port: number, vip: string | undefined): CompiledListener | null {
  const any = vip === undefined || !vip.includes(':') ? '0.0.0.0' : '::';
  const isHttp = ({ protocol }: CompiledListener): boolean => protocol === 'http' || protocol === 'https';
  const here = image.listeners.filter((row) => isHttp(row) && (row.port === port || row.port === 0));
  return here.find(({ vips }) => vip === undefined || vips.includes(vip) || vips.includes(any)) ?? null;
}

function sayGuard(
  say: Say,
  step: string,
  policy: Pick<RulePolicy, 'allow' | 'deny' | 'rates'> | undefined,
  client: string,
): void {
  if (policy?.deny !== undefined) say(step, `denied are ${policy.deny.join(', ')}`, { client });
  if (policy?.allow !== undefined) say(step, `allowed are ${policy.allow.join(', ')} only`, { client });
  for (const { perSecond, burst, by = 'all', header } of policy?.rates ?? []) {
    const each = by === 'all' ? 'for all together' : by === 'client' ? 'for each client' : `for each ${header}`;
    const more = burst === undefined ? '' : `, ${burst} at once`;
    say(step, `limited to ${perSecond} requests a second${more}, ${each}; this question takes none`);
  }
}

function sayRule(say: Say, exchange: Exchange, listener: CompiledListener): void {
  const { rule, target } = exchange;
  if (rule === null) {
    if (exchange.answer === null) say('route', `no rule for host ${normalHost(exchange.host)} and path ${target}`);
    return;
  }
  const domain = rule.domain === '' ? 'any domain' : `domain ${rule.domain} (${kindOfDomain(rule.domain)})`;
  const isFallback = rule.isDefault && rule.domain !== normalHost(exchange.host) ? ', the default one' : '';
  say('route', `host ${normalHost(exchange.host) || '(none)'} belongs to ${domain}${isFallback}`);
  say('route', `path ${target || '/'} takes rule ${rule.name}: ${rule.path} (${kindOfPath(rule.path)})`, {
    rule: rule.name,
  });
  const place = listener.routes.rules.find((one) => one.domain === rule.domain && one.path === rule.path);
  for (const variant of place?.variants ?? []) {
    const isTaken = variant.name === rule.name;
    say('route', `conditions of ${variant.name} ${isTaken ? 'hold' : 'do not hold'}: ${conditionsOf(variant)}`);
    if (isTaken) break;
  }
  sayGuard(say, 'route', rule.policy?.policy, exchange.downstream.clientAddress);
}

function kindOfDomain(domain: string): string {
  if (domain.startsWith('~')) return 'regular expression';
  return domain.startsWith('*.') ? 'suffix' : domain.endsWith('.*') ? 'prefix' : 'exact';
}

function kindOfPath(path: string): string {
  if (path.startsWith('=')) return 'exact';
  if (path.startsWith('^~')) return 'longest prefix, before regular expressions';
  return path.startsWith('~') ? 'regular expression' : 'longest prefix';
}

function conditionsOf(rule: CompiledRule): string {
  const { order: _, ...match } = rule.policy?.policy.match ?? {};
  return rule.policy === null ? 'of its image' : JSON.stringify(match);
}

/** Asks the scheduler and puts back what it remembers, so that the question moves nothing. */
function sayTarget(
  say: Say,
  steps: ExplainStep[],
  exchange: Exchange,
  rule: CompiledRule,
  head: Head,
): RequestExplanation {
  const { group } = rule;
  const states = group.members.map((member) => member.current);
  const failure = select(exchange);
  group.members.forEach((member, index) => (member.current = states[index]!));
  const candidates = group.usable.map(describeMember);
  if (group.isAllDead) say('select', `no target of ${group.name} is known alive, so all are used`);
  if (failure !== null) return refused(steps, failure, exchange);
  const { policy } = rule;
  const member = exchange.member!;
  const sticky = policy?.sticky ?? null;
  const isPinned =
    sticky !== null &&
    exchange.pinned !== '' &&
    sticky.find(exchange.pinned, group, exchange.proxy.stickyKey) === member;
  const why = isPinned
    ? `the cookie ${sticky.cookie} binds this client`
    : `${sticky?.type === 'source' ? 'stickiness by source' : rule.scheduler} ${reasonOf(exchange, rule)}`;
  const left = `${group.usable.length} of ${group.members.length} targets of ${group.name} can be used`;
  say('select', `${describeMember(member)}: ${why}; ${left}`, { target: member.target.identity.name, candidates });
  rewriteRequest(exchange, head);
  const lines = exchange.headText.trimEnd().split('\r\n');
  say('rewrite', `the target reads: ${lines[0]}`, { head: lines });
  const before = new Set(head.text(head.start, head.end).split('\r\n'));
  for (const line of lines.slice(1)) if (!before.has(line)) say('rewrite', `  + ${line}`);
  const after = new Set(lines);
  for (const line of before)
    if (line !== '' && !after.has(line) && !line.endsWith('HTTP/1.1')) say('rewrite', `  - ${line}`);
  return { verdict: 'forward', reason: member.target.identity.name, steps };
}

function describeMember({ health, isEjected, target, weight }: Member): string {
  const { address, name, port } = target.identity;
  return `${name} (${address}:${port}, weight ${weight}, ${isEjected ? 'ejected' : health}, ${target.active} in flight)`;
}

function reasonOf(exchange: Exchange, { policy, scheduler }: CompiledRule): string {
  switch (policy?.sticky?.type === 'source' ? 'maglev' : scheduler) {
    case 'least-connections':
      return 'names the one with the least exchanges in flight for its weight';
    case 'ip-hash':
      return `hashes ${exchange.downstream.clientAddress}`;
    case 'maglev':
      return `hashes ${policy?.hash?.by ?? 'the client address'} (${exchange.hashKey || exchange.downstream.clientAddress})`;
    case 'p2c':
      return 'names the better of two by latency and load; by chance, another request may go elsewhere';
    default:
      return 'names the one whose turn it is';
  }
}
