// An endpoint for packet-in, packet-out tests (data-plane.md P7): host1 with two VMs of VPC 100 and one of VPC 200 that has the same
// address as the first, a proxy's and a physical server's inside device when asked for. The core is the real one; nothing is mocked.
import {
  Core,
  type Artefact,
  type EndpointEntry,
  type EndpointTables,
  EndpointWriter,
  NextHopTable,
  allocate,
  endpointTableBytes,
  planMemory,
  returnMemoryBytes,
} from '../src/index.ts';
import { PacketRecord, Reason, Verdict, nameOf, reasonEnum, verdictEnum } from '../layout/index.ts';
import { addressBytes, ethernet } from '../../../tools/testkit/build.ts';
import { sum } from '../../../tools/testkit/parse.ts';

export const HOST1 = '10.255.0.11';
export const HOST2 = '10.255.0.12';
export const PROXY1 = '10.255.0.21';
export const T1 = '10.254.1.1';
export const T2 = '10.254.2.1';
export const ANYCAST = '10.254.255.1';
export const GATEWAY_MAC = '02:00:00:00:00:01';
export const UPLINK_MAC = '02:10:00:00:00:11';
export const SWITCH_MAC = '02:10:00:00:00:fe';
export const VM_A1 = { net: 100, port: 1, mac: '02:aa:00:00:00:01', address: '10.0.0.2', v6: 'fd00::2' };
export const VM_A3 = { net: 100, port: 2, mac: '02:aa:00:00:00:03', address: '10.0.0.4', v6: 'fd00::4' };
export const VM_B1 = { net: 200, port: 3, mac: '02:bb:00:00:00:01', address: '10.0.0.2', v6: 'fd00::2' };
export const VMS = [VM_A1, VM_A3, VM_B1];
export const INSIDE_PORT = 4;
export const INSIDE_MAC = '02:cc:00:00:00:01';
export const CLIENT = '198.51.100.1';
const UPLINK_MTU = 1600;

export interface Outcome {
  readonly verdict: string;
  readonly reason: string;
  readonly portOut: number;
  readonly frame: Buffer;
}

export interface EndpointUnderTest {
  readonly core: Core;
  readonly writer: EndpointWriter;
  readonly tables: EndpointTables;
  /** One frame into a port, at a time in milliseconds. */
  send(port: number, frame: Buffer, nowMs?: number): Outcome;
}

export interface EndpointFixtureOptions {
  readonly artefact?: Artefact;
  readonly entries?: readonly EndpointEntry[];
  readonly tables?: Partial<EndpointTables>;
  readonly returnEntries?: number;
  readonly insideLink?: 'ip' | 'ethernet';
  readonly uplinkMtu?: number;
  readonly withoutImage?: boolean;
}

export const mac = (text: string): Uint8Array => Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));

/** 16 bytes; IPv4 as ::ffff:a.b.c.d. */
export function bytes16(text: string): Uint8Array {
  const bytes = addressBytes(text);
  return bytes.length === 16 ? new Uint8Array(bytes) : Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...bytes);
}

/** An ICMPv4 message with its checksum, which knows no pseudo header. */
export function icmpv4(message: Buffer): { protocol: number; bytes: Buffer } {
  const bytes = Buffer.from(message);
  bytes.writeUInt16BE(~sum(bytes) & 0xffff, 2);
  return { protocol: 1, bytes };
}

/** A frame from the underlay. */
export const fromUnderlay = (packet: Buffer): Buffer => ethernet(SWITCH_MAC, UPLINK_MAC, packet);
/** A frame from a VM. */
export const fromVm = (vm: { mac: string }, packet: Buffer): Buffer => ethernet(vm.mac, GATEWAY_MAC, packet);

export const eipOf = (vm: { net: number; address: string; mac: string; port: number }): EndpointEntry => ({
  kind: 'Vm',
  net: vm.net,
  address: bytes16(vm.address),
  mac: mac(vm.mac),
  device: vm.port,
  flags: 1,
});

