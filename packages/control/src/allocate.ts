// Addresses that follow from an ordinal: tunnels (P1), probes (P18, P24), proxies' source blocks (P18, P21). Pure arithmetic.
import { type AddressPair, type Cidr, formatAddress, formatCidr, type TunnelRow } from '@openclb/model';
import type { Pools } from './options.ts';

/** Ordinals of directors and proxies: 0 is kept for anycast, and a /16 of tunnel addresses or a /12 of /20 blocks ends at 255. */
export const ORDINALS = {
  director: { min: 1, max: 255 },
  proxy: { min: 1, max: 255 },
  endpoint: { min: 1, max: 4095 },
} as const;
export const ORDINAL_REUSE_MS = 24 * 60 * 60 * 1000;

const PROBE_BLOCK = 0n;
/** 100.64 + 48 = 100.112. */
const PROXY_BLOCK = 48n << 16n;

function at(block: Cidr, offset: bigint): string {
  return formatAddress({ family: block.family, value: block.base + offset });
}

export function tunnelsOf(node: string, ordinal: number, workers: number, pools: Pools): TunnelRow[] {
  return Array.from({ length: workers }, (_, worker) => ({
    node,
    worker,
    v4: at(pools.tunnelV4, (BigInt(ordinal) << 8n) + BigInt(worker + 1)),
    v6: at(pools.tunnelV6, (BigInt(ordinal) << 80n) + (BigInt(worker + 1) << 64n) + 1n),
  }));
}

export function probeOf(ordinal: number, pools: Pools): AddressPair {
  return {
    v4: at(pools.service, PROBE_BLOCK + (BigInt(ordinal) << 12n) + 1n),
    v6: at(pools.probeV6, (BigInt(ordinal) << 80n) + 1n),
  };
}

export function sourceBlocksOf(ordinal: number, pools: Pools): string[] {
  return [
    formatCidr({ family: 4, base: pools.service.base + PROXY_BLOCK + (BigInt(ordinal) << 12n), prefix: 20 }),
    formatCidr({ family: 6, base: pools.proxyV6.base + (BigInt(ordinal) << 80n), prefix: 48 }),
  ];
}

/** A proxy's own address in a VPC. IPv4 by the index that the VPC was given; IPv6 has room for the VPC id itself. */
export function sourceOf(
  ordinal: number,
  vpc: { readonly id: number; readonly sourceIndex: number },
  pools: Pools,
): Required<AddressPair> {
  const low = BigInt(vpc.id & 0xffff);
  const high = BigInt(vpc.id >>> 16);
  return {
    v4: at(pools.service, PROXY_BLOCK + (BigInt(ordinal) << 12n) + BigInt(vpc.sourceIndex)),
    v6: at(pools.proxyV6, (BigInt(ordinal) << 80n) + (low << 64n) + (high << 48n) + 1n),
  };
}
