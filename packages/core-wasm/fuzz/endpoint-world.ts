// The endpoint under fuzz: its seeds by port, its tables as they change, and an oracle for what may reach a VM and what may leave one.
import {
  NextHopTable,
  EndpointWriter,
  endpointTableBytes,
  returnMemoryBytes,
  type EndpointEntry,
  type EndpointTables,
} from '../src/index.ts';
import { EndpointState } from '../layout/index.ts';
import { addressBytes, gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import * as f from '../test/endpoint-fixture.ts';
import { fragmentsOf } from '../test/fragments.ts';
import type { Random } from './random.ts';
import { Rig, type Input } from './rig.ts';
import { Layers, addressKey, ipOffset } from './wire.ts';

const { bytes16, mac } = f;
const inner = ipPacket(f.CLIENT, '10.0.0.2', tcp({ destinationPort: 8080, mss: 1460 }));
const inner6 = ipPacket('2001:db8::1', 'fd00::2', udp(40000, 8080, Buffer.alloc(40)));
const big = ipPacket(f.CLIENT, '10.0.0.2', udp(40000, 8080, Buffer.alloc(1200, 1)));
const arp = Buffer.concat([
  Buffer.alloc(6, 0xff),
  Buffer.from(mac(f.VM_A1.mac)),
  Buffer.from('08060001080006040001', 'hex'),
  Buffer.from(mac(f.VM_A1.mac)),
  Buffer.from('0a0000020000000000000a000001', 'hex'),
]);
const solicitation = Buffer.concat([
  Buffer.from('8700000000000000', 'hex'),
  bytes16('fd00::1'),
  Buffer.from([1, 1]),
  mac(f.VM_A1.mac),
]);
const quote = ipPacket(f.CLIENT, '10.0.0.2', tcp({ destinationPort: 8080 })).subarray(0, 28);
const unreachable = f.icmpv4(Buffer.concat([Buffer.from('0303000000000000', 'hex'), quote]));
const sctp = {
  protocol: 132,
  bytes: Buffer.from('9c401f9000000000000000000100001412345678000100000001000100000001', 'hex'),
};
const tunnelled = (outer: string, packet: Buffer, net = 100, own = f.HOST1): readonly [number, Buffer] => [
  0,
  f.fromUnderlay(ipPacket(outer, own, gre(net, packet))),
];
const vm = (from: typeof f.VM_A1, packet: Buffer): readonly [number, Buffer] => [from.port, f.fromVm(from, packet)];

/** A port and a whole frame. */
export const ENDPOINT_SEEDS: readonly (readonly [port: number, frame: Buffer])[] = [
  tunnelled(f.T1, inner),
  tunnelled(f.T2, inner),
  tunnelled(f.T1, inner6),
  tunnelled('2001:db8:fe::1', inner, 100, '2001:db8:ff::11'),
  tunnelled(f.T1, ipPacket(f.CLIENT, '10.0.0.2', sctp)),
  tunnelled(f.T1, ipPacket(f.CLIENT, '10.0.0.2', tcp({ destinationPort: 8080, flags: 'A' })), 200),
  tunnelled(f.T1, ipPacket('192.0.2.9', '10.0.0.2', unreachable)),
  tunnelled(f.ANYCAST, ipPacket(f.CLIENT, '10.0.0.2', udp(40000, 53, Buffer.from('query')))),
  ...fragmentsOf(big, [0, 400, 800]).map((part) => tunnelled(f.T1, part)),
  tunnelled(f.HOST2, ipPacket('10.0.0.3', '10.0.0.2', udp(40000, 2, Buffer.alloc(9)))),
  [0, f.fromUnderlay(ipPacket(f.T1, f.HOST1, { protocol: 4, bytes: ipPacket(f.CLIENT, f.HOST1, tcp()) }))],
  tunnelled(f.T1, ipPacket('100.112.0.1', f.HOST1, tcp()), 0),
  vm(
    f.VM_A1,
    ipPacket('10.0.0.2', f.CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA', mss: 1460 })),
  ),
  vm(f.VM_A1, ipPacket('10.0.0.2', '10.0.0.3', udp(1, 40000, Buffer.alloc(1460)))),
  vm(f.VM_A1, ipPacket('10.0.0.2', '10.0.0.3', tcp({ destinationPort: 22, mss: 1460 }))),
  vm(f.VM_A1, ipPacket('10.0.0.2', '10.0.0.100', tcp({ destinationPort: 80, mss: 1460 }))),
  vm(f.VM_A1, ipPacket('10.0.0.2', '192.0.2.77', tcp({ destinationPort: 443 }))),
  vm(f.VM_A1, ipPacket('fd00::2', 'fd00::4', udp(1, 40000, Buffer.alloc(30)))),
  vm(f.VM_A3, ipPacket('10.0.0.4', '10.0.0.2', udp(1, 40000, Buffer.alloc(30)))),
  vm(f.VM_B1, ipPacket('10.0.0.2', f.CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }))),
  vm(f.VM_A1, ipPacket('fd00::2', 'ff02::1', { protocol: 58, bytes: solicitation, checksumAt: 2 }, 255)),
  vm(f.VM_A1, ipPacket('10.0.0.2', f.CLIENT, unreachable)),
  ...fragmentsOf(ipPacket('10.0.0.2', f.CLIENT, udp(8080, 40000, Buffer.alloc(900))), [0, 400]).map((part) =>
    vm(f.VM_A1, part),
  ),
  [f.VM_A1.port, arp],
  [f.INSIDE_PORT, ipPacket('100.112.0.1', '10.0.0.3', tcp({ mss: 1460 }))],
  [f.INSIDE_PORT, ipPacket(f.HOST1, f.CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }))],
];

