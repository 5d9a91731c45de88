// The cluster of a history: machines, wires and controller put together, and what can be done to it.
import { Random } from '../../packages/core-wasm/fuzz/random.ts';
import { type SyncSocketOptions } from '../../packages/l4/src/sync-socket.ts';
import { type SyncWorld } from '../../packages/l4/src/sync-world.ts';
import { Violation, checkReasons, referencesOf } from './checks.ts';
import { VirtualClock } from './clock.ts';
import { type Control, type Member, openControl } from './control.ts';
import { Ledger } from './ledger.ts';
import { Machine } from './machine.ts';
import { Network } from './network.ts';
import { Director, Endpoint } from './nodes.ts';
import { type Topology, drawTopology, underlayOf } from './topology.ts';

/** Rules that a test breaks on purpose, to see that the checks see it. */
export interface Sabotage {
  readonly isSyncOff?: boolean;
  /** Changes an image of a director on its way. */
  readonly image?: (image: NonNullable<Director['image']>) => NonNullable<Director['image']>;
  /** Changes a packet on its way. */
  readonly packet?: (to: string, bytes: Buffer) => Buffer;
}

/** Routing notices a dead director after three heartbeats of 100 ms. */
const DETECT_MS = 300;
const VETH_MS = 0.05;
const LEAVE_MS = 400;
const GATEWAY_MAC = Buffer.from([2, 0, 0, 0, 0, 1]);
const FABRIC_MAC = Buffer.from([2, 0, 0, 0, 0, 0xfe]);

export class Cluster {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly ledger: Ledger;
  readonly network: Network;
  readonly topology: Topology;
  readonly machines = new Map<string, Machine>();
  readonly directors = new Map<string, Director>();
  readonly endpoints = new Map<string, Endpoint>();
  readonly members: Map<string, readonly Member[]>;
  /** Of directors that are gone. */
  frames = 0;
  private control!: Control;
  private readonly sockets = new Map<string, SyncSocketOptions>();
  private readonly sabotage: Sabotage;

  private constructor(seed: number, sabotage: Sabotage) {
    this.random = new Random(seed);
    this.sabotage = sabotage;
    this.clock = new VirtualClock(this.random.once(4) ? 2 ** 32 - 8_000 : 1_000_000 + this.random.below(1_000_000));
    this.ledger = new Ledger(this.clock);
    this.network = new Network(this.clock, this.random);
    this.topology = drawTopology(this.random);
    this.members = new Map(this.topology.groups);
    this.network.isConsistent = this.random.once(2);
  }

  static async open(seed: number, sabotage: Sabotage = {}): Promise<Cluster> {
    const cluster = new Cluster(seed, sabotage);
    cluster.control = await openControl(cluster.topology, cluster.clock.unixMs);
    cluster.wire();
    for (const id of cluster.topology.hosts) await cluster.startEndpoint(id);
    for (const id of cluster.topology.directors) await cluster.startDirector(id);
    return cluster;
  }

  /** Everything but directors and endpoints themselves. */
  private wire(): void {
    const { topology, network, ledger, clock, random } = this;
    const common = { clock, ledger, random: () => random.next() };
    const link = (name: string, addresses: readonly string[], receive: (bytes: Buffer) => void): void =>
      network.attach(name, addresses, (bytes) => receive(this.sabotage.packet?.(name, bytes) ?? bytes));
    for (const [index, addresses] of topology.clients.entries()) {
      const name = `client${index}`;
      const machine = new Machine({ ...common, name, net: 0, addresses, send: (bytes) => network.send(name, bytes) });
      this.machines.set(name, machine);
      link(name, addresses, (bytes) => machine.receive(bytes));
    }
    for (const { name, net, addresses, host, mac } of topology.vms) {
      const header = Buffer.concat([GATEWAY_MAC, Buffer.from(mac.replaceAll(':', ''), 'hex')]);
      const send = (bytes: Buffer): void => clock.after(VETH_MS, () => this.fromVm(host, name, header, bytes));
      this.machines.set(name, new Machine({ ...common, name, net, addresses, send }));
    }
    for (const [index, id] of topology.hosts.entries())
      link(id, Object.values(underlayOf(11 + index)), (bytes) => this.endpoints.get(id)?.deliver(0, framed(bytes)));
    for (const [index, id] of topology.directors.entries())
      link(id, Object.values(underlayOf(1 + index)), (bytes) => this.directors.get(id)?.deliver(0, framed(bytes)));
    const [image] = [...this.control.images().directors.values()];
    for (const { node, v4, v6 } of image!.tunnels) for (const text of [v4, v6]) if (text) network.addTunnel(text, node);
    const vips = image!.vips.filter(({ net }) => net === 0).map(({ address }) => address);
    network.share([...vips, ...image!.eips.map(({ eip }) => eip), image!.anycast.v4!, image!.anycast.v6!]);
    for (const [group, members] of this.members) this.record(group, members);
    for (const { kind, group, name } of topology.services) {
      const eip = topology.eips.find(({ id }) => name === id);
      if (kind === 'eip' && eip !== undefined) this.ledger.setMembers(group, [eip.vm]);
    }
  }

  private fromVm(host: string, device: string, header: Buffer, bytes: Buffer): void {
    const endpoint = this.endpoints.get(host);
    const type = Buffer.from(bytes[0]! >> 4 === 6 ? [0x86, 0xdd] : [8, 0]);
    endpoint?.deliver(endpoint.vms.get(device)!, Buffer.concat([header, type, bytes]));
  }

