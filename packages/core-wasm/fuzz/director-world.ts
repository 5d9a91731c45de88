// The director under fuzz: its seeds, its images as they change, and an oracle that knows from the images alone where a packet may go.
import { Health } from '../layout/index.ts';
import { ImageWriter, NextHopTable, createSlots, type DirectorTables } from '../src/index.ts';
import { addressBytes, ethernet, gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import * as f from '../test/director-fixture.ts';
import { SAMPLES } from '../test/samples.ts';
import type { Random } from './random.ts';
import { Rig } from './rig.ts';
import { Layers, addressKey, ipOffset, repair, word } from './wire.ts';

const INNER_VIP = '10.0.0.100';
const INNER_CLIENT = '10.0.0.50';
const base = f.TABLES.listeners[0] as DirectorTables['listeners'][number];

/** Everything that the images of a campaign are made of. */
const ALL: DirectorTables = {
  ...f.TABLES,
  vips: [...f.TABLES.vips, { net: 100, address: INNER_VIP }],
  listeners: [
    ...f.TABLES.listeners,
    { ...base, id: f.id('inner'), net: 100, vip: INNER_VIP, vport: 80, group: f.id('gboth') },
    { ...base, id: f.id('l132'), vport: 132, protocol: 132 },
    { ...base, id: f.id('l6udp'), vip: f.VIP6, vport: 53, protocol: 17, group: f.id('g6'), idleSeconds: 60 },
    { ...base, id: f.id('l97'), vport: 97, group: f.id('g6') },
    { ...base, id: f.id('l98'), vport: 98, group: f.id('glost') },
    { ...base, id: f.id('u95'), vport: 95, protocol: 17, translation: 'fullnat' },
  ],
  groups: [
    ...f.TABLES.groups,
    {
      ...(f.TABLES.groups[0] as DirectorTables['groups'][number]),
      id: f.id('glost'),
      targets: [{ target: f.id('lost'), weight: 1 }],
    },
  ],
  // Its host has no address of a family that the director has a tunnel address of.
  targets: [
    ...f.TABLES.targets,
    { ...(f.TABLES.targets[0] as DirectorTables['targets'][number]), id: f.id('lost'), host: null },
  ],
  // So few ports that they run out.
  pool: { addresses: 1, firstPort: 4000, ports: 16 },
};

const sctp = (): { protocol: number; bytes: Buffer } => ({
  protocol: 132,
  bytes: Buffer.from('9c40008400000000000000000100001412345678000100000001000100000001', 'hex'),
});
const echo6 = { protocol: 58, bytes: Buffer.from('8000000000010001', 'hex'), checksumAt: 2 };
const withHopByHop = (packet: Buffer): Buffer => {
  const copy = Buffer.concat([packet.subarray(0, 40), Buffer.from('0600010400000000', 'hex'), packet.subarray(40)]);
  copy.writeUInt8(0, 6);
  copy.writeUInt16BE(copy.length - 40, 4);
  copy.writeUInt8(packet.readUInt8(6), 40);
  return copy;
};
const greSummed = (key: number, inner: Buffer): { protocol: number; bytes: Buffer } => ({
  protocol: 47,
  bytes: Buffer.concat([Buffer.from('b000080000000000', 'hex'), word32(key), word32(7), inner]),
});
const word32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
};
const reply = (source: string, client = f.CLIENT): Buffer =>
  ipPacket(source, client, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'A' }));

