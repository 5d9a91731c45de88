// The only reader of the target union (control-plane.md B1): every spelling becomes net, address and host, or a reason to leave it out.
import { address, isProxied, targetKind } from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type {
  DesiredState,
  StoredListener,
  StoredLoadBalancer,
  StoredNode,
  StoredTargetGroup,
} from '../desired/state.ts';

type StoredTarget = StoredTargetGroup['targets'][number];

export interface ResolvedTarget {
  readonly id: string;
  readonly net: number;
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly encapsulation: 'none' | 'l2' | 'ipip' | 'gre';
  /** Resource name and underlay addresses of the tunnel's far end; null without tunnel. */
  readonly host: { readonly name: string; readonly v4?: string; readonly v6?: string } | null;
  /** The endpoint that delivers to it, when one does. */
  readonly node: string | undefined;
}

export type Resolution = { readonly target: ResolvedTarget } | { readonly leftOut: string };

/** Indexes over the state that every load balancer of one compile shares. */
export interface Placement {
  readonly state: DesiredState;
  /** `<vpc>/<address>` → endpoint node id, undefined when registered but placed nowhere. */
  readonly hostByAddress: ReadonlyMap<string, string | undefined>;
  readonly listenersByLoadBalancer: ReadonlyMap<string, readonly StoredListener[]>;
  /** Physical address → endpoint node id. */
  readonly nodeByPhysical: ReadonlyMap<string, string>;
  /** Nobody forwards packets of this load balancer, so proxies relay its TCP and UDP listeners (control-plane.md B15). */
  isRelayed(loadBalancer: StoredLoadBalancer): boolean;
}

/** `own`: addresses of the only machine, where director and proxy share one. */
export function placementOf(state: DesiredState, own?: readonly string[]): Placement {
  const hostByAddress = new Map<string, string | undefined>();
  for (const { vpcId, addresses, host } of state.instance.values()) {
    for (const text of addresses) hostByAddress.set(`${vpcId}/${text}`, host);
  }
  const nodeByPhysical = new Map<string, string>();
  for (const { id, role, physical, underlay } of state.node.values()) {
    if (role !== 'endpoint') continue;
    for (const text of [...physical, underlay.v4, underlay.v6]) if (text !== undefined) nodeByPhysical.set(text, id);
  }
  const hasDirector = [...state.node.values()].some(({ role }) => role === 'director');
  const listenersByLoadBalancer = Map.groupBy(state.listener.values(), ({ loadBalancer }) => loadBalancer);
  // One machine has no way by GRE to itself, and a VIP belongs to its kernel or to its director, never to both.
  const isRelayed = ({ id, vips }: StoredLoadBalancer): boolean =>
    !hasDirector ||
    (own !== undefined &&
      (vips.some((vip) => own.includes(vip)) || (listenersByLoadBalancer.get(id) ?? []).some(isProxied)));
  return { state, hostByAddress, nodeByPhysical, listenersByLoadBalancer, isRelayed };
}

/** `family` chooses among the addresses of an instance; 0 takes its primary one. */
export function resolveTarget(placement: Placement, target: StoredTarget, family: 4 | 6 | 0): Resolution {
  const kind = targetKind(target);
  const { id, port, weight } = target;
  switch (kind.kind) {
    case 'instance': {
      const instance = placement.state.instance.get(KEY.instance(kind.instance));
      if (!instance) return { leftOut: `${id}: instance ${kind.instance} does not exist` };
      const chosen = instance.addresses.find((text) => family === 0 || address(text).family === family);
      if (chosen === undefined) return { leftOut: `${id}: ${kind.instance} has no IPv${family} address` };
      return inVpc(placement, { id, port, weight }, instance.vpcId, chosen, instance.host);
    }
    case 'vpc': {
      if (family !== 0 && address(kind.address).family !== family)
        return { leftOut: `${id}: ${kind.address} is not IPv${family}` };
      const host = kind.host ?? placement.hostByAddress.get(`${kind.vpc}/${kind.address}`);
      return inVpc(placement, { id, port, weight }, kind.vpc, kind.address, host);
    }
    case 'physical': {
      if (family !== 0 && address(kind.address).family !== family)
        return { leftOut: `${id}: ${kind.address} is not IPv${family}` };
      const node = placement.nodeByPhysical.get(kind.address);
      const far = {
        name: `physical/${kind.address}`,
        [address(kind.address).family === 4 ? 'v4' : 'v6']: kind.address,
      };
      const host = kind.encapsulation === 'ipip' ? far : null;
      return {
        target: { id, net: 0, address: kind.address, port, weight, encapsulation: kind.encapsulation, host, node },
      };
    }
    case 'invalid':
      return { leftOut: `${id}: ${kind.field} ${kind.rule}` };
  }
}

function inVpc(
  placement: Placement,
  base: { id: string; port: number; weight: number },
  net: number,
  text: string,
  hostId: string | undefined,
): Resolution {
  if (hostId === undefined) return { leftOut: `${base.id}: ${text} of VPC ${net} is placed on no host` };
  const node = placement.state.node.get(KEY.node(hostId));
  if (!node) return { leftOut: `${base.id}: host ${hostId} is not a registered node` };
  return { target: { ...base, net, address: text, encapsulation: 'gre', host: hostOf(node), node: node.id } };
}

export function hostOf(node: StoredNode): { name: string; v4?: string; v6?: string } {
  return { name: node.id, ...node.underlay };
}

/** Every address of a node that tunnels may come from. */
export function underlaysOf(node: StoredNode): string[] {
  return [node.underlay.v4, node.underlay.v6].filter((text) => text !== undefined);
}

/** The address that tunnels to a node use: IPv4 where it has one. */
export function underlayOf(node: { readonly underlay: { readonly v4?: string; readonly v6?: string } }): string {
  return node.underlay.v4 ?? node.underlay.v6 ?? '';
}
