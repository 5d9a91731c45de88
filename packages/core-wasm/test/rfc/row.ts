// A fixture row: packets in; the verdict of the last one and the packets that leave, byte for byte. What leaves is built by the test kit from
// the RFC, not read off the core. Every row runs on all artefacts, and what they send is judged by tshark and scapy.
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { CLIENT, CLIENT6, HOST1, HOST6, T1, T1V6, TABLES, VIP, VIP6, VM_A1, id } from '../director-fixture.ts';
import type { DirectorTables } from '../../src/index.ts';
import { ipv4 } from '../headers.ts';

export interface Row {
  /** RFC and section. */
  readonly rfc: string;
  readonly name: string;
  /** IP packets in order; all of them begin on one fresh director. */
  readonly send: readonly Buffer[];
  /** Of the last one: `Forward`, or a verdict and its reason. */
  readonly verdict: string;
  /** IP packets that the last one makes the director send. */
  readonly out?: readonly Buffer[];
  /** Whole frames, from the link header on, instead of packets. */
  readonly isFrame?: true;
  /** A checksum is wrong on purpose, so no judge shall see what leaves. */
  readonly isDamaged?: true;
}

type Payload = Parameters<typeof ipPacket>[2];
export type Fields = NonNullable<Parameters<typeof ipv4>[3]>;

export const VM6 = 'fd00:100::2';
export const ROUTER = '192.0.2.1';
export const ROUTER6 = '2001:db8:ffff::1';
/** The only local address and port of full NAT in the rows, so that what leaves can be written down. */
export const LOCAL = '100.80.16.1';
export const LOCAL_PORT = 4000;
export const DF = 0x4000;
export const SERVER6 = 'fd00:255::31';

const base = TABLES.listeners[0]!;
const ipip = TABLES.targets[2]!;
const groupOf = (name: string, target: string) => ({
  ...TABLES.groups[0]!,
  id: id(name),
  targets: [{ target: id(target), weight: 1 }],
});

/** The tables of all rows: those of the director's tests, a pool of one port, UDP and SCTP everywhere, tunnels of both families in both. */
export const ROW_TABLES: DirectorTables = {
  ...TABLES,
  pool: { addresses: 1, firstPort: LOCAL_PORT, ports: 1 },
  listeners: [
    ...TABLES.listeners,
    { ...base, id: id('u95'), vport: 95, protocol: 17, translation: 'fullnat' as const },
    { ...base, id: id('u96'), vport: 96, protocol: 17 },
    { ...base, id: id('u60'), vip: VIP6, vport: 53, protocol: 17, group: id('g6') },
    { ...base, id: id('s36'), vport: 36, protocol: 132 },
    { ...base, id: id('l46'), vport: 1046, group: id('g46') },
    { ...base, id: id('l64'), vip: VIP6, vport: 1064, group: id('g64') },
    { ...base, id: id('l67'), vport: 97, group: id('g67') },
    { ...base, id: id('l66'), vip: VIP6, vport: 1066, group: id('g66') },
  ],
  groups: [
    ...TABLES.groups,
    groupOf('g46', 't46'),
    groupOf('g64', 't64'),
    groupOf('g66', 't66'),
    groupOf('g67', 't67'),
  ],
  targets: [
    ...TABLES.targets,
    { ...ipip, id: id('t46'), address: '10.255.0.61', host: id('only6') },
    { ...ipip, id: id('t64'), address: SERVER6, host: id('phys') },
    { ...ipip, id: id('t66'), address: SERVER6, host: id('only6') },
    { ...TABLES.targets[0]!, id: id('t67'), address: 'fd00:100::67', host: id('host6') },
  ],
  hosts: [...TABLES.hosts, { id: id('only6'), v6: SERVER6 }],
};

export const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index * 7) & 255));

/** From the client to the VIP; what the VM then sees has one hop less. */
export const ask = (payload: Payload, fields: Fields = {}): Buffer =>
  ipv4(CLIENT, VIP, payload, { fragment: DF, ...fields });
export const asked = (payload: Payload, fields: Fields = {}): Buffer =>
  ipv4(CLIENT, VM_A1, payload, { fragment: DF, ttl: 63, ...fields });
export const ask6 = (payload: Payload, hops = 64): Buffer => ipPacket(CLIENT6, VIP6, payload, hops);
export const asked6 = (payload: Payload, hops = 63): Buffer => ipPacket(CLIENT6, VM6, payload, hops);

/** What the VM answers, and what the client then gets. */
export const reply = (payload: Payload, fields: Fields = {}): Buffer =>
  ipv4(VM_A1, CLIENT, payload, { fragment: DF, ...fields });
export const replied = (payload: Payload, fields: Fields = {}): Buffer =>
  ipv4(VIP, CLIENT, payload, { fragment: DF, ttl: 63, ...fields });

/** GRE of the director to the VM's host, and of the host to the director. */
export const toVm = (inner: Buffer, tos = 0): Buffer => ipv4(T1, HOST1, gre(100, inner), { fragment: DF, tos });
export const fromVm = (inner: Buffer, tos = 0): Buffer => ipv4(HOST1, T1, gre(100, inner), { fragment: DF, tos });
export const toVm6 = (inner: Buffer): Buffer => ipPacket(T1V6, HOST6, gre(100, inner));
export const fromVm6 = (inner: Buffer): Buffer => ipPacket(HOST6, T1V6, gre(100, inner));

/** Segments and datagrams on both sides of the listeners 80/TCP and 53/UDP. */
export const segment = (flags: string, more: Parameters<typeof tcp>[0] = {}) =>
  tcp({ destinationPort: 80, flags, ...more });
export const segmented = (flags: string, more: Parameters<typeof tcp>[0] = {}) =>
  tcp({ destinationPort: 8080, flags, ...more });
export const answer = (flags: string, more: Parameters<typeof tcp>[0] = {}) =>
  tcp({ sourcePort: 8080, destinationPort: 40000, flags, ...more });
export const answered = (flags: string, more: Parameters<typeof tcp>[0] = {}) =>
  tcp({ sourcePort: 80, destinationPort: 40000, flags, ...more });
export const query = (length = 20) => udp(5353, 53, bytes(length));
export const queried = (length = 20) => udp(5353, 8080, bytes(length));

export const SYN = ask(segment('S'));
export const SYN6 = ask6(tcp({ destinationPort: 80 }));
