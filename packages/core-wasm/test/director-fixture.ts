// A director for packet-in, packet-out tests: one uplink behind which everything lies, VPC 100 and 200 on two hosts, a physical server,
// a proxy, an EIP. The core is the real one; nothing is mocked.
import { Health, PacketRecord, nameOf, reasonEnum, verdictEnum } from '../layout/index.ts';
import {
  Core,
  type Artefact,
  type DirectorTables,
  ImageWriter,
  type LinearMemory,
  type MemoryPlan,
  NextHopTable,
  type PlanOptions,
  type Slots,
  allocate,
  createSlots,
  planMemory,
} from '../src/index.ts';
import { ethernet } from '../../../tools/testkit/build.ts';

export const CLIENT = '198.51.100.1';
export const CLIENT6 = '2001:db8:c::1';
export const VIP = '203.0.113.10';
export const VIP6 = '2001:db8:5::10';
export const T1 = '10.254.1.1';
export const T1V6 = 'fd00:254:1::1';
export const T2 = '10.254.2.1';
export const ANYCAST = '10.254.255.1';
export const PROBE = '100.64.16.1';
export const HOST1 = '10.255.0.11';
export const HOST2 = '10.255.0.12';
export const HOST6 = 'fd00:255::13';
export const SERVER = '10.255.0.31';
export const PROXY = '10.255.0.21';
export const VM_A1 = '10.0.0.2';
export const VM_A2 = '10.0.0.3';
export const EIP = '203.0.113.77';
export const DIRECTOR_MAC = '02:10:00:00:00:01';
export const SWITCH_MAC = '02:10:00:00:00:fe';

export const id = (text: string): string => Buffer.from(text).toString('hex').padEnd(16, '0').slice(0, 16);

const check = { type: 'tcp' };
const target = (
  name: string,
  net: number,
  address: string,
  port: number,
  encapsulation: 'gre' | 'ipip' | 'none' | 'l2',
  host: string | null,
) => ({
  id: id(name),
  net,
  address,
  port,
  encapsulation,
  host: host === null ? null : id(host),
});

const listener = (
  name: string,
  vip: string,
  vport: number,
  group: string,
  more: Partial<DirectorTables['listeners'][number]> = {},
) => ({
  id: id(name),
  net: 0,
  vip,
  vport,
  protocol: 6,
  translation: 'dnat' as const,
  scheduler: 'maglev' as const,
  group: id(group),
  directReturn: false,
  idleSeconds: 900,
  onRemove: 'run' as const,
  ...more,
});

const group = (name: string, targets: readonly (readonly [string, number])[]) => ({
  id: id(name),
  slots: 251,
  targets: targets.map(([member, weight]) => ({ target: id(member), weight })),
  check,
});

/** Every kind of listener that phase 1 has. Port 80 has one target, so tests know where packets go. */
export const TABLES: DirectorTables = {
  self: { id: 'ld1', ordinal: 1 },
  tunnels: [
    { node: 'ld1', worker: 0, v4: T1, v6: T1V6 },
    { node: 'ld2', worker: 0, v4: T2 },
  ],
  anycast: { v4: ANYCAST, v6: 'fd00:254:ff::1' },
  probe: { v4: PROBE },
  vips: [
    { net: 0, address: VIP },
    { net: 0, address: VIP6 },
  ],
  listeners: [
    listener('l80', VIP, 80, 'ga1'),
    listener('l81', VIP, 81, 'ga1'),
    listener('l82', VIP, 82, 'gboth', { scheduler: 'wrr' }),
    listener('l90', VIP, 90, 'gserver'),
    listener('l91', VIP, 91, 'gproxy', { translation: 'none', directReturn: true }),
    listener('l92', VIP, 92, 'gtun', { translation: 'none', directReturn: true }),
    listener('l93', VIP, 93, 'gdr', { translation: 'none', directReturn: true }),
    listener('l94', VIP, 94, 'gnat'),
    listener('l95', VIP, 95, 'ga1', { translation: 'fullnat' }),
    listener('l53', VIP, 53, 'ga1', { protocol: 17 }),
    listener('l60', VIP6, 80, 'g6'),
    listener('l99', VIP, 99, 'gempty'),
    listener('l200', VIP, 200, 'gboth'),
  ],
  groups: [
    group('ga1', [['a1', 1]]),
    group('gboth', [
      ['a1', 1],
      ['a2', 3],
    ]),
    group('gserver', [['server', 1]]),
    group('gproxy', [['proxy', 1]]),
    group('gtun', [['tun', 1]]),
    group('gdr', [['dr', 1]]),
    group('gnat', [['nat', 1]]),
    group('g6', [['six', 1]]),
    group('gempty', []),
  ],
  targets: [
    target('a1', 100, VM_A1, 8080, 'gre', 'host1'),
    target('a2', 100, VM_A2, 8080, 'gre', 'host2'),
    target('server', 0, SERVER, 8080, 'ipip', 'phys'),
    target('proxy', 0, PROXY, 0, 'gre', 'proxy'),
    target('tun', 0, '10.255.0.41', 0, 'ipip', 'tunhost'),
    target('dr', 0, '10.255.0.42', 0, 'l2', null),
    target('nat', 0, '10.255.0.43', 8080, 'none', null),
    target('six', 100, 'fd00:100::2', 8080, 'gre', 'host6'),
  ],
  hosts: [
    { id: id('host1'), v4: HOST1 },
    { id: id('host2'), v4: HOST2 },
    { id: id('host6'), v6: HOST6 },
    { id: id('phys'), v4: SERVER },
    { id: id('proxy'), v4: PROXY },
    { id: id('tunhost'), v4: '10.255.0.41' },
  ],
  eips: [{ id: id('eip'), eip: EIP, net: 100, address: VM_A2, host: id('host2') }],
  trusted: ['10.255.0.22'],
};

