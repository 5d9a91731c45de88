// Access lists and limits of services → director rows. Equal lists of several load balancers become one.
import { type AccessListRow, canonicalJson, LIMITS, type ListenerRow, portsOf } from '@openclb/model';
import type { StoredListener, StoredLoadBalancer } from '../desired/state.ts';
import type { Fragment } from './parts.ts';
import type { StableIds } from './stable-id.ts';

const PROTOCOL = { TCP: 6, UDP: 17 } as const;

export function accessOf({ access }: StoredLoadBalancer, ids: StableIds): { accessList?: AccessListRow } {
  if (access === undefined) return {};
  const rules = access.rules.map(({ cidr, action, protocol, ports }) => ({
    cidr,
    action,
    ...(protocol === undefined ? {} : { protocol: PROTOCOL[protocol] }),
    ...(ports === undefined ? {} : portsOf(ports)),
  }));
  const list = { otherwise: access.otherwise, rules };
  return { accessList: { id: ids.of(`access/${canonicalJson(list)}`), ...list } };
}

/** What a row of any listener says of limits and access. */
export function serviceFields({ limits }: StoredListener, { accessList }: Fragment): Partial<ListenerRow> {
  return {
    ...(limits === undefined ? {} : { limits }),
    ...(accessList === undefined ? {} : { access: accessList.id }),
  };
}

/** Where there is no director nobody looks at a packet. */
export function warnUnguarded(fragment: Fragment, listeners: readonly StoredListener[]): void {
  if (fragment.isRelayed !== true) return;
  if (fragment.accessList !== undefined)
    fragment.warnings.push(`${fragment.loadBalancer}: the access list needs a director; here nobody asks it`);
  for (const { id, limits } of listeners)
    if (limits !== undefined) fragment.warnings.push(`${id}: limits need a director; here nobody enforces them`);
}

/** Lists in the order of the load balancers, each once; what is too much for an image is left out with its listeners shut. */
export function accessLists(fragments: readonly Fragment[], warnings: string[]): { accessLists?: AccessListRow[] } {
  const lists = new Map<string, AccessListRow>();
  let rules = 0;
  for (const { accessList, loadBalancer } of fragments) {
    if (accessList === undefined || lists.has(accessList.id)) continue;
    rules += accessList.rules.length;
    if (rules <= LIMITS.accessRulesPerImageMax) lists.set(accessList.id, accessList);
    else {
      rules -= accessList.rules.length;
      lists.set(accessList.id, { ...accessList, otherwise: 'deny', rules: [] });
      warnings.push(
        `${loadBalancer}: all access lists together have more than ${LIMITS.accessRulesPerImageMax} rules; it lets nobody in`,
      );
    }
  }
  return lists.size === 0 ? {} : { accessLists: [...lists.values()] };
}