const DEFAULT_ENTRIES: readonly EndpointEntry[] = [
  { kind: 'Underlay', address: bytes16(HOST1) },
  { kind: 'Underlay', address: bytes16('2001:db8:ff::11') },
  ...[T1, T2, ANYCAST, '2001:db8:fe::1'].map((text): EndpointEntry => ({ kind: 'Director', address: bytes16(text) })),
  ...[HOST2, PROXY1].map((text): EndpointEntry => ({ kind: 'Trusted', address: bytes16(text) })),
  ...VMS.flatMap(({ net, address, v6, mac: text, port }) =>
    [address, v6].map((own): EndpointEntry => ({
      kind: 'Vm',
      net,
      address: bytes16(own),
      mac: mac(text),
      device: port,
    })),
  ),
  { kind: 'Place', net: 100, address: bytes16('10.0.0.3'), value: bytes16(HOST2) },
  { kind: 'Place', net: 100, address: bytes16('10.0.0.2'), value: bytes16(HOST1) },
  { kind: 'Registered', net: 100, address: bytes16('10.0.0.2'), port: 8080, protocol: 6 },
  { kind: 'InternalVip', net: 100, address: bytes16('10.0.0.100') },
];

const DEFAULT_TABLES: Omit<EndpointTables, 'entries'> = {
  vms: VMS.map(({ port, net, mac: text }) => ({ port, net, mac: mac(text) })),
  tunnels: [
    { name: 'ld1/0', v4: bytes16(T1), v6: bytes16('2001:db8:fe::1') },
    { name: 'ld2/0', v4: bytes16(T2) },
  ],
  underlay: { v4: bytes16(HOST1), v6: bytes16('2001:db8:ff::11') },
  anycast: { v4: bytes16(ANYCAST) },
  gateway: { v4: bytes16('169.254.1.1'), v6: bytes16('fe80::1') },
  gatewayMac: mac(GATEWAY_MAC),
};

export async function endpoint(options: EndpointFixtureOptions = {}): Promise<EndpointUnderTest> {
  const plan = planMemory({
    flows: 0,
    ports: 5,
    portChunks: 64,
    listeners: 16,
    targets: 16,
    groups: 16,
    hosts: 16,
    eips: 16,
    maglevSlots: 256,
    endpointSharedBytes: endpointTableBytes(64),
    endpointBytes: returnMemoryBytes(options.returnEntries ?? 1024),
  });
  const artefact = options.artefact ?? 'shared';
  const memory = allocate(plan, artefact === 'shared' || artefact === 'trace' ? 'shared' : 'plain');
  const core = await Core.open({ memory, plan, worker: 0, artefact });
  // Entries of the test come first: the first row of a key counts.
  const tables = { ...DEFAULT_TABLES, ...options.tables, entries: [...(options.entries ?? []), ...DEFAULT_ENTRIES] };
  writeNextHops(core, options);
  const writer = new EndpointWriter(plan, memory);
  if (options.withoutImage !== true) writer.write(tables);
  return { core, writer, tables, send: (port, frame, nowMs = 1000) => send(core, port, frame, nowMs) };
}

function send(core: Core, port: number, frame: Buffer, nowMs: number): Outcome {
  core.inject([frame], port);
  core.endpointBurst(1, nowMs);
  return {
    verdict: nameOf(verdictEnum, core.verdict(0)),
    reason: nameOf(reasonEnum, core.reason(0)),
    portOut: core.verdict(0) === Verdict.Forward ? (core.bytes[core.record(0) + PacketRecord.at.portOut] ?? -1) : -1,
    frame: core.reason(0) === Reason.BadAddress ? Buffer.alloc(0) : Buffer.from(core.frame(0)),
  };
}

/** The ports, and a default route of both families through the switch, whose link address is known. */
function writeNextHops(core: Core, options: EndpointFixtureOptions): void {
  const hops = new NextHopTable(core.plan, core.memory);
  hops.setPort(0, { mac: mac(UPLINK_MAC), mtu: options.uplinkMtu ?? UPLINK_MTU, kind: 'ethernet' });
  for (const { port } of VMS) hops.setPort(port, { mac: mac('02:fe:00:00:00:01'), mtu: 1500, kind: 'ethernet' });
  hops.setPort(INSIDE_PORT, { mac: mac(INSIDE_MAC), mtu: 1500, kind: options.insideLink ?? 'ip' });
  for (const [prefix, gateway] of [
    ['0.0.0.0', '10.255.0.254'],
    ['::', '2001:db8:ff::fe'],
  ] as const) {
    hops.setRoute(prefix, 0, gateway, 0);
    hops.setNeighbour(gateway, mac(SWITCH_MAC), 0);
  }
}
