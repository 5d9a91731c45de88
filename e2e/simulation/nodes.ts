// A director and an endpoint of the simulation: the real packet core, tables, memory port, worker round and flow sync, in this thread.
// What a role adds around them (threads, links, kernel tables, BIRD) is not here.
import {
  Core,
  EndpointWriter,
  ImageWriter,
  type LinearMemory,
  type MemoryPlan,
  NextHopTable,
  type PlanOptions,
  type Slots,
  SyncTable,
  createSlots,
  endpointTableBytes,
  planMemory,
  returnMemoryBytes,
} from '@openclb/core-wasm';
import { EndpointState, StandbyState, WorkerState } from '@openclb/core-wasm/layout';
import { type DirectorImage, type EndpointImage } from '@openclb/model';
import { type Random } from '../../packages/core-wasm/fuzz/random.ts';
import { writeMap } from '../../packages/core-wasm/src/plan.ts';
import { type BetweenBursts, createBetweenBursts } from '../../packages/l4/src/between-bursts.ts';
import { peersOf } from '../../packages/l4/src/director-tables.ts';
import { endpointTables } from '../../packages/l4/src/endpoint-image.ts';
import { createLeftVms } from '../../packages/l4/src/endpoint-left.ts';
import { silentLog } from '../../packages/l4/src/log.ts';
import { openMemory } from '../../packages/l4/src/port/memory.ts';
import { type Port } from '../../packages/l4/src/port/port.ts';
import { createRound } from '../../packages/l4/src/round.ts';
import { type SyncWorld } from '../../packages/l4/src/sync-world.ts';
import { type FlowSync, startSync } from '../../packages/l4/src/sync.ts';
import { checkBalance } from './checks.ts';
import { type VirtualClock } from './clock.ts';

export const FLOWS = 1_024;
const RETURNS = 1_024;
const ROWS = 512;
const SMALL = { portChunks: 128, injectChunks: 8, fragments: 64, hosts: 16, eips: 16, groups: 32 };
const DIRECTOR: PlanOptions = { ...SMALL, ports: 1, flows: FLOWS, listeners: 64, targets: 128, maglevSlots: 1 << 14 };
const ENDPOINT: PlanOptions = {
  ...SMALL,
  ports: 8,
  flows: 0,
  listeners: 1,
  targets: 1,
  maglevSlots: 1,
  endpointSharedBytes: endpointTableBytes(ROWS),
  endpointBytes: returnMemoryBytes(RETURNS),
};
const PLANS = { director: planMemory(DIRECTOR), endpoint: planMemory(ENDPOINT) };
const GATEWAY = 'fe80::1';
const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0xfe);
const SETTLE_MS = 50;

/** Memories are used again: thousands of histories would otherwise wait for the garbage collector. */
const spare = { director: [] as LinearMemory[], endpoint: [] as LinearMemory[] };

function takeMemory(role: 'director' | 'endpoint'): LinearMemory {
  const plan = PLANS[role];
  const memory =
    spare[role].pop() ??
    (new WebAssembly.Memory({ initial: plan.pages, maximum: plan.pages, shared: true }) as LinearMemory);
  new Uint8Array(memory.buffer).fill(0);
  writeMap(plan, memory);
  return memory;
}

interface World {
  readonly clock: VirtualClock;
  readonly random: Random;
  /** A frame that a port has sent. */
  readonly out: (port: number, frame: Uint8Array) => void;
}

/** One worker with its ports. */
class Node {
  readonly role: 'director' | 'endpoint';
  readonly core: Core;
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  readonly hops: NextHopTable;
  /** Frames that were given to the ports, and those that they sent. */
  framesIn = 0;
  framesOut = 0;
  isDead = false;
  protected readonly world: World;
  protected readonly between: BetweenBursts;
  private readonly ports: Port[] = [];
  private readonly wires: Uint8Array[][] = [];
  private readonly round: () => number;
  private isRoundDue = false;

  constructor(role: 'director' | 'endpoint', world: World, core: Core) {
    this.role = role;
    this.world = world;
    this.core = core;
    this.plan = core.plan;
    this.memory = core.memory;
    this.hops = new NextHopTable(core.plan, core.memory);
    const kick = (mask: number): void => this.kick(mask);
    this.between = createBetweenBursts(core, kick);
    const { ports } = this;
    const fill = (index: number): boolean => ports[index]!.fill() > 0;
    const book = {
      get count() {
        return ports.length;
      },
      fill,
      kick,
    };
    this.round = createRound(role, core, book, this.between, world.clock.ticks);
    for (const prefix of ['0.0.0.0', '::']) this.hops.setRoute(prefix, 0, GATEWAY, 0);
    this.hops.setNeighbour(GATEWAY, GATEWAY_MAC, 0);
  }