  async startEndpoint(id: string): Promise<void> {
    const { clock, random, network, topology } = this;
    const devices = topology.vms.filter(({ host }) => host === id).map(({ name }) => name);
    const out = (port: number, frame: Uint8Array): void => {
      const bytes = Buffer.from(frame.subarray(14));
      if (port === 0) network.send(id, bytes);
      else clock.after(VETH_MS, () => this.machines.get(devices[port - 1]!)!.receive(bytes));
    };
    const endpoint = await Endpoint.start(id, { clock, random, out }, devices);
    endpoint.apply(this.control.images().endpoints.get(id)!);
    this.endpoints.set(id, endpoint);
  }

  killEndpoint(id: string): void {
    const endpoint = this.endpoints.get(id)!;
    this.checkNode(endpoint);
    endpoint.kill();
    this.endpoints.delete(id);
  }

  async startDirector(id: string): Promise<void> {
    const { clock, random, network, sabotage } = this;
    const out = (_port: number, frame: Uint8Array): void => network.send(id, Buffer.from(frame.subarray(14)));
    const director = await Director.start(id, { clock, random, out }, this.syncWorld(id), sabotage.isSyncOff);
    this.directors.set(id, director);
    await this.apply(director);
    clock.after(DETECT_MS, () => {
      if (!director.isDead) network.tunnelled.add(id);
    });
    // It takes no new flows before it knows the old ones.
    void director.sync.joined().then(() => {
      if (director.isDead) return;
      this.ledger.note(`${id} has joined`);
      clock.after(random.below(DETECT_MS), () => {
        if (director.isDead) return;
        this.ledger.welcome(id);
        network.tunnelled.add(id);
        network.announcing.add(id);
      });
    });
  }

  /** At once, without a word; routing notices later. */
  killDirector(id: string): void {
    const director = this.directors.get(id)!;
    this.checkNode(director);
    director.kill();
    this.ledger.goneMs = this.clock.nowMs;
    this.directors.delete(id);
    this.clock.after(DETECT_MS, () => {
      if (this.directors.has(id)) return;
      this.network.announcing.delete(id);
      this.network.tunnelled.delete(id);
    });
  }

  /** Hands over, withdraws, goes on forwarding, ends. */
  leave(id: string): void {
    const director = this.directors.get(id)!;
    void director.sync.handOver().then(() => {
      this.ledger.note(`${id} has handed over`);
      this.clock.after(this.random.below(DETECT_MS), () => {
        this.ledger.disturb(`${id} left`, this.ledger.isPartitioned || this.clock.nowMs - this.ledger.lossMs < 3_000);
        this.network.announcing.delete(id);
        this.network.tunnelled.delete(id);
      });
      this.clock.after(LEAVE_MS, () => {
        if (director.isDead) return;
        this.checkNode(director);
        director.kill();
        this.ledger.goneMs = this.clock.nowMs;
        this.directors.delete(id);
      });
    });
  }

  /** A change of desired state; every node hears of it in its own time. */
  async setGroup(group: string, members: readonly Member[]): Promise<void> {
    this.members.set(group, members);
    this.record(group, members);
    await this.control.setGroup(group, members);
    const images = this.control.images();
    for (const director of this.directors.values())
      this.clock.after(1 + this.random.below(60), () => (director.isDead ? undefined : this.apply(director)));
    for (const endpoint of this.endpoints.values())
      this.clock.after(1 + this.random.below(60), () => {
        if (!endpoint.isDead) endpoint.apply(images.endpoints.get(endpoint.id)!);
      });
  }

  private record(group: string, members: readonly Member[]): void {
    // Where every weight is zero, nobody takes new flows and nobody is asked to.
    this.ledger.setMembers(
      group,
      members.filter(({ weight }) => weight > 0).map(({ vm }) => vm),
    );
  }

  private apply(director: Director): Promise<void> {
    const image = this.control.images().directors.get(director.id)!;
    return director.apply(this.sabotage.image?.(image) ?? image);
  }

  private syncWorld(id: string): SyncWorld {
    const { clock, network, sockets } = this;
    return {
      clock: clock.ticks,
      unixMs: clock.unixMs,
      sleep: clock.sleep,
      every: clock.every,
      open: (options) => {
        sockets.set(options.address, options);
        const send = (bytes: Uint8Array, to: string): void => {
          const copy = bytes.slice();
          const receiver = this.topology.directors.find((_, index) => underlayOf(1 + index).v4 === to);
          if (receiver !== undefined)
            network.carry(id, receiver, () => sockets.get(to)?.onDatagram(copy, options.address));
        };
        const close = (): void => {
          if (sockets.get(options.address) === options) sockets.delete(options.address);
        };
        return Promise.resolve({ address: options.address, send, sendToAll: () => {}, close });
      },
    };
  }

  private checkNode(node: Director | Endpoint): void {
    checkReasons(node);
    this.frames += node.framesIn;
  }

  /** At the end: every table empties when nothing comes any more. */
  async close(isChecked: boolean): Promise<void> {
    const nodes = [...this.directors.values(), ...this.endpoints.values()];
    for (const node of nodes) this.checkNode(node);
    if (isChecked) for (const director of this.directors.values()) checkEmpties(director, this.clock.ticks());
    for (const node of nodes) node.kill();
    await this.control.close();
  }
}

/** An hour later no flow is left, and none holds a listener or a target. */
function checkEmpties({ id, core }: Director, nowMs: number): void {
  for (let minute = 0; minute < 60; minute++) core.expireFlows((nowMs + minute * 60_000) >>> 0);
  const flows = core.counters()['flowsActive'] ?? 0;
  const references = referencesOf(core);
  if (flows !== 0 || references !== 0)
    throw new Violation(`${id} still has ${flows} flows and ${references} references after an hour of silence`);
}

const framed = (bytes: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from([2, 0, 0, 0, 0, 0]),
    FABRIC_MAC,
    Buffer.from(bytes[0]! >> 4 === 6 ? [0x86, 0xdd] : [8, 0]),
    bytes,
  ]);
