// The policy of a relay listener (model/relay-policy.ts), read once per image.
import type { ProxyImage, RelayPolicy } from '@openclb/model';
import { networksOf, type Networks } from '../policy/networks.ts';
import type { Group } from '../scheduler.ts';
import type { ProxyProtocol } from './proxy-protocol.ts';

type Row = ProxyImage['listeners'][number];

export interface CompiledRelay {
  /** Null: what the proxy itself was told. */
  readonly proxyProtocol: ProxyProtocol | null;
  /** Null: the proxy's limit. */
  readonly idleMs: number | null;
  readonly connectMs: number | null;
  readonly connectionsMax: number;
  readonly connectionsPerClientMax: number;
  readonly connectionsPerTargetMax: number;
  readonly allow: Networks | null;
  readonly deny: Networks | null;
  /** Groups that a router of MySQL logins may name; null: bytes are bytes. */
  readonly mysqlGroups: ReadonlyMap<string, Group> | null;
}

export function compileRelay(row: Row, groupOf: (id: string) => Group): CompiledRelay {
  const relay: RelayPolicy = row.relay ?? {};
  const seconds = (value: number | undefined): number | null => (value === undefined ? null : value * 1000);
  const mysqlGroups = (row.mysqlGroups ?? []).map(({ name, group }) => [name, groupOf(group)] as const);
  return {
    proxyProtocol: relay.proxyProtocol ?? null,
    idleMs: seconds(row.idleSeconds),
    connectMs: seconds(relay.connectSeconds),
    connectionsMax: relay.connectionsMax ?? Infinity,
    connectionsPerClientMax: relay.connectionsPerClientMax ?? Infinity,
    connectionsPerTargetMax: relay.connectionsPerTargetMax ?? Infinity,
    allow: networksOf(relay.allow),
    deny: networksOf(relay.deny),
    mysqlGroups: relay.mysql === undefined ? null : new Map(mysqlGroups),
  };
}

/** Denied networks are asked first. */
export function mayEnter({ allow, deny }: CompiledRelay, client: string): boolean {
  if (deny?.has(client) === true) return false;
  return allow === null || allow.has(client);
}
