// TCP and UDP listeners → director rows: DNAT × GRE for VPC targets, DNAT × IPIP or none for physical ones (design.md walk 1; P23).
import { type CheckSpec, LISTENER_DEFAULTS, type ListenerRow } from '@openclb/model';
import type { StoredListener, StoredTargetGroup } from '../desired/state.ts';
import { serviceFields } from './access.ts';
import { byId, checkSpecOf, familyOf, type Fragment, type FragmentInput, groupOf } from './parts.ts';
import { CompileProblem } from './stable-id.ts';
import { resolveTarget, type ResolvedTarget } from './targets.ts';

const PROTOCOL = { TCP: 6, UDP: 17 } as const;

export function layer4Rows(input: FragmentInput, listener: StoredListener, fragment: Fragment): void {
  const { ids, loadBalancer, net } = input;
  const group = groupOf(input, listener.targetGroup, `target group of ${listener.id}`);
  const protocol = PROTOCOL[listener.protocol === 'UDP' ? 'UDP' : 'TCP'];
  const translation = translationOf(listener, group);
  const seen = new Set<4 | 6>();
  for (const vip of [...loadBalancer.vips].sort()) {
    const family = familyOf(vip);
    const groupName = `${group.id}/v${family}`;
    if (!seen.has(family)) {
      seen.add(family);
      const targets = groupRows(input, group, family, fragment, translation === 'none');
      checkTargets(input, listener, targets, translation);
      registerTargets(fragment, targets, protocol);
      if (translation === 'none') giveVips(fragment, targets, loadBalancer.vips, family);
    }
    const row: ListenerRow = {
      id: ids.of(`${listener.id}/${vip}`),
      name: listener.id,
      loadBalancer: loadBalancer.id,
      net,
      vip,
      vport: listener.port,
      protocol,
      translation,
      scheduler: listener.scheduler,
      group: ids.of(groupName),
      // Without translation the target owns the VIP and answers the client itself (LVS-DR, LVS-TUN).
      directReturn: translation === 'none',
      idleSeconds: listener.idleSeconds,
      onRemove: listener.onRemove,
      ...(listener.syncAfter === undefined ? {} : { syncAfterSeconds: listener.syncAfter }),
      ...(listener.stickySeconds === undefined ? {} : { stickySeconds: listener.stickySeconds }),
      ...(listener.onUnknown === undefined ? {} : { onUnknown: listener.onUnknown }),
      ...serviceFields(listener, fragment),
    };
    fragment.listeners.push({ ...row, ...bindingOf(input, listener, family, translation, fragment) });
  }
}

/** What is bound late: a SYN proxy, or domains with groups of their own (P26, P27). */
function bindingOf(
  input: FragmentInput,
  listener: StoredListener,
  family: 4 | 6,
  translation: string,
  fragment: Fragment,
): Partial<ListenerRow> {
  const { synProxy, synRate, domains = [] } = listener;
  const isProxied = synProxy !== undefined && synProxy !== 'off';
  if (translation === 'none' && (isProxied || domains.length > 0))
    throw new CompileProblem(`${listener.id}: its targets answer clients directly, past the SYN proxy; use dnat`);
  const rows = domains.map(({ domain, targetGroup }) => {
    const group = groupOf(input, targetGroup, `target group of ${domain} on ${listener.id}`);
    const targets = groupRows(input, group, family, fragment, false);
    checkTargets(input, listener, targets, translation);
    registerTargets(fragment, targets, PROTOCOL.TCP);
    return { domain, group: input.ids.of(`${group.id}/v${family}`) };
  });
  return {
    ...(isProxied ? { synProxy } : {}),
    ...(synProxy === 'auto' ? { synRate: synRate ?? LISTENER_DEFAULTS.synRate } : {}),
    ...(rows.length > 0 ? { domains: rows } : {}),
  };
}

