// What a controller is started with, and the defaults of its pools (data-plane.md P1, P18, P21).
import type { AcmeOptions } from './acme/manager.ts';
import { type AddressPair, cidr, type Cidr, formatAddress } from '@openclb/model';

export interface ApiKey {
  readonly key: string;
  /** False: may read and explain, not change. */
  readonly write: boolean;
}

export interface PoolOptions {
  /** Blocks from which VIPs are allocated when none is given. */
  readonly vip?: readonly string[];
  readonly eip?: readonly string[];
  /** T(d,w) = base + ordinal × 256 + w + 1. A /16. */
  readonly tunnelV4?: string;
  /** A /32: T(d,w) = base:<ordinal>:<w + 1>::1. */
  readonly tunnelV6?: string;
  /** A /10: probes in its first /12, proxies in its last; a /20 an ordinal (P18). */
  readonly service?: string;
  /** A /32: <ordinal>:<vpc>::1 are the proxies' own addresses in a VPC (P21). */
  readonly proxyV6?: string;
  readonly probeV6?: string;
}

export interface ControllerOptions {
  /** Path of the SQLite file, or `:memory:`. */
  readonly store: string;
  /** Secret that nodes present on the link. */
  readonly joinToken: string;
  /** At least one; people and tools present them as bearer tokens. */
  readonly apiKeys: readonly (string | ApiKey)[];
  readonly pools?: PoolOptions;
  /** Port on proxies that answers GET /ready. */
  readonly readyPort?: number;
  /** `clb up`: VIPs and targets may be loopback addresses, because clients, proxy and targets share one machine. */
  readonly oneBox?: boolean;
  /**
   * `clb up` with a director: addresses of the machine itself. A load balancer that has one as its VIP, or a listener that ends on a
   * proxy, is served by sockets as without a director; every other one is forwarded.
   */
  readonly ownAddresses?: () => readonly string[];
  /** How long a silent node counts as live. */
  readonly leaseMs?: number;
  /** Pauses of orders at ACME authorities. */
  readonly acme?: AcmeOptions;
  readonly nowMs?: () => number;
  /** One line a call; the default is silence, so that libraries do not log on their own. */
  readonly log?: (message: string, data?: Record<string, unknown>) => void;
}

export interface Pools {
  readonly vip: readonly Cidr[];
  readonly eip: readonly Cidr[];
  readonly tunnelV4: Cidr;
  readonly tunnelV6: Cidr;
  readonly service: Cidr;
  readonly proxyV6: Cidr;
  readonly probeV6: Cidr;
  /** E, the anycast tunnel address of the stateless tier (P28): ordinal 0 belongs to no director. */
  readonly anycast: AddressPair;
}

export const DEFAULT_POOLS = {
  vip: ['203.0.113.0/24', '2001:db8:cb::/64'],
  eip: ['198.18.0.0/24', '2001:db8:e1::/64'],
  tunnelV4: '10.254.0.0/16',
  tunnelV6: 'fd7c:6c61::/32',
  service: '100.64.0.0/10',
  proxyV6: 'fd7c:6c62::/32',
  probeV6: 'fd7c:6c63::/32',
} as const satisfies Required<PoolOptions>;

export const DEFAULTS = { readyPort: 8998, leaseMs: 15_000 } as const;

/** Throws when a block is not one, or too small for what is cut out of it. */
export function resolvePools(options: PoolOptions = {}): Pools {
  const block = (name: Exclude<keyof PoolOptions, 'vip' | 'eip'>, family: 4 | 6, prefixMax: number): Cidr => {
    const parsed = cidr(options[name] ?? DEFAULT_POOLS[name]);
    if (parsed.family !== family || parsed.prefix > prefixMax)
      throw new RangeError(`pool ${name} must be an IPv${family} block of at most /${prefixMax}`);
    return parsed;
  };
  const tunnelV4 = block('tunnelV4', 4, 16);
  const tunnelV6 = block('tunnelV6', 6, 32);
  return {
    vip: (options.vip ?? DEFAULT_POOLS.vip).map(cidr),
    eip: (options.eip ?? DEFAULT_POOLS.eip).map(cidr),
    tunnelV4,
    tunnelV6,
    service: block('service', 4, 10),
    proxyV6: block('proxyV6', 6, 32),
    probeV6: block('probeV6', 6, 32),
    anycast: anycastOf(tunnelV4, tunnelV6),
  };
}

function anycastOf(v4: Cidr, v6: Cidr): AddressPair {
  return { v4: addressIn(v4, 1n), v6: addressIn(v6, 1n) };
}

function addressIn(block: Cidr, offset: bigint): string {
  return formatAddress({ family: block.family, value: block.base + offset });
}
