// Edits of listeners and of the rules that live inside them.
import {
  checkTlsPolicy,
  ClbError,
  isProxied,
  LIMITS,
  LISTENER_DEFAULTS,
  type ListenerInput,
  type RelayPolicy,
  RESERVED_LISTEN_PORTS,
  RULE_DEFAULTS,
  type RuleInput,
} from '@openclb/model';
import { KEY, PREFIX } from '../desired/keys.ts';
import type { StoredListener, StoredLoadBalancer, StoredRule } from '../desired/state.ts';
import { checkBinding } from './binding.ts';
import { releaseClaims, takeClaims } from './claims.ts';
import { checkCustomConfig } from './custom.ts';
import {
  answersItself,
  checkListenerPolicy,
  checkNetworks,
  checkRegex,
  checkRulePolicy,
  conditionOf,
} from './policy.ts';
import { checkUpstreamPolicy } from './upstream.ts';
import { compact, type Edit, newId, reject, requireReference } from './context.ts';

/** Rules are kept as they are; `saveRule` and `removeRule` change them. */
export function saveListener(edit: Edit, input: ListenerInput, before?: StoredListener): StoredListener {
  const { protocol, port } = input;
  const owner = requireReference<StoredLoadBalancer>(
    edit,
    KEY.loadBalancer(input.loadBalancer),
    '/loadBalancer',
    input.loadBalancer,
  );
  edit.draft.touch(KEY.lock(owner.id));
  if (RESERVED_LISTEN_PORTS.includes(port)) throw new ClbError('ReservedPort', { field: '/port', value: port });
  checkCombination(input);
  checkBinding(edit, input);
  if (input.policy !== undefined) checkListenerPolicy(protocol, input.policy);
  if (input.customConfig !== undefined) checkCustomConfig(input.customConfig, protocol);
  if (input.targetGroup !== undefined) {
    requireReference(edit, KEY.targetGroup(input.targetGroup), '/targetGroup', input.targetGroup);
  }
  if (input.relay !== undefined) checkRelay(edit, protocol, input.relay);
  for (const [index, id] of (input.certificates ?? []).entries()) {
    requireReference(edit, KEY.certificate(id), `/certificates/${index}`, id);
  }
  if (!before && edit.draft.list(`${PREFIX.listener}${owner.id}/`).length >= LIMITS.listenersPerLoadBalancerMax) {
    throw new ClbError('LimitExceeded', {
      limit: LIMITS.listenersPerLoadBalancerMax,
      what: 'listeners per load balancer',
    });
  }
  const id = before?.id ?? input.id ?? newId(edit, 'listener', `${owner.id}/${protocol}/${port}`);
  const idle = protocol === 'UDP' ? LISTENER_DEFAULTS.udpIdleSeconds : LISTENER_DEFAULTS.tcpIdleSeconds;
  const listener = compact({
    id,
    loadBalancer: owner.id,
    name: input.name ?? `${protocol.toLowerCase()}-${port}`,
    protocol,
    port,
    scheduler: input.scheduler ?? (isProxied(input) ? 'wrr' : 'maglev'),
    translation: input.translation ?? LISTENER_DEFAULTS.translation,
    targetGroup: input.targetGroup,
    idleSeconds: input.idleSeconds ?? idle,
    onRemove: input.onRemove ?? LISTENER_DEFAULTS.onRemove,
    syncAfter: input.syncAfter,
    onUnknown: input.onUnknown,
    stickySeconds: input.stickySeconds,
    limits: input.limits,
    synProxy: input.synProxy,
    synRate: input.synRate,
    domains: input.domains?.map(({ domain, targetGroup }) => ({ domain: domain.toLowerCase(), targetGroup })),
    certificates: input.certificates ?? [],
    tls: input.tls,
    http2: input.http2,
    relay: input.relay,
    policy: input.policy,
    customConfig: input.customConfig,
    rules: before?.rules ?? [],
  }) as StoredListener;
  if (before) releaseClaims(edit, 'listener', before);
  takeClaims(edit, 'listener', listener);
  edit.draft.put(KEY.listener(owner.id, id), listener);
  return listener;
}

function checkRelay(edit: Edit, protocol: ListenerInput['protocol'], relay: RelayPolicy): void {
  if (protocol === 'HTTP' || protocol === 'HTTPS')
    reject('/relay', 'is for TCP, UDP and TCP_SSL listeners', 'HTTP listeners have `policy`.');
  if (protocol === 'UDP' && relay.proxyProtocol === 'v1')
    reject('/relay/proxyProtocol', 'must be v2 on a UDP listener: v1 knows no datagrams');
  if (protocol === 'UDP' && relay.proxyProtocolFrom !== undefined)
    reject('/relay/proxyProtocolFrom', 'is not for UDP listeners');
  if (protocol !== 'TCP' && relay.mysql !== undefined) reject('/relay/mysql', 'is for TCP listeners');
  checkNetworks('/relay/proxyProtocolFrom', relay.proxyProtocolFrom);
  checkNetworks('/relay/allow', relay.allow);
  checkNetworks('/relay/deny', relay.deny);
  for (const [index, id] of (relay.mysql?.targetGroups ?? []).entries()) {
    requireReference(edit, KEY.targetGroup(id), `/relay/mysql/targetGroups/${index}`, id);
  }
}