export interface Outcome {
  readonly verdict: string;
  readonly reason: string;
  readonly frame: Buffer;
}

export interface DirectorUnderTest {
  readonly core: Core;
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  readonly slots: Slots;
  readonly writer: ImageWriter;
  readonly hops: NextHopTable;
  apply(tables: DirectorTables, nowMs?: number): void;
  /** A whole frame into the uplink. */
  send(frame: Buffer, nowMs?: number): Outcome;
  /** An IP packet from the switch. */
  receive(packet: Buffer, nowMs?: number): Outcome;
}

export interface DirectorFixtureOptions {
  readonly artefact?: Artefact;
  readonly mtu?: number;
  readonly plan?: PlanOptions;
  readonly withoutImage?: boolean;
  readonly withoutNeighbour?: boolean;
}

export const SMALL: PlanOptions = {
  flows: 4096,
  ports: 1,
  portChunks: 64,
  listeners: 64,
  targets: 64,
  groups: 64,
  hosts: 64,
  eips: 64,
  maglevSlots: 65536,
  accessRules: 4096,
};
const mac = (text: string): Uint8Array => Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));

export async function director(options: DirectorFixtureOptions = {}): Promise<DirectorUnderTest> {
  const artefact = options.artefact ?? 'check';
  const plan = planMemory({ ...SMALL, ...options.plan });
  const memory = allocate(plan, artefact === 'shared' || artefact === 'trace' ? 'shared' : 'plain');
  const slots = createSlots(plan, memory);
  const writer = new ImageWriter(plan, memory, slots);
  const hops = new NextHopTable(plan, memory);
  hops.setPort(0, { mac: mac(DIRECTOR_MAC), mtu: options.mtu ?? 1500, kind: 'ethernet' });
  hops.setRoute('0.0.0.0', 0, '10.1.0.254', 0);
  hops.setRoute('::', 0, 'fd00:1::fe', 0);
  hops.setRoute('10.255.0.40', 29, null, 0);
  if (options.withoutNeighbour !== true) {
    for (const address of ['10.1.0.254', 'fd00:1::fe', '10.255.0.43']) hops.setNeighbour(address, mac(SWITCH_MAC), 0);
    hops.setNeighbour('10.255.0.41', mac('02:10:00:00:00:41'), 0);
    hops.setNeighbour('10.255.0.42', mac('02:10:00:00:00:42'), 0);
  }
  const core = await Core.open({ memory, plan, worker: 0, artefact });
  const apply = (tables: DirectorTables, nowMs = 0): void => {
    writer.write(tables, nowMs);
    core.adopt();
    for (const { id: name } of tables.targets) writer.setHealth(name, Health.Alive);
  };
  if (options.withoutImage !== true) apply(TABLES);
  const send = (frame: Buffer, nowMs = 1000): Outcome => {
    core.inject([frame], 0);
    core.forwardBurst(1, nowMs);
    return outcome(core, 0);
  };
  return {
    core,
    plan,
    memory,
    slots,
    writer,
    hops,
    apply,
    send,
    receive: (packet, nowMs) => send(ethernet(SWITCH_MAC, DIRECTOR_MAC, packet), nowMs),
  };
}

export function outcome(core: Core, index: number): Outcome {
  return {
    verdict: nameOf(verdictEnum, core.verdict(index)),
    reason: nameOf(reasonEnum, core.reason(index)),
    frame: Buffer.from(core.frame(index)),
  };
}

export const targetSlot = (core: Core, index: number): number =>
  core.view.getUint32(core.record(index) + PacketRecord.at.targetSlot, true);
