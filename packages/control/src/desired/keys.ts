// The keys of the desired state (control-plane.md B7, B8). Everything under `d/` is desired; `f/` holds the last good fragments.
// Uniqueness (addresses, ports, names, ordinals) is a key that is created if absent: the store's transaction, never a scan.

export const DESIRED = 'd/';
export const FRAGMENTS = 'f/';
/** What no watcher sees: the root of ticket secrets. */
export const SECRETS = 's/';

export const KEY = {
  vpc: (id: number) => `d/vpc/${id}`,
  node: (id: string) => `d/node/${id}`,
  instance: (id: string) => `d/instance/${id}`,
  certificate: (id: string) => `d/certificate/${id}`,
  targetGroup: (id: string) => `d/group/${id}`,
  loadBalancer: (id: string) => `d/lb/${id}`,
  /** The load balancer is in the key, so that even an unreadable listener says whom it belongs to. */
  listener: (loadBalancer: string, id: string) => `d/listener/${loadBalancer}/${id}`,
  eip: (id: string) => `d/eip/${id}`,
  /** Touched by every change below a load balancer: its compare-and-set and its lock. */
  lock: (loadBalancer: string) => `d/lock/${loadBalancer}`,
  address: (net: number, address: string) => `d/addr/${net}/${address}`,
  port: (loadBalancer: string, transport: 'tcp' | 'udp', port: number) => `d/port/${loadBalancer}/${transport}/${port}`,
  name: (kind: string, name: string) => `d/name/${kind}/${encodeURIComponent(name)}`,
  ordinal: (role: string, ordinal: number) => `d/ordinal/${role}/${ordinal}`,
  /** An address of a VPC has at most one EIP. */
  eipFor: (vpc: number, address: string) => `d/eipfor/${vpc}/${address}`,
  /** Which index a VPC has in every proxy's source block. */
  sourceIndex: (index: number) => `d/source/${index}`,
  /** What the directors share: flow sync and peer packets are signed with keys made of it. */
  clusterSecret: 'd/secret/cluster',
  fragment: (loadBalancer: string) => `f/${loadBalancer}`,
  ticketRoot: 's/tickets',
} as const;

export const PREFIX = {
  vpc: 'd/vpc/',
  node: 'd/node/',
  instance: 'd/instance/',
  certificate: 'd/certificate/',
  targetGroup: 'd/group/',
  loadBalancer: 'd/lb/',
  listener: 'd/listener/',
  eip: 'd/eip/',
  address: 'd/addr/',
} as const;
export type StoredKind = Exclude<keyof typeof PREFIX, 'address'>;

/** Value of an address key. */
export interface AddressClaim {
  readonly owner: string;
  readonly use: 'vip' | 'eip' | 'tunnel' | 'probe' | 'underlay' | 'physical' | 'instance' | 'anycast';
}