/** What fits together on a listener; the same limits that compile relies on. */
function checkCombination(input: ListenerInput): void {
  const { protocol, translation, targetGroup, certificates = [] } = input;
  const isHttp = protocol === 'HTTP' || protocol === 'HTTPS';
  if (isHttp && targetGroup !== undefined)
    reject('/targetGroup', `an ${protocol} listener sends by rules`, 'Create a rule that names the target group.');
  if (isProxied(input) && translation !== undefined && translation !== 'auto') {
    reject('/translation', `must be auto on a ${protocol} listener: it ends on a proxy`);
  }
  if (isHttp && (input.syncAfter !== undefined || input.onUnknown !== undefined))
    reject(
      input.syncAfter === undefined ? '/onUnknown' : '/syncAfter',
      `is for TCP and UDP listeners: flows of ${protocol} are found again by hash`,
    );
  if (input.stickySeconds !== undefined && isProxied(input))
    reject('/stickySeconds', `is for listeners that directors forward; ${protocol} ends on a proxy`);
  checkLimits(input);
  const isTls = protocol === 'HTTPS' || protocol === 'TCP_SSL';
  if (!isTls && certificates.length > 0) reject('/certificates', 'is for HTTPS and TCP_SSL listeners');
  if (isTls && certificates.length === 0) reject('/certificates', `an ${protocol} listener needs a certificate`);
  if (input.http2 !== undefined && !isHttp) reject('/http2', 'is for HTTP and HTTPS listeners');
  if (input.tls === undefined) return;
  if (!isTls) reject('/tls', 'is for HTTPS and TCP_SSL listeners');
  const problem = checkTlsPolicy(input.tls);
  if (problem !== null) reject(`/tls/${problem.field}`, problem.reason);
}

/** A limit that limits nothing is a mistake. */
function checkLimits({ limits }: ListenerInput): void {
  if (limits === undefined) return;
  const { packetsPerSecond, bitsPerSecond, connectionsPerSecond } = limits;
  if (packetsPerSecond === undefined && bitsPerSecond === undefined && connectionsPerSecond === undefined)
    reject('/limits', 'names no limit', 'Set packetsPerSecond, bitsPerSecond or connectionsPerSecond.');
}

export function saveRule(edit: Edit, listener: StoredListener, input: RuleInput, before?: StoredRule): StoredRule {
  if (listener.protocol !== 'HTTP' && listener.protocol !== 'HTTPS') {
    reject('/listener', `${listener.id} is a ${listener.protocol} listener; rules belong to HTTP and HTTPS`);
  }
  if (input.targetGroup !== undefined) {
    requireReference(edit, KEY.targetGroup(input.targetGroup), '/targetGroup', input.targetGroup);
  } else if (!answersItself(input.policy)) {
    reject('/targetGroup', 'is missing', 'Name a target group, or let the policy redirect or respond.');
  }
  if (input.policy !== undefined) {
    checkRulePolicy(input.policy, input.path ?? RULE_DEFAULTS.path);
    checkUpstreamPolicy(input.policy, input.scheduler ?? RULE_DEFAULTS.scheduler, listener);
    const { mirror } = input.policy;
    if (mirror !== undefined) {
      requireReference(edit, KEY.targetGroup(mirror.targetGroup), '/policy/mirror/targetGroup', mirror.targetGroup);
    }
  }
  edit.draft.touch(KEY.lock(listener.loadBalancer));
  const condition = conditionOf(input.policy);
  const naturalName = `${listener.id}/${input.domain ?? ''}${input.path ?? ''}${condition}`;
  const rule = compact({
    id: before?.id ?? input.id ?? newId(edit, 'rule', naturalName),
    listener: listener.id,
    domain: (input.domain ?? RULE_DEFAULTS.domain).toLowerCase(),
    path: input.path ?? RULE_DEFAULTS.path,
    targetGroup: input.targetGroup,
    isDefault: input.isDefault ?? RULE_DEFAULTS.isDefault,
    scheduler: input.scheduler ?? RULE_DEFAULTS.scheduler,
    policy: input.policy,
  }) as StoredRule;
  checkDomain(rule);
  const others = listener.rules.filter(({ id }) => id !== rule.id);
  const twin = others.find(
    (other) => other.domain === rule.domain && other.path === rule.path && conditionOf(other.policy) === condition,
  );
  if (twin)
    throw new ClbError('AlreadyExists', {
      kind: 'rule',
      id: `${twin.id} (${rule.domain}${rule.path})`,
      field: '/path',
    });
  if (others.length >= LIMITS.rulesPerListenerMax) {
    throw new ClbError('LimitExceeded', { limit: LIMITS.rulesPerListenerMax, what: 'rules per listener' });
  }
  // One default domain a listener: the newest wish wins, as in Tencent's ModifyDomainAttributes.
  const kept = rule.isDefault
    ? others.map((other) => ({ ...other, isDefault: other.isDefault && other.domain === rule.domain }))
    : others;
  edit.draft.put(KEY.listener(listener.loadBalancer, listener.id), {
    ...listener,
    rules: [...kept, rule].sort((a, b) => (a.id < b.id ? -1 : 1)),
  });
  return rule;
}

const DOMAIN = /^(?:\*\.)?(?:[a-z0-9-]+\.)*[a-z0-9-]+(?:\.\*)?$/;

/** Exact name, one star at one end, an address, or a regular expression that compiles (tencent-cloud.md E3). */
function checkDomain({ domain, path }: StoredRule): void {
  if (domain.startsWith('~')) checkRegex('/domain', domain.slice(1).trim());
  else if (domain !== '' && (!DOMAIN.test(domain) || (domain.startsWith('*.') && domain.endsWith('.*')))) {
    reject('/domain', `${domain} is neither a name nor *.name, name.* or ~regex`);
  }
  if (path.startsWith('~')) checkRegex('/path', path.replace(/^~\*? ?/, ''));
}

export function removeRule(edit: Edit, listener: StoredListener, id: string): void {
  edit.draft.touch(KEY.lock(listener.loadBalancer));
  edit.draft.put(KEY.listener(listener.loadBalancer, listener.id), {
    ...listener,
    rules: listener.rules.filter((rule) => rule.id !== id),
  });
}