/** Whole frames: the samples of the tests, and what they lack. */
export const DIRECTOR_SEEDS: readonly Uint8Array[] = [
  ...SAMPLES,
  ...[
    ipPacket(f.CLIENT, f.VIP, sctp()),
    ipPacket(f.CLIENT6, f.VIP6, udp(40000, 53, Buffer.from('query'))),
    ipPacket(f.CLIENT6, f.VIP6, echo6),
    withHopByHop(ipPacket(f.CLIENT6, f.VIP6, tcp({ destinationPort: 80, mss: 1440 }))),
    ipPacket(f.HOST2, f.T1, gre(100, ipPacket(INNER_CLIENT, INNER_VIP, tcp({ destinationPort: 80, mss: 1460 })))),
    ipPacket(f.HOST2, f.T1, gre(200, ipPacket(INNER_CLIENT, INNER_VIP, tcp({ destinationPort: 80 })))),
    ipPacket(f.HOST1, f.T1, greSummed(100, reply(f.VM_A1))),
    ipPacket(f.HOST1, f.T1, { protocol: 41, bytes: ipPacket('fd00:100::2', f.CLIENT6, tcp({ flags: 'SA' })) }),
    ipPacket(f.HOST2, f.ANYCAST, gre(100, reply(f.VM_A2))),
    ipPacket(f.CLIENT, f.EIP, udp(40000, 53, Buffer.from('query'))),
    ipPacket(f.CLIENT, f.VIP, udp(40000, 95, Buffer.from('query'))),
    ipPacket(f.CLIENT, f.VIP, tcp({ destinationPort: 97 })),
    ipPacket(f.CLIENT, f.VIP, tcp({ destinationPort: 98 })),
  ].map((packet) => ethernet(f.SWITCH_MAC, f.DIRECTOR_MAC, packet)),
].map(repaired);

function repaired(frame: Buffer): Uint8Array {
  const layers = new Layers();
  const bytes = new Uint8Array(frame);
  const start = ipOffset(bytes, bytes.length);
  const isWhole = start > 0 && layers.read(bytes, start, bytes.length).odd === 0;
  if (isWhole) repair(bytes, layers);
  return bytes;
}

interface Hand {
  readonly writer: ImageWriter;
  readonly hops: NextHopTable;
}

export class DirectorWorld {
  readonly name = 'director';
  readonly seeds = DIRECTOR_SEEDS;
  readonly rigs: Rig[] = [];
  private readonly hands: Hand[] = [];
  private readonly oracle = new DirectorOracle();

  async open(artefact: Rig['artefact'], seed: number, fill: number): Promise<Rig> {
    const sizes = { ...f.SMALL, flows: 2048, fragments: 256, portChunks: 2 };
    const rig = await Rig.open('director', artefact, sizes, seed, fill);
    const hops = new NextHopTable(rig.plan, rig.core.memory);
    const slots = createSlots(rig.plan, rig.core.memory);
    this.rigs.push(rig);
    this.hands.push({ writer: new ImageWriter(rig.plan, rig.core.memory, slots), hops });
    hops.setPort(0, { mac: mac(f.DIRECTOR_MAC), mtu: 1500, kind: 'ethernet' });
    hops.setRoute('0.0.0.0', 0, '10.1.0.254', 0);
    hops.setRoute('::', 0, 'fd00:1::fe', 0);
    hops.setRoute('10.255.0.40', 29, null, 0);
    for (const address of NEIGHBOURS) hops.setNeighbour(address, mac(f.SWITCH_MAC), 0);
    this.apply(this.rigs.length - 1, ALL, 0);
    return rig;
  }

  private apply(index: number, tables: DirectorTables, nowMs: number): void {
    const { writer } = this.hands[index] as Hand;
    writer.write(tables, nowMs);
    (this.rigs[index] as Rig).core.adopt();
    if (nowMs === 0) for (const { id } of tables.targets) writer.setHealth(id, Health.Alive);
  }

  isEthernet(): boolean {
    return true;
  }
  port(random: Random): number {
    return random.once(256) ? random.below(256) : 0;
  }

  /** Another image, another health, a neighbour that comes or goes, a smaller link: the same for every rig. */
  flip(random: Random, nowMs: number): void {
    const what = random.below(8);
    if (what < 5) {
      const tables = varied(random);
      for (let index = 0; index < this.rigs.length; index++) this.apply(index, tables, nowMs);
      return;
    }
    const target = random.pick(ALL.targets).id;
    const health = random.pick([Health.Alive, Health.Alive, Health.Dead, Health.Unknown]);
    const neighbour = random.pick(NEIGHBOURS);
    const isGone = random.once(3);
    const mtu = random.pick([1500, 1500, 1400, 9000]);
    for (const { writer, hops } of this.hands) {
      if (what === 5) writer.setHealth(target, health);
      else if (what === 6) {
        hops.setPort(0, { mac: mac(f.DIRECTOR_MAC), mtu, kind: 'ethernet' });
        for (const address of NEIGHBOURS) hops.setNeighbour(address, mac(f.SWITCH_MAC), 0);
        hops.setRoute('::', 0, 'fd00:1::fe', 0);
      } else if (isGone && mtu === 9000) hops.removeRoute('::', 0);
      else if (isGone) hops.removeNeighbour(neighbour);
      else for (const address of NEIGHBOURS) hops.setNeighbour(address, mac(f.SWITCH_MAC), 0);
    }
  }

