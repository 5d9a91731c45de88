// HTTP, HTTPS and TCP_SSL listeners → director rows that lead to the proxies (P20) and proxy rows that lead to the targets (P21, P22).
import {
  type ListenerRow,
  mergeCustomConfig,
  parseCustomConfig,
  type ProxyListenerRow,
  type RulePolicy,
} from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type { StoredListener, StoredRule } from '../desired/state.ts';
import { answersItself } from '../edit/policy.ts';
import { serviceFields } from './access.ts';
import { byId, checkSpecOf, type Fragment, type FragmentInput, groupOf } from './parts.ts';
import { CompileProblem } from './stable-id.ts';
import { resolveTarget } from './targets.ts';

/** Resource name of the group that holds every proxy of the cluster. */
export const PROXY_POOL = 'proxy-pool';
/** The director sees half of such a flow, so it cannot tell idle from done earlier (P20). */
const PROXY_IDLE_SECONDS = 900;
const KIND = { HTTP: 'http', HTTPS: 'https', TCP_SSL: 'tcp-ssl', TCP: 'tcp' } as const;

export function layer7Rows(input: FragmentInput, listener: StoredListener, fragment: Fragment): void {
  const { ids, loadBalancer } = input;
  const { protocol } = listener;
  if (protocol === 'UDP') return;
  // A proxy tells VPCs apart by its own source address, and a VIP of a VPC may exist twice: it would not know whose request it holds.
  if (loadBalancer.network === 'internal')
    throw new CompileProblem(`${listener.id}: internal load balancers have TCP and UDP listeners only`);
  for (const vip of [...loadBalancer.vips].sort())
    fragment.listeners.push({ ...directorRow(input, listener, vip), ...serviceFields(listener, fragment) });
  const row: ProxyListenerRow = {
    id: ids.of(listener.id),
    name: listener.id,
    loadBalancer: loadBalancer.id,
    vips: [...loadBalancer.vips].sort(),
    port: listener.port,
    protocol: KIND[protocol],
    certificates: listener.certificates.filter((id) => isIssued(input, id)),
    rules: [],
  };
  if (protocol === 'TCP_SSL' || protocol === 'TCP') Object.assign(row, relayFields(input, listener, fragment));
  else {
    row.rules = [...listener.rules].sort(byId).map((rule) => ruleRow(input, rule, fragment));
    if (listener.policy !== undefined) row.policy = listener.policy;
    if (listener.http2 !== undefined) row.http2 = listener.http2;
  }
  if (listener.tls !== undefined) row.tls = listener.tls;
  if (protocol === 'HTTP' || protocol === 'HTTPS')
    addCustomConfig(row, [loadBalancer.customConfig, listener.customConfig]);
  for (const id of listener.certificates)
    if (!isIssued(input, id)) fragment.warnings.push(`${listener.id}: certificate ${id} has not been issued yet`);
  // A proxy refuses a listener that speaks TLS and has no certificate, and with it everything else.
  if (listener.certificates.length > 0 && row.certificates.length === 0) return;
  fragment.proxyListeners.push(row);
}

/** Personalised configs, outer first; TLS directives stand before the listener's own TLS policy. */
function addCustomConfig(row: ProxyListenerRow, texts: readonly (string | undefined)[]): void {
  const parsed = texts.filter((text) => text !== undefined).map((text) => parseCustomConfig(text));
  if (parsed.length === 0) return;
  const { config, tls } = parsed.reduce(mergeCustomConfig);
  if (Object.keys(config).length > 0) row.custom = config;
  if (row.protocol === 'https' && Object.keys(tls).length > 0) row.tls = { ...row.tls, ...tls };
}

function isIssued({ placement: { state } }: FragmentInput, id: string): boolean {
  const stored = state.certificate.get(KEY.certificate(id));
  return stored === undefined || stored.certificate !== undefined;
}

function ruleRow(input: FragmentInput, rule: StoredRule, fragment: Fragment): ProxyListenerRow['rules'][number] {
  const { id, domain, path, targetGroup, isDefault, scheduler, policy } = rule;
  const answers = answersItself(policy) && targetGroup === undefined;
  return {
    id: input.ids.of(id),
    name: id,
    domain,
    path,
    ...(answers ? {} : { group: proxyGroup(input, targetGroup, `target group of ${id}`, fragment) }),
    isDefault,
    scheduler,
    ...(policy === undefined ? {} : { policy: policyRow(input, id, mirrored(input, id, policy, fragment)) }),
  };
}

