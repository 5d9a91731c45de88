// The rows of the kernel's tables by their keys, and the lookups in them.
import {
  isV4,
  type KernelAddress,
  type KernelLink,
  type KernelNeighbour,
  type KernelObject,
  type KernelRoute,
} from './messages.ts';

/** More rows than this of one kind and the rest is ignored: a director has few routes, but a neighbour may be a full BGP table. */
const ROWS_MAX = 100_000;
const ROUTE_TYPE_UNICAST = 1;
const TABLE_MAIN = 254;

export interface Rows {
  readonly links: ReadonlyMap<number, KernelLink>;
  addresses(): KernelAddress[];
  /** Unicast routes of the main table, longest prefix first, lowest priority number first. */
  routes(): KernelRoute[];
  neighbours(): KernelNeighbour[];
  route(destination: Uint8Array): KernelRoute | null;
  mac(device: number, address: Uint8Array): Uint8Array | null;
  apply(object: KernelObject): void;
  clear(): void;
}

export function createRows(): Rows {
  const links = new Map<number, KernelLink>();
  const addresses = new Map<string, KernelAddress>();
  const allRoutes = new Map<string, KernelRoute>();
  const neighbours = new Map<string, KernelNeighbour>();
  let sorted: KernelRoute[] | null = null;
  const routes = (): KernelRoute[] => {
    sorted ??= [...allRoutes.values()]
      .filter(({ type, table }) => type === ROUTE_TYPE_UNICAST && table === TABLE_MAIN)
      .toSorted((a, b) => b.bits - a.bits || a.priority - b.priority);
    return sorted;
  };
  return {
    links,
    addresses: () => [...addresses.values()],
    routes,
    neighbours: () => [...neighbours.values()],
    route: (destination) => routes().find(({ prefix, bits }) => isInside(destination, prefix, bits)) ?? null,
    mac: (device, address) => neighbours.get(neighbourKey(device, address))?.mac ?? null,
    apply: (object) => {
      if (object.kind === 'link') {
        if (object.isGone) links.delete(object.link.index);
        else links.set(object.link.index, object.link);
      } else if (object.kind === 'route') {
        put(allRoutes, routeKey(object.route), object.route, object.isGone);
        sorted = null;
      } else if (object.kind === 'address') {
        put(addresses, addressKey(object.address), object.address, object.isGone);
      } else {
        const { neighbour } = object;
        put(neighbours, neighbourKey(neighbour.device, neighbour.address), neighbour, object.isGone);
      }
    },
    clear: () => {
      for (const table of [links, addresses, allRoutes, neighbours]) table.clear();
      sorted = null;
    },
  };
}

function put<T>(table: Map<string, T>, key: string, row: T, isGone: boolean): void {
  if (isGone) table.delete(key);
  else if (table.size < ROWS_MAX || table.has(key)) table.set(key, row);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
const neighbourKey = (device: number, address: Uint8Array): string => `${device} ${hex(address)}`;
const addressKey = ({ device, address, bits }: KernelAddress): string => `${device} ${hex(address)} ${bits}`;
/** The kernel tells IPv6 routes apart by gateway and device as well; IPv4 ones by table, prefix, priority alone. */
function routeKey({ table, prefix, bits, priority, gateway, device }: KernelRoute): string {
  const base = `${table} ${hex(prefix)} ${bits} ${priority}`;
  return isV4(prefix) && bits >= 96 ? base : `${base} ${device} ${gateway === null ? '' : hex(gateway)}`;
}

function isInside(address: Uint8Array, prefix: Uint8Array, bits: number): boolean {
  const whole = bits >>> 3;
  for (let at = 0; at < whole; at++) if (address[at] !== prefix[at]) return false;
  const rest = bits & 7;
  return rest === 0 || (((address[whole] ?? 0) ^ (prefix[whole] ?? 0)) & (0xff00 >>> rest) & 0xff) === 0;
}