  judge(input: Uint8Array, inputLength: number, output: Uint8Array): string | undefined {
    return this.oracle.judge(input, inputLength, output);
  }

  /** After a long silence nothing may be left of any flow. */
  finish(nowMs: number): void {
    for (const rig of this.rigs) {
      for (const later of [7_200_000, 14_400_000])
        for (let round = 0; round < 8; round++) rig.core.expireFlows((nowMs + later) >>> 0);
      const { flowsActive } = rig.core.counters();
      if (flowsActive !== 0) throw new Error(`${flowsActive} flows are left after four hours of silence`);
      const words = new Uint32Array(rig.core.bytes.buffer);
      for (const [field, count] of [
        ['listenerRefs', rig.plan.map.listenersMax],
        ['targetRefs', rig.plan.map.targetsMax],
      ] as const) {
        const at = rig.core.worker[field] / 4;
        const left = words.subarray(at, at + count).findIndex((references) => references !== 0);
        if (left >= 0) throw new Error(`${field}[${left}] is ${words[at + left]} when no flow is left`);
      }
    }
  }

  /** What the core says that it did, beside the verdicts. */
  counters(): Record<string, number> {
    const {
      flowsCreated = 0,
      flowsExpired = 0,
      flowsEvicted = 0,
      flowsPickedUp = 0,
      ...all
    } = this.rigs[0]?.core.counters() ?? {};
    const { generated = 0, added = 0, fragmented = 0, fragmentsHeld = 0, portsRewritten = 0 } = all;
    return {
      flowsCreated,
      flowsExpired,
      flowsEvicted,
      flowsPickedUp,
      portsRewritten,
      generated,
      added,
      fragmented,
      fragmentsHeld,
    };
  }
}

const NEIGHBOURS = ['10.1.0.254', 'fd00:1::fe', '10.255.0.41', '10.255.0.42', '10.255.0.43'];
const mac = (text: string): Uint8Array => Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));

/** Some listeners, members and targets leave, weights and policies change. Ids keep their meaning. */
function varied(random: Random): DirectorTables {
  const isCalm = random.once(3);
  const isKept = (odds: number): boolean => isCalm || !random.once(odds);
  const targets = ALL.targets.filter(() => isKept(12));
  const present = new Set(targets.map(({ id }) => id));
  return {
    ...ALL,
    targets,
    groups: ALL.groups.map((group) => ({
      ...group,
      slots: random.once(8) ? 509 : 251,
      targets: group.targets
        .filter(({ target }) => present.has(target) && isKept(12))
        .map(({ target, weight }) => ({ target, weight: isCalm ? weight : random.below(5) })),
    })),
    listeners: ALL.listeners
      .filter(() => isKept(16))
      .map((row) => ({
        ...row,
        onRemove: random.pick(['run', 'reset', 'reschedule'] as const),
        newFlowsPerSecond: random.once(8) ? 100 : 0,
        scheduler: random.once(4) ? ('wrr' as const) : row.scheduler,
      })),
    eips: ALL.eips.filter(() => isKept(8)),
  };
}

const isIcmp = (protocol: number | undefined): boolean => protocol === 1 || protocol === 58;
const key = (text: string): string => addressBytes(text).toString('hex');

/** Judges by the union of all images: removed rows serve their flows on, ids never change their meaning. */
class DirectorOracle {
  private readonly input = new Layers();
  private readonly output = new Layers();
  private readonly vips = new Set<string>();
  private readonly deliveries = new Set<string>();
  private readonly sources = new Set<string>();
  private readonly errors = new Set<string>();
  private readonly trusted = new Set<string>();
  private readonly own = new Set<string>();