  openPort(index: number): void {
    const room = { memory: this.memory, ...this.plan.workers[0]!.ports[index]! };
    const toCore: Uint8Array[] = [];
    const fromCore = (frame: Uint8Array): void => {
      this.framesOut++;
      this.world.out(index, frame);
    };
    const port = openMemory({ kind: 'memory', index, device: `p${index}`, room, wire: { toCore, fromCore } });
    this.ports[index] = port;
    this.wires[index] = toCore;
    this.hops.setPort(index, { mac: port.mac, mtu: port.mtu, kind: 'ethernet' });
  }

  /** Frames of one moment are one burst. */
  deliver(index: number, frame: Uint8Array): void {
    if (this.isDead) return;
    this.wires[index]!.push(frame);
    this.framesIn++;
    if (this.isRoundDue) return;
    this.isRoundDue = true;
    this.world.clock.after(0, () => {
      this.isRoundDue = false;
      if (this.isDead) return;
      while (this.round() > 0);
      checkBalance(this);
    });
  }

  get hasWaiting(): boolean {
    return this.isRoundDue;
  }

  protected startSettling(turn: () => void): void {
    const stop = this.world.clock.every(SETTLE_MS, () => {
      if (this.isDead) stop();
      else turn();
    });
  }

  protected settle(): void {
    this.between.settle(this.world.clock.ticks(), () => {});
  }

  private kick(mask: number): void {
    for (let index = 0; index < this.ports.length; index++) if ((mask >>> index) & 1) this.ports[index]!.kick();
  }

  kill(): void {
    this.isDead = true;
    spare[this.role].push(this.memory);
  }
}

export class Director extends Node {
  readonly id: string;
  readonly sync: FlowSync;
  readonly slots: Slots;
  readonly writer: ImageWriter;
  image: DirectorImage | null = null;

  private constructor(
    id: string,
    world: World,
    core: Core,
    table: SyncTable,
    slots: Slots,
    net: SyncWorld,
    isOff: boolean,
  ) {
    super('director', world, core);
    this.id = id;
    this.slots = slots;
    this.writer = new ImageWriter(core.plan, core.memory, slots);
    this.sync = startSync({ mode: isOff ? 'off' : 'unicast', table, log: silentLog, world: net });
    this.openPort(0);
    this.startSettling(() => {
      core.expireFlows(world.clock.ticks());
      this.settle();
    });
  }

  static async start(id: string, world: World, net: SyncWorld, isSyncOff = false): Promise<Director> {
    const plan = PLANS.director;
    const memory = takeMemory('director');
    const view = new DataView(memory.buffer);
    const random = (): bigint => BigInt(world.random.next() + 1) * 0x1_0000_0001n;
    const { state } = plan.workers[0]!;
    for (const at of [
      state + WorkerState.at.sipKey0,
      state + WorkerState.at.sipKey1,
      plan.map.standby + StandbyState.at.key0,
    ])
      view.setBigUint64(at, random(), true);
    const core = await Core.open({ memory, plan, worker: 0, artefact: 'shared' });
    const slots = createSlots(plan, memory);
    const table = await SyncTable.open(plan, memory, slots);
    return new Director(id, world, core, table, slots, net, isSyncOff);
  }

  /** As director.ts does: tables first, then flow sync. */
  async apply(image: DirectorImage): Promise<void> {
    const asks = peersOf(image);
    this.writer.write({ ...image, ...asks }, this.world.clock.unixMs());
    this.core.adopt();
    this.image = image;
    await this.sync.configure(image);
  }

  override kill(): void {
    super.kill();
    this.sync.close();
  }
}

export class Endpoint extends Node {
  readonly id: string;
  readonly vms = new Map<string, number>();
  private readonly writer: EndpointWriter;
  private readonly left: ReturnType<typeof createLeftVms>;

  private constructor(id: string, world: World, core: Core, devices: readonly string[]) {
    super('endpoint', world, core);
    this.id = id;
    this.writer = new EndpointWriter(core.plan, core.memory);
    core.view.setUint32(core.worker.endpoint + EndpointState.at.seed, world.random.next(), true);
    this.left = createLeftVms(world.clock.ticks);
    this.openPort(0);
    for (const [index, device] of devices.entries()) {
      this.openPort(index + 1);
      this.vms.set(device, index + 1);
    }
    this.startSettling(() => this.settle());
  }

  static async start(id: string, world: World, devices: readonly string[]): Promise<Endpoint> {
    const plan = PLANS.endpoint;
    const memory = takeMemory('endpoint');
    const { state } = plan.workers[0]!;
    new DataView(memory.buffer).setBigUint64(state + WorkerState.at.sipKey0, BigInt(world.random.next() + 1), true);
    return new Endpoint(id, world, await Core.open({ memory, plan, worker: 0, artefact: 'shared' }), devices);
  }

  apply(image: EndpointImage): void {
    const tables = endpointTables(image, { ports: this.vms, inside: null });
    this.writer.write({ ...tables, entries: [...tables.entries, ...this.left.update(image)] });
  }
}