const NEIGHBOURS = ['10.255.0.254', '2001:db8:ff::fe'];
const EXTRA: readonly EndpointEntry[] = [
  f.eipOf(f.VM_A1),
  { kind: 'Source', address: bytes16('100.112.0.1'), link: 100 },
  { kind: 'Physical', address: bytes16(f.HOST1) },
];
const key = (text: string): string => addressBytes(text).toString('hex');

export class EndpointWorld {
  readonly name = 'endpoint';
  readonly seeds: readonly Uint8Array[] = ENDPOINT_SEEDS.map(([, frame]) => new Uint8Array(frame));
  readonly rigs: Rig[] = [];
  private readonly hands: { writer: EndpointWriter; hops: NextHopTable }[] = [];
  private readonly input = new Layers();
  private readonly output = new Layers();
  private readonly tables: EndpointTables;
  private readonly owners = new Set(
    f.VMS.flatMap(({ net, address, v6, port }) => [address, v6].map((text) => `${port}/${net}/${key(text)}`)),
  );

  private constructor(tables: EndpointTables) {
    this.tables = tables;
  }

  static async create(): Promise<EndpointWorld> {
    const { tables } = await f.endpoint({
      artefact: 'plain',
      entries: EXTRA,
      tables: { inside: { port: f.INSIDE_PORT, mac: mac(f.INSIDE_MAC) } },
      withoutImage: true,
    });
    return new EndpointWorld(tables);
  }

  async open(artefact: Rig['artefact'], seed: number, fill: number): Promise<Rig> {
    const sizes = {
      flows: 0,
      ports: 5,
      portChunks: 2,
      listeners: 16,
      targets: 16,
      groups: 16,
      hosts: 16,
      eips: 16,
      maglevSlots: 256,
      endpointSharedBytes: endpointTableBytes(64),
      endpointBytes: returnMemoryBytes(512),
    };
    let writer: EndpointWriter | undefined;
    const rig = await Rig.open('endpoint', artefact, sizes, seed, fill, (plan, memory) => {
      writer = new EndpointWriter(plan, memory);
    });
    const { plan, core } = rig;
    core.view.setUint32(core.worker.endpoint + EndpointState.at.seed, seed, true);
    const hops = new NextHopTable(plan, core.memory);
    hops.setPort(0, { mac: mac(f.UPLINK_MAC), mtu: 1400, kind: 'ethernet' });
    for (const { port } of f.VMS) hops.setPort(port, { mac: mac('02:fe:00:00:00:01'), mtu: 1500, kind: 'ethernet' });
    hops.setPort(f.INSIDE_PORT, { mac: mac(f.INSIDE_MAC), mtu: 1500, kind: 'ip' });
    for (const gateway of NEIGHBOURS) {
      hops.setRoute(gateway.includes(':') ? '::' : '0.0.0.0', 0, gateway, 0);
      hops.setNeighbour(gateway, mac(f.SWITCH_MAC), 0);
    }
    (writer as EndpointWriter).write(this.tables);
    this.rigs.push(rig);
    this.hands.push({ writer: writer as EndpointWriter, hops });
    return rig;
  }

