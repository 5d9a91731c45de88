// From an endpoint's image to the tables of its core (data-plane.md P7, P20–P23). Pure: the machine's ports are arguments.
import { type EndpointEntry, type EndpointTables } from '@openclb/core-wasm';
import { EndpointFlag } from '@openclb/core-wasm/layout';
import { type AddressPair, type EndpointImage, type VmRow, address, toBytes16 } from '@openclb/model';

/** The gateway of every VM: one link address everywhere, so a migrating VM keeps its neighbour entry. */
export const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
/** What ICMP errors come from. VMs reach the gateway by link address alone, so it needs no address of a tenant. */
const GATEWAY_V4 = '169.254.1.1';
const GATEWAY_V6 = 'fe80::1';

/** What the machine has opened for an image. */
export interface EndpointPlaces {
  /** Device name of a VM → index of its port. A VM without a port is left out. */
  readonly ports: ReadonlyMap<string, number>;
  /** Port of the inside device, and the link address of the kernel's end where it has one. */
  readonly inside: { readonly port: number; readonly mac: Uint8Array | null } | null;
}

const bytes = (text: string): Uint8Array => toBytes16(address(text));
const defined = (pair: AddressPair): string[] => [pair.v4, pair.v6].filter((text) => text !== undefined);

export function endpointTables(image: EndpointImage, places: EndpointPlaces): EndpointTables {
  const { inside } = places;
  const vms = image.vms.filter((vm) => places.ports.has(vm.device));
  return {
    entries: [...trustEntries(image), ...vms.flatMap((vm) => vmEntries(vm, places)), ...wayEntries(image)],
    vms: vms.map((vm) => ({ port: portOf(vm, places), net: vm.net, mac: macBytes(vm.mac) })),
    tunnels: image.tunnels.map(({ node, worker, ...pair }) => ({ name: `${node}/${worker}`, ...pairBytes(pair) })),
    underlay: pairBytes(image.self.underlay),
    anycast: pairBytes(image.anycast),
    gateway: { v4: bytes(GATEWAY_V4), v6: bytes(GATEWAY_V6) },
    gatewayMac: GATEWAY_MAC,
    ...(inside === null ? {} : { inside: { port: inside.port, mac: inside.mac ?? new Uint8Array(6) } }),
  };
}

/** Rows that an image will need at most, to plan its memory. */
export function countEntries(image: EndpointImage): number {
  const addresses = image.vms.reduce((sum, vm) => sum + vm.addresses.length, 0);
  const lists = [image.trusted, image.physical, image.map, image.registered, image.internalVips, image.localVips];
  return (
    addresses +
    2 * (image.tunnels.length + image.sources.length + 4) +
    lists.reduce((sum, list) => sum + list.length, 0)
  );
}

/** Where tunnels may come from and where they end (P38). */
function trustEntries(image: EndpointImage): EndpointEntry[] {
  const ends = [...defined(image.self.underlay), ...image.physical];
  const directors = [...image.tunnels, image.anycast].flatMap(defined);
  return [
    ...ends.map((text): EndpointEntry => ({ kind: 'Underlay', address: bytes(text) })),
    ...directors.map((text): EndpointEntry => ({ kind: 'Director', address: bytes(text) })),
    ...image.trusted.map((text): EndpointEntry => ({ kind: 'Trusted', address: bytes(text) })),
  ];
}

function vmEntries(vm: VmRow, places: EndpointPlaces): EndpointEntry[] {
  return vm.addresses.map((text) => ({
    kind: 'Vm',
    net: vm.net,
    address: bytes(text),
    mac: macBytes(vm.mac),
    device: portOf(vm, places),
    flags: vm.eips.includes(text) ? EndpointFlag.HasEip : 0,
  }));
}

/** The ways out (P7.5), and what belongs to this machine itself. */
function wayEntries(image: EndpointImage): EndpointEntry[] {
  return [
    ...image.map.map((row): EndpointEntry => ({
      kind: 'Place',
      net: row.net,
      address: bytes(row.address),
      value: bytes(row.host),
    })),
    ...image.internalVips.map((row): EndpointEntry => ({
      kind: 'InternalVip',
      net: row.net,
      address: bytes(row.address),
    })),
    ...image.registered.map(({ net, address: text, port, protocol }): EndpointEntry => ({
      kind: 'Registered',
      net,
      address: bytes(text),
      port,
      protocol,
    })),
    ...image.sources.flatMap((row) =>
      defined(row).map((text): EndpointEntry => ({ kind: 'Source', address: bytes(text), link: row.net })),
    ),
    ...image.physical.map((text): EndpointEntry => ({ kind: 'Physical', address: bytes(text) })),
    ...image.localVips.map((text): EndpointEntry => ({ kind: 'LocalVip', address: bytes(text) })),
  ];
}

function pairBytes(pair: AddressPair): { v4?: Uint8Array; v6?: Uint8Array } {
  return {
    ...(pair.v4 === undefined ? {} : { v4: bytes(pair.v4) }),
    ...(pair.v6 === undefined ? {} : { v6: bytes(pair.v6) }),
  };
}

const portOf = (vm: VmRow, places: EndpointPlaces): number => places.ports.get(vm.device)!;
const macBytes = (text: string): Uint8Array => Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