/** The group that gets copies is one of the image's own. */
function mirrored(input: FragmentInput, id: string, policy: RulePolicy, fragment: Fragment): RulePolicy {
  const { mirror } = policy;
  if (mirror === undefined) return policy;
  const targetGroup = proxyGroup(input, mirror.targetGroup, `mirror of ${id}`, fragment);
  return { ...policy, mirror: { ...mirror, targetGroup } };
}

/** A redirect to another rule becomes an address: nodes know no rules but those that they match. */
function policyRow(input: FragmentInput, id: string, policy: RulePolicy): RulePolicy {
  const { redirect } = policy;
  if (redirect?.rule === undefined) return policy;
  for (const listener of input.listeners) {
    const rule = listener.rules.find((other) => other.id === redirect.rule);
    if (rule === undefined) continue;
    const { rule: _, takeUrl = true, ...rest } = redirect;
    return { ...policy, redirect: { ...rest, to: addressOf(listener, rule, takeUrl) } };
  }
  throw new CompileProblem(`${id} redirects to ${redirect.rule}, which this load balancer does not have`);
}

function addressOf(listener: StoredListener, rule: StoredRule, takesUrl: boolean): string {
  const scheme = listener.protocol === 'HTTPS' ? 'https' : 'http';
  const port = listener.port === (scheme === 'https' ? 443 : 80) ? '' : `:${listener.port}`;
  const host = /^[a-z0-9]/.test(rule.domain) && !rule.domain.endsWith('.*') ? rule.domain : '$host';
  const path = /^[=^~ ]/.test(rule.path) ? rule.path.replace(/^(?:=|\^~) ?/, '') : rule.path;
  return `${scheme}://${host}${port}${takesUrl || !path.startsWith('/') ? '$request_uri' : path}`;
}

function directorRow({ ids, loadBalancer, net }: FragmentInput, listener: StoredListener, vip: string): ListenerRow {
  return {
    id: ids.of(`${listener.id}/${vip}`),
    name: listener.id,
    loadBalancer: loadBalancer.id,
    net,
    vip,
    vport: listener.port,
    protocol: 6,
    translation: 'none',
    scheduler: 'maglev',
    group: ids.of(PROXY_POOL),
    directReturn: true,
    idleSeconds: PROXY_IDLE_SECONDS,
    onRemove: 'run',
  };
}

/** A TCP or UDP listener as a proxy serves it where there is no director: terminated, and joined to the target byte by byte. */
export function relayRow(input: FragmentInput, listener: StoredListener, fragment: Fragment): void {
  const { ids, loadBalancer } = input;
  fragment.proxyListeners.push({
    id: ids.of(listener.id),
    name: listener.id,
    loadBalancer: loadBalancer.id,
    vips: [...loadBalancer.vips].sort(),
    port: listener.port,
    protocol: listener.protocol === 'UDP' ? 'udp' : 'tcp',
    certificates: [],
    rules: [],
    ...relayFields(input, listener, fragment),
  });
}

function relayFields(input: FragmentInput, listener: StoredListener, fragment: Fragment): Partial<ProxyListenerRow> {
  const { relay, scheduler, idleSeconds } = listener;
  const mysqlGroups = (relay?.mysql?.targetGroups ?? []).map((id) => ({
    name: id,
    group: proxyGroup(input, id, `relay of ${listener.id}`, fragment),
  }));
  return {
    group: proxyGroup(input, listener.targetGroup, `target group of ${listener.id}`, fragment),
    scheduler,
    idleSeconds,
    ...(relay === undefined ? {} : { relay }),
    ...(mysqlGroups.length === 0 ? {} : { mysqlGroups }),
  };
}

/** Adds a group's rows once; answers its stable id. */
function proxyGroup(input: FragmentInput, id: string | undefined, field: string, fragment: Fragment): string {
  const { ids, placement } = input;
  const group = groupOf(input, id, field);
  const groupId = ids.of(group.id);
  if (fragment.proxyGroups.some((row) => row.id === groupId)) return groupId;
  const members: { target: string; weight: number }[] = [];
  for (const target of [...group.targets].sort(byId)) {
    const result = resolveTarget(placement, target, 0);
    if ('leftOut' in result) {
      fragment.warnings.push(result.leftOut);
      continue;
    }
    const { net, address, port, weight, node } = result.target;
    const targetId = ids.of(target.id);
    members.push({ target: targetId, weight });
    fragment.proxyTargets.push({ id: targetId, name: target.id, net, address, port });
    if (net !== 0 && node !== undefined) fragment.proxyMap.push({ net, address, node });
  }
  fragment.proxyGroups.push({
    id: groupId,
    name: group.id,
    slots: group.slots,
    targets: members,
    check: checkSpecOf(group.healthCheck),
    ...(group.resilience === undefined ? {} : { resilience: group.resilience }),
  });
  return groupId;
}
