// Why a request would go where it goes, from the tables that requests use. It picks nothing, so asking changes nothing.
import type { CompiledImage, CompiledListener, CompiledRule } from './image.ts';
import { BAD_PATH, normalHost } from './routes.ts';

export interface ExplainRequest {
  readonly vip?: string;
  readonly port: number;
  readonly host: string;
  /** Path and query. */
  readonly target: string;
}

export interface Explanation {
  readonly listener: string | null;
  readonly rule: string | null;
  readonly domain: string | null;
  readonly path: string | null;
  readonly group: string | null;
  readonly scheduler: string | null;
  readonly candidates: readonly {
    readonly target: string;
    readonly weight: number;
    readonly health: string;
    readonly active: number;
  }[];
  /** What the client would get without a target: 301, 400, 404, 503. */
  readonly status: number | null;
  readonly why: readonly string[];
}

export function explain(image: CompiledImage, request: ExplainRequest): Explanation {
  const { vip, port, host, target } = request;
  const why: string[] = [];
  const listener = image.listeners.find((row) => row.port === port && row.protocol !== 'udp' && hasVip(row, vip));
  if (listener === undefined) {
    return describe(null, null, null, [
      `no listener on ${vip ?? 'any address'} port ${port}: the connection is closed`,
    ]);
  }
  why.push(`listener ${listener.name} of ${listener.loadBalancer} (${listener.protocol}) has ${vip ?? 'this port'}`);
  if (listener.policy?.redirect != null) {
    const { status } = listener.policy.redirect;
    return describe(listener, null, status, [...why, 'the listener sends every request to https']);
  }
  const match = listener.routes.find(host, target);
  if (match === BAD_PATH)
    return describe(listener, null, 400, [...why, `${target} climbs above the root or is not decodable`]);
  if (match === null)
    return describe(listener, null, 404, [...why, `no rule for host ${normalHost(host)} and path ${target}`]);
  const { rule } = match;
  why.push(
    `host ${normalHost(host)} belongs to domain ${rule.domain === '' ? '(any)' : rule.domain}${rule.isDefault ? ' (default)' : ''}`,
  );
  if (match.redirectPath !== undefined) {
    return describe(listener, rule, 301, [
      ...why,
      `rule ${rule.path} ends in a slash: redirected to ${match.redirectPath}`,
    ]);
  }
  why.push(`path ${target} takes rule ${rule.path}`);
  for (const variant of rule.variants) {
    why.push(`before it, ${variant.name} is asked whether its conditions hold`);
  }
  const policy = rule.policy ?? null;
  if (policy?.respond != null || policy?.redirect != null) {
    const status = (policy.respond ?? policy.redirect)!.status;
    return describe(listener, rule, status, [...why, `${rule.name} answers ${status} itself`]);
  }
  if (policy?.sticky != null) why.push(`a client stays on its target: stickiness by ${policy.sticky.type}`);
  const forward = policy?.policy.forward?.type ?? 'http';
  if (forward !== 'http') why.push(`targets are spoken to by ${forward}`);
  const { group } = rule;
  const ejected = group.members.filter((member) => member.isEjected || member.isEjectedElsewhere).length;
  if (ejected > 0)
    why.push(`${ejected} of ${group.members.length} targets are ejected because requests to them failed`);
  if (group.isAllDead && group.usable.length > 0) why.push('no target is known alive, so all are used');
  if (group.isAllDead && group.usable.length === 0) why.push('no target is known alive, and the group refuses then');
  if (group.usable.length === 0)
    return describe(listener, rule, 503, [...why, `group ${group.name} has no target with a weight`]);
  why.push(`${rule.scheduler} picks one of ${group.usable.length} of ${group.members.length} targets`);
  return describe(listener, rule, null, why);
}

function hasVip(listener: CompiledListener, vip: string | undefined): boolean {
  if (vip === undefined || listener.vips.includes(vip)) return true;
  return listener.vips.includes(vip.includes(':') ? '::' : '0.0.0.0');
}

function describe(
  listener: CompiledListener | null,
  rule: CompiledRule | null,
  status: number | null,
  why: readonly string[],
): Explanation {
  return {
    listener: listener?.name ?? null,
    rule: rule?.name ?? null,
    domain: rule?.domain ?? null,
    path: rule?.path ?? null,
    group: rule?.group.name ?? null,
    scheduler: rule?.scheduler ?? null,
    candidates:
      rule?.group.usable.map(({ target, weight, health }) => ({
        target: target.identity.name,
        weight,
        health,
        active: target.active,
      })) ?? [],
    status,
    why,
  };
}
