// A load balancer compiled on its own (control-plane.md B3). Pure. What one cannot compile never touches another's rows.
import { isProxied } from '@openclb/model';
import { KEY, PREFIX } from '../desired/keys.ts';
import { accessOf, warnUnguarded } from './access.ts';
import { layer4Rows } from './l4.ts';
import { layer7Rows, relayRow } from './l7.ts';
import { byId, type Fragment, type FragmentInput } from './parts.ts';
import { CompileProblem, type StableIds } from './stable-id.ts';
import type { Placement } from './targets.ts';

export function compileFragment(placement: Placement, ids: StableIds, id: string): Fragment {
  const { state } = placement;
  const prefix = `${PREFIX.listener}${id}/`;
  for (const [key, reason] of state.broken) {
    if (key === KEY.loadBalancer(id) || key.startsWith(prefix))
      throw new CompileProblem(`${key.slice(2)} cannot be read: ${reason}`);
  }
  const loadBalancer = state.loadBalancer.get(KEY.loadBalancer(id));
  if (!loadBalancer) throw new CompileProblem(`${id} does not exist`);
  const listeners = [...(placement.listenersByLoadBalancer.get(id) ?? [])].sort(byId);
  const net = loadBalancer.network === 'internal' ? (loadBalancer.vpcId ?? 0) : 0;
  if (loadBalancer.network === 'internal' && net === 0)
    throw new CompileProblem('an internal load balancer needs a VPC');
  const input: FragmentInput = { placement, ids, loadBalancer, listeners, net };
  const fragment: Fragment = {
    loadBalancer: id,
    isRelayed: placement.isRelayed(loadBalancer),
    vips: [...loadBalancer.vips].sort().map((text) => ({ net, address: text })),
    listeners: [],
    groups: [],
    targets: [],
    hosts: [],
    registered: [],
    physical: [],
    localVips: [],
    proxyListeners: [],
    proxyGroups: [],
    proxyTargets: [],
    proxyMap: [],
    ...accessOf(loadBalancer, ids),
    warnings: [],
  };
  for (const listener of listeners) {
    if (isProxied(listener)) layer7Rows(input, listener, fragment);
    else layer4Rows(input, listener, fragment);
    if (!isProxied(listener) && fragment.isRelayed && net === 0) relayRow(input, listener, fragment);
  }
  warnUnguarded(fragment, listeners);
  return { ...fragment, warnings: [...new Set(fragment.warnings)] };
}
