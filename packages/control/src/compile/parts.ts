// What the compile steps share: the shape of a fragment, and how groups and health checks are read.
import {
  type AccessListRow,
  address,
  type CheckSpec,
  type GroupRow,
  type HealthCheck,
  HEALTH_CHECK_DEFAULTS,
  MYSQL_PROBE_USER,
  type HostRow,
  type ListenerRow,
  type ProxyListenerRow,
  type ProxyTargetRow,
  type RegisteredRow,
  type TargetRow,
} from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type { StoredListener, StoredLoadBalancer, StoredTargetGroup } from '../desired/state.ts';
import { CompileProblem, type StableIds } from './stable-id.ts';
import type { Placement } from './targets.ts';

/** Everything that one load balancer puts into images. JSON, because the last good one is kept in the store. */
export interface Fragment {
  readonly loadBalancer: string;
  /** Served by sockets of proxies alone: directors know nothing of it. Absent in fragments kept by an older controller. */
  readonly isRelayed?: boolean;
  readonly vips: { net: number; address: string }[];
  readonly listeners: ListenerRow[];
  readonly groups: GroupRow[];
  readonly targets: TargetRow[];
  readonly hosts: HostRow[];
  /** Targets of layer-4 listeners by the node that delivers to them (P7.5). */
  readonly registered: { node: string; row: RegisteredRow }[];
  readonly physical: string[];
  /** VIPs that the machine of an endpoint owns, because its targets answer clients directly (LVS-TUN). */
  readonly localVips: { node: string; vip: string }[];
  readonly proxyListeners: ProxyListenerRow[];
  readonly proxyGroups: GroupRow[];
  /** The source address is the proxy's own and is filled in per proxy (P21). */
  readonly proxyTargets: Omit<ProxyTargetRow, 'source'>[];
  /** (net, address) → node of the targets that proxies reach. */
  readonly proxyMap: { net: number; address: string; node: string }[];
  /** Of the load balancer; its listeners name it. Absent where everybody may come. */
  readonly accessList?: AccessListRow;
  readonly warnings: string[];
}

export interface FragmentInput {
  readonly placement: Placement;
  readonly ids: StableIds;
  readonly loadBalancer: StoredLoadBalancer;
  readonly listeners: readonly StoredListener[];
  readonly net: number;
}

export function groupOf(
  { placement: { state } }: FragmentInput,
  id: string | undefined,
  field: string,
): StoredTargetGroup {
  if (id === undefined) throw new CompileProblem(`${field} is missing`);
  const broken = state.broken.get(KEY.targetGroup(id));
  if (broken !== undefined) throw new CompileProblem(`target group ${id} cannot be read: ${broken}`);
  const group = state.targetGroup.get(KEY.targetGroup(id));
  if (!group) throw new CompileProblem(`${field} names ${id}, which does not exist`);
  return group;
}

/** Seconds become milliseconds and every default is written out. */
export function checkSpecOf(check: HealthCheck): CheckSpec {
  const D = HEALTH_CHECK_DEFAULTS;
  const isOn = check.enabled ?? D.enabled;
  const type = isOn ? (check.type ?? D.type) : 'none';
  return {
    type,
    intervalMs: (check.intervalSeconds ?? D.intervalSeconds) * 1000,
    timeoutMs: (check.timeoutSeconds ?? D.timeoutSeconds) * 1000,
    healthyThreshold: check.healthyThreshold ?? D.healthyThreshold,
    unhealthyThreshold: check.unhealthyThreshold ?? D.unhealthyThreshold,
    ...(check.port === undefined ? {} : { port: check.port }),
    ...(type === 'mysql' ? { mysql: { user: check.mysqlUser ?? MYSQL_PROBE_USER } } : {}),
    ...(type === 'http' || type === 'https'
      ? {
          http: {
            method: check.httpMethod ?? D.httpMethod,
            path: check.httpPath ?? D.httpPath,
            codes: check.httpCodes ?? D.httpCodes,
            ...(check.httpDomain === undefined ? {} : { host: check.httpDomain }),
            ...(check.httpVersion === undefined ? {} : { version: check.httpVersion }),
            ...(check.httpBody === undefined ? {} : { body: check.httpBody }),
          },
        }
      : {}),
    ...(type === 'grpc' || type === 'grpcs'
      ? { grpc: { service: check.grpcService ?? '', codes: codesOf(check.grpcCodes) } }
      : {}),
  };
}

/** `12,14-16` → 12, 14, 15, 16. */
function codesOf(text: string | undefined): number[] {
  const codes = new Set<number>();
  for (const part of text?.split(',') ?? []) {
    const [from = 0, to = from] = part.split('-').map(Number);
    for (let code = from; code <= to; code++) codes.add(code);
  }
  return [...codes];
}

export function familyOf(text: string): 4 | 6 {
  return address(text).family;
}

export function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