  constructor() {
    const hosts = new Map(ALL.hosts.map((host) => [host.id, [host.v4, host.v6].filter((text) => text !== undefined)]));
    const targets = new Map(ALL.targets.map((target) => [target.id, target]));
    const members = new Map(ALL.groups.map((group) => [group.id, group.targets.map((member) => member.target)]));
    for (const listener of ALL.listeners) {
      const vip = `${listener.net}/${key(listener.vip)}`;
      this.vips.add(vip);
      for (const id of members.get(listener.group) ?? []) {
        const target = targets.get(id) as DirectorTables['targets'][number];
        const address = listener.translation === 'none' ? key(listener.vip) : key(target.address);
        const outers =
          target.host === null || target.encapsulation === 'none' || target.encapsulation === 'l2'
            ? ['']
            : (hosts.get(target.host) ?? []).map(key);
        for (const outer of outers) this.deliveries.add(`${vip}>${outer}/${target.net}/${address}`);
        this.sources.add(`${target.net}/${key(target.address)}>${key(listener.vip)}`);
        this.errors.add(`${target.net}>${key(listener.vip)}`);
      }
    }
    for (const eip of ALL.eips) {
      this.vips.add(`0/${key(eip.eip)}`);
      for (const outer of (hosts.get(eip.host) ?? []).map(key))
        this.deliveries.add(`0/${key(eip.eip)}>${outer}/${eip.net}/${key(eip.address)}`);
      this.sources.add(`${eip.net}/${key(eip.address)}>${key(eip.eip)}`);
    }
    for (const text of [...[...hosts.values()].flat(), ...ALL.trusted]) this.trusted.add(key(text));
    for (const text of [f.T1, f.T1V6, f.ANYCAST, 'fd00:254:ff::1']) this.own.add(key(text));
  }

  /** Why this input must not have become that output; undefined when the images allow it. */
  judge(inputBytes: Uint8Array, inputLength: number, outputBytes: Uint8Array): string | undefined {
    const input = this.input.read(inputBytes, ipOffset(inputBytes, inputLength), inputLength);
    const output = this.output.read(outputBytes, ipOffset(outputBytes, outputBytes.length), outputBytes.length);
    if (output.count === 0) return 'what was sent is no IP packet';
    if (input.count === 0) return 'sent although no IP packet came in';
    const inside = (input.gre[0] as number) !== 0 || input.protocol[0] === 4 || input.protocol[0] === 41;
    const isTunnel = inside && this.own.has(addressKey(inputBytes, input, 0, 'destination'));
    if (isTunnel && !this.trusted.has(addressKey(inputBytes, input, 0, 'source')))
      return 'out of a tunnel of a stranger';
    const layer = isTunnel ? 1 : 0;
    if (layer >= input.count) return 'sent although the tunnel carried no IP packet';
    const net = isTunnel ? input.key(inputBytes, 0) : 0;
    const from = addressKey(inputBytes, input, layer, 'source');
    const to = addressKey(inputBytes, input, layer, 'destination');
    const isGre = (output.gre[0] as number) !== 0;
    const hasOuter = isGre || ((output.protocol[0] === 4 || output.protocol[0] === 41) && output.count > 1);
    const outer = hasOuter ? addressKey(outputBytes, output, 0, 'destination') : '';
    const outNet = hasOuter ? output.key(outputBytes, 0) : 0;
    // A packet that was cut behind its tunnel shows no inner layer.
    if (hasOuter && output.count < 2)
      return outNet === net || net === 0 ? undefined : `from net ${net} into net ${outNet}`;
    const last = hasOuter ? 1 : 0;
    const outTo = addressKey(outputBytes, output, last, 'destination');
    const outFrom = addressKey(outputBytes, output, last, 'source');
    // A reply leaves as its VIP or EIP, whoever the client is.
    if (this.sources.has(`${net}/${from}>${outFrom}`) && (outNet === net || (!hasOuter && outNet === 0)))
      return undefined;
    // An ICMP error may come from any router of the VPC of a target.
    if (isIcmp(input.protocol[layer]) && this.errors.has(`${net}>${outFrom}`)) return undefined;
    if (this.vips.has(`${net}/${to}`)) {
      if (this.deliveries.has(`${net}/${to}>${outer}/${outNet}/${outTo}`)) return undefined;
      // Answers of the core's own go back to the sender, by the tunnel that it came through.
      if (outTo === from && outNet === net) return undefined;
      return `to VIP ${to} of net ${net} was sent to ${outTo} of net ${outNet} at ${outer || 'no tunnel'}`;
    }
    if (outTo === from && outNet === net) return undefined;
    return `from ${from} of net ${net} to ${to} was sent as ${outFrom} to ${outTo} of net ${outNet}, ${word(outputBytes, 12)}`;
  }
}