/** The group in one address family, because the translated packet keeps the family of its VIP. */
function groupRows(
  input: FragmentInput,
  group: StoredTargetGroup,
  family: 4 | 6,
  fragment: Fragment,
  ownsVip: boolean,
): ResolvedTarget[] {
  const { ids, placement } = input;
  const name = `${group.id}/v${family}`;
  const resolved: ResolvedTarget[] = [];
  for (const target of [...group.targets].sort(byId)) {
    const result = resolveTarget(placement, target, family);
    if ('target' in result) resolved.push(result.target);
    else fragment.warnings.push(result.leftOut);
  }
  if (fragment.groups.some((row) => row.id === ids.of(name))) return resolved;
  fragment.groups.push({
    id: ids.of(name),
    name: group.id,
    slots: group.slots,
    targets: resolved.map(({ id, weight }) => ({ target: ids.of(`${id}/v${family}`), weight })),
    check: directorCheck(group),
  });
  for (const { id, net, address, port, encapsulation, host, node } of resolved) {
    const hostId = host === null ? null : ids.of(`host/${host.name}`);
    fragment.targets.push({
      id: ids.of(`${id}/v${family}`),
      name: id,
      net,
      address,
      port,
      encapsulation,
      host: hostId,
    });
    if (host !== null && hostId !== null && !fragment.hosts.some((row) => row.id === hostId))
      fragment.hosts.push({ id: hostId, ...host });
    if (net === 0 && node !== undefined) fragment.physical.push(address);
    if (encapsulation === 'ipip' && node === undefined && !ownsVip && fragment.isRelayed !== true) {
      fragment.warnings.push(
        `${id}: no endpoint is registered at ${address}; a plain server would answer clients from its own address`,
      );
    }
  }
  return resolved;
}

/** Directors speak no MySQL: a handshake says the same of the machine. */
function directorCheck({ healthCheck }: StoredTargetGroup): CheckSpec {
  const { mysql: _, ...check } = checkSpecOf(healthCheck);
  return check.type === 'mysql' ? { ...check, type: 'tcp' } : check;
}

/** What is automatic follows from the targets: who is reached by link address alone must own the VIP. */
function translationOf(listener: StoredListener, group: StoredTargetGroup): 'none' | 'dnat' | 'fullnat' {
  if (listener.translation !== 'auto') return listener.translation;
  return group.targets.some(({ encapsulation }) => encapsulation === 'l2') ? 'none' : 'dnat';
}

function checkTargets(
  input: FragmentInput,
  listener: StoredListener,
  targets: readonly ResolvedTarget[],
  translation: string,
): void {
  for (const target of targets) {
    const { id, net } = target;
    if (input.net !== 0 && net !== input.net)
      throw new CompileProblem(`${listener.id}: target ${id} is outside of VPC ${input.net}`);
    const problem = translation === 'none' ? whyNotDirect(listener, target) : whyNotTranslated(target);
    if (problem !== undefined) throw new CompileProblem(`${listener.id}: target ${id} ${problem}`);
  }
}

/** Without translation the target owns the VIP and answers the client itself (LVS-DR, LVS-TUN; acceptance A148, A149). */
function whyNotDirect(listener: StoredListener, { net, port, encapsulation }: ResolvedTarget): string | undefined {
  if (net !== 0) return 'is in a VPC; translation none needs physical targets that own the VIP';
  if (encapsulation === 'none')
    return 'has encapsulation none: a packet for the VIP would not reach it; use l2 on the same link, or ipip';
  if (port === listener.port) return undefined;
  return `has port ${port}, but without translation packets keep the listener's port ${listener.port}; use dnat to map ports`;
}

function whyNotTranslated({ encapsulation }: ResolvedTarget): string | undefined {
  if (encapsulation !== 'l2') return undefined;
  return 'has encapsulation l2, which keeps the VIP as destination: it needs translation none or auto';
}

/** Endpoints of such targets take the VIPs as addresses of their machine. */
function giveVips(
  fragment: Fragment,
  targets: readonly ResolvedTarget[],
  vips: readonly string[],
  family: 4 | 6,
): void {
  for (const { node, encapsulation } of targets) {
    if (node === undefined || encapsulation !== 'ipip') continue;
    for (const vip of vips) if (familyOf(vip) === family) fragment.localVips.push({ node, vip });
  }
}

function registerTargets(fragment: Fragment, targets: readonly ResolvedTarget[], protocol: number): void {
  for (const { node, net, address, port } of targets) {
    if (node !== undefined) fragment.registered.push({ node, row: { net, address, port, protocol } });
  }
}
