// A proxy answers clients directly (data-plane.md P14, P20), so no SYN/ACK of it passes a data path that could lower the segment size:
// its own routes must. What comes from a VIP looks into a table that holds the uplink's routes once more, with `advmss` on each.
import { fromBytes16, formatAddress } from '@openclb/model';
import { ROUTE_PROTOCOL } from './ip-batch.ts';
import { type KernelRoute } from './netlink/kernel-tables.ts';

/** Table of the uplink's routes with `advmss`. */
export const DIRECT_TABLE = 7262;
/** After the local table (20 on a proxy with sources) and before the main one. */
const PREF = 21;
const HEADERS = { v4: 40, v6: 60 } as const;
const MAPPED_BITS = 96;
/** Of a full routing table the longest prefixes only; the main table answers for the rest. */
const ROUTES_MAX = 256;

/** The uplink as the kernel routes into it. `tunnelMtu` is what a client's packet may have to fit the tunnel to this proxy. */
export interface DirectReturn {
  readonly device: string;
  readonly deviceIndex: number | null;
  readonly tunnelMtu: number;
  readonly routes: readonly KernelRoute[];
}

export interface FamilyCommand {
  readonly words: string;
  readonly kind: 'rule' | 'route';
  readonly isV6: boolean;
}

export function directReturnCommands(vips: readonly string[], uplink: DirectReturn): FamilyCommand[] {
  if (vips.length === 0) return [];
  const rules = vips.map((vip): FamilyCommand => {
    return { kind: 'rule', words: `pref ${PREF} from ${vip} lookup ${DIRECT_TABLE}`, isV6: vip.includes(':') };
  });
  // Sorted by priority within a prefix: the first is the one that the kernel uses.
  const best = new Map<string, KernelRoute>();
  for (const route of uplink.routes) {
    const key = `${route.prefix.join('.')}/${route.bits}`;
    const isOurs = route.device === uplink.deviceIndex && !isLinkLocal(route.prefix);
    if (isOurs && !best.has(key) && best.size < ROUTES_MAX) best.set(key, route);
  }
  return [...rules, ...[...best.values()].map((route) => routeCommand(route, uplink))];
}

function routeCommand({ prefix, bits, gateway }: KernelRoute, { device, tunnelMtu }: DirectReturn): FamilyCommand {
  const address = fromBytes16(prefix);
  // ::/0 and 0.0.0.0/0 differ in the mapping alone.
  const isV6 = address.family === 6;
  const width = isV6 ? bits : Math.max(0, bits - MAPPED_BITS);
  const via = gateway === null ? '' : `via ${formatAddress(fromBytes16(gateway))} `;
  const advmss = tunnelMtu - (isV6 ? HEADERS.v6 : HEADERS.v4);
  const words = `${formatAddress(address)}/${width} ${via}dev ${device} proto ${ROUTE_PROTOCOL} advmss ${advmss} table ${DIRECT_TABLE}`;
  return { kind: 'route', words, isV6 };
}

function isLinkLocal(prefix: Uint8Array): boolean {
  return prefix[0] === 0xfe && (prefix[1]! & 0xc0) === 0x80;
}