  isEthernet(port: number): boolean {
    return port !== f.INSIDE_PORT;
  }
  /** The port that belongs to a seed, now and then any. */
  port(random: Random, seed: number): number {
    return random.once(128) ? random.below(256) : (ENDPOINT_SEEDS[seed]?.[0] ?? 0);
  }

  flip(random: Random): void {
    const what = random.below(4);
    const isCalm = random.once(2);
    const entries = this.tables.entries.filter(({ kind }) => isCalm || kind === 'Underlay' || !random.once(10));
    const tunnels = this.tables.tunnels.filter(() => isCalm || !random.once(4));
    const mtu = random.pick([1400, 1400, 1600, 1280]);
    for (const { writer, hops } of this.hands) {
      if (what < 2) writer.write({ ...this.tables, entries, tunnels });
      else if (what === 2) hops.setPort(0, { mac: mac(f.UPLINK_MAC), mtu, kind: 'ethernet' });
      else if (isCalm) for (const gateway of NEIGHBOURS) hops.setNeighbour(gateway, mac(f.SWITCH_MAC), 0);
      else hops.removeNeighbour(NEIGHBOURS[0] as string);
    }
  }

  /** A VM gets only what is for its own address in its own net; what leaves a VM carries its net and its own source. */
  judge(
    input: Uint8Array,
    inputLength: number,
    output: Uint8Array,
    portIn: number,
    portOut: number,
  ): string | undefined {
    const vmIn = f.VMS.find(({ port }) => port === portIn);
    const vmOut = f.VMS.find(({ port }) => port === portOut);
    const startIn = portIn === f.INSIDE_PORT ? 0 : ipOffset(input, inputLength);
    const startOut = portOut === f.INSIDE_PORT ? 0 : ipOffset(output, output.length);
    const into = this.input.read(input, startIn, inputLength);
    const out = this.output.read(output, startOut, output.length);
    // Answers to ARP and neighbour questions stay on their port.
    if (vmIn !== undefined && vmOut === vmIn) return undefined;
    if (vmOut !== undefined) {
      if (out.count === 0) return 'something that is not IP was given to a VM';
      const own = `${portOut}/${vmOut.net}/${addressKey(output, out, 0, 'destination')}`;
      if (!this.owners.has(own)) return `a packet for ${own} was given to the VM behind port ${portOut}`;
      if (portIn === 0 && into.key(input, 0) !== vmOut.net)
        return `net ${into.key(input, 0)} reached a VM of net ${vmOut.net}`;
      if (vmIn !== undefined && vmIn.net !== vmOut.net)
        return `a VM of net ${vmIn.net} reached one of net ${vmOut.net}`;
      return undefined;
    }
    if (vmIn === undefined) return undefined;
    if (portOut !== 0) return `a VM reached port ${portOut}`;
    if (out.count < 2) return 'a packet of a VM left without a tunnel';
    if (out.key(output, 0) !== vmIn.net) return `a VM of net ${vmIn.net} left with key ${out.key(output, 0)}`;
    const source = `${portIn}/${vmIn.net}/${addressKey(output, out, 1, 'source')}`;
    return this.owners.has(source) ? undefined : `a VM left with a source that is not its own: ${source}`;
  }

  finish(): void {}

  counters(): Record<string, number> {
    return this.hands[0]?.writer.counters() ?? {};
  }
}

export type World = {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  readonly rigs: Rig[];
  open(artefact: Rig['artefact'], seed: number, fill: number): Promise<Rig>;
  isEthernet(port: number): boolean;
  port(random: Random, seed: number): number;
  flip(random: Random, nowMs: number): void;
  judge(
    input: Uint8Array,
    inputLength: number,
    output: Uint8Array,
    portIn: number,
    portOut: number,
  ): string | undefined;
  finish(nowMs: number): void;
  counters(): Record<string, number>;
};
export type { Input };
