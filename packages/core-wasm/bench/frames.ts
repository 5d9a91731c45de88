// One director's core with 16 targets, and the frames of any number of flows for it: what core.bench.ts times.
import {
  Core,
  ImageWriter,
  NextHopTable,
  allocate,
  createSlots,
  parseAddress,
  planMemory,
  type DirectorTables,
} from '../src/index.ts';
import { Health, PacketRecord, limits } from '../layout/index.ts';

const VIP = '203.0.113.10';
export const BURST = limits.BURST_MAX;
/** So that the IP header lies on a word boundary. */
const HEADROOM = 130;
const IP_WORDS = 10;
const hexId = (number: number): string => number.toString(16).padStart(16, '0');

const targets = Array.from({ length: 16 }, (_, index) => ({ id: hexId(100 + index), number: index }));
const listener = (vport: number, translation: 'none' | 'dnat', group: number) => ({
  id: hexId(vport),
  net: 0,
  vip: VIP,
  vport,
  protocol: 6,
  translation,
  scheduler: 'maglev' as const,
  group: hexId(group),
  directReturn: translation === 'none',
  idleSeconds: 900,
  onRemove: 'run' as const,
});
const tables: DirectorTables = {
  self: { id: 'ld1', ordinal: 1 },
  tunnels: [{ node: 'ld1', worker: 0, v4: '10.254.1.1' }],
  anycast: {},
  probe: {},
  vips: [{ net: 0, address: VIP }],
  listeners: [listener(80, 'dnat', 1), listener(81, 'none', 2)],
  groups: [
    {
      id: hexId(1),
      slots: 4093,
      targets: targets.map(({ id }) => ({ target: id, weight: 1 })),
      check: { type: 'none' },
    },
    {
      id: hexId(2),
      slots: 4093,
      targets: targets.map(({ number }) => ({ target: hexId(200 + number), weight: 1 })),
      check: { type: 'none' },
    },
  ],
  targets: targets.flatMap(({ id, number }) => [
    {
      id,
      net: 100,
      address: `10.0.0.${number + 2}`,
      port: 8080,
      encapsulation: 'gre' as const,
      host: hexId(300 + number),
    },
    {
      id: hexId(200 + number),
      net: 0,
      address: `10.255.0.${number + 1}`,
      port: 0,
      encapsulation: 'ipip' as const,
      host: hexId(300 + number),
    },
  ]),
  hosts: targets.map(({ number }) => ({ id: hexId(300 + number), v4: `10.255.0.${number + 1}` })),
  eips: [],
  trusted: [],
};

export async function open(flows: number): Promise<Core> {
  const plan = planMemory({
    flows: flows > 4096 ? limits.FLOWS_DEFAULT : 4096,
    ports: 1,
    portChunks: 64,
    injectChunks: BURST,
    maglevSlots: 16384,
  });
  const memory = allocate(plan);
  const writer = new ImageWriter(plan, memory, createSlots(plan, memory));
  const hops = new NextHopTable(plan, memory);
  hops.setPort(0, { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1600, kind: 'ethernet' });
  hops.setRoute('0.0.0.0', 0, '10.1.0.254', 0);
  hops.setNeighbour('10.1.0.254', Uint8Array.of(2, 0, 0, 0, 0, 254), 0);
  const core = await Core.open({ memory, plan, worker: 0, artefact: 'shared' });
  writer.write(tables);
  core.adopt();
  for (const { id } of tables.targets) writer.setHealth(id, Health.Alive);
  return core;
}

/** Lays frames of random flows into the chunks of the burst. What differs between flows are one address, one port, one checksum. */
export class Frames {
  private readonly words: Uint32Array;
  private readonly template: Uint32Array;
  private readonly checksums: Uint32Array;
  private readonly order: Uint32Array;
  private readonly slabWord: number;
  private readonly recordWord: number;
  private next = 0;

  constructor(core: Core, flows: number, vport: number) {
    this.words = new Uint32Array(core.memory.buffer);
    this.slabWord = (core.worker.slab + core.worker.injectChunk + HEADROOM + 14) / 4;
    this.recordWord = core.worker.burst / 4;
    this.template = templateOf(vport);
    this.checksums = Uint32Array.from({ length: flows }, (_, flow) => this.checksumWord(flow));
    this.order = shuffled(flows);
    for (let index = 0; index < BURST; index++) {
      const record = core.record(index);
      core.view.setUint32(record + PacketRecord.at.chunk, core.worker.injectChunk + index * limits.CHUNK_BYTES, true);
      this.words[record / 4] = core.worker.injectChunk + index * limits.CHUNK_BYTES + HEADROOM;
    }
    this.first = core.worker.injectChunk + HEADROOM;
  }
  private readonly first: number;

  /** Every flow once, in order: opens them. */
  restart(): void {
    this.next = 0;
  }

  lay(flags: number): void {
    const { words, template, checksums, order } = this;
    for (let index = 0; index < BURST; index++) {
      const flow = order[this.next] as number;
      this.next = this.next + 1 === order.length ? 0 : this.next + 1;
      const at = this.slabWord + index * (limits.CHUNK_BYTES / 4);
      words[at - 1] = 0x00080000;
      for (let word = 0; word < IP_WORDS; word++) words[at + word] = template[word] as number;
      words[at + 2] = checksums[flow] as number;
      words[at + 3] = addressWord(flow);
      words[at + 5] = (template[5] as number) | (flow & 0xffff);
      words[at + 8] = (template[8] as number) | (flags << 8);
      const record = this.recordWord + index * (PacketRecord.bytes / 4);
      words[record] = this.first + index * limits.CHUNK_BYTES;
      words[record + 1] = 54;
    }
  }

  /** TTL, protocol and the header checksum as they lie in memory. */
  private checksumWord(flow: number): number {
    const header = new Uint8Array(this.template.slice(0, 5).buffer);
    new DataView(header.buffer).setUint32(12, addressWord(flow), true);
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += ((header[at] ?? 0) << 8) | (header[at + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    new DataView(header.buffer).setUint16(10, ~sum & 0xffff);
    return new DataView(header.buffer).getUint32(8, true);
  }
}

/** 64,512 ports of each of some addresses under 100.0.0.0/8. */
const addressWord = (flow: number): number => (0x64 | ((flow >>> 16) << 24) | (1 << 8)) >>> 0;

function templateOf(vport: number): Uint32Array {
  const bytes = new Uint8Array(IP_WORDS * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x45000028);
  view.setUint32(4, 0x00014000);
  view.setUint32(8, 0x40060000);
  bytes.set(parseAddress(VIP).subarray(12), 16);
  view.setUint16(22, vport);
  view.setUint8(32, 0x50);
  return new Uint32Array(bytes.buffer);
}

function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: Math.max(count, BURST) }, (_, index) => index % count);
  let seed = 12345;
  for (let at = order.length - 1; at > 0; at--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (at + 1);
    const kept = order[at] as number;
    order[at] = order[other] as number;
    order[other] = kept;
  }
  return order;
}
