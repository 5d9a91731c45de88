// One random history: connections that come and go, and what happens to the cluster meanwhile, all drawn from the seed.
import { type Cluster, Cluster as ClusterOf, type Sabotage } from './cluster.ts';
import { Violation } from './checks.ts';
import { type App, type Connection } from './ledger.ts';
import { type Member } from './control.ts';
import { type Service, drawMembers } from './topology.ts';

export interface HistoryOptions {
  readonly seed: number;
  readonly sabotage?: Sabotage;
  /** Only these things happen to the cluster. */
  readonly only?: readonly Happening[];
}

export interface Outcome {
  readonly seed: number;
  /** The first broken promise, with what happened before. */
  readonly violation: string | undefined;
  readonly trace: readonly string[];
  readonly events: number;
  readonly packets: number;
  readonly frames: number;
  readonly narrowed: number;
  /** Answers to VMs of a VPC that left under a public VIP: docs/explanation/simulation.md, open findings. */
  readonly bare: number;
  /** Connections by how they ended; those that were not promised to survive apart, by why. */
  readonly fates: Readonly<Record<string, number>>;
  readonly excuses: Readonly<Record<string, number>>;
  readonly happenings: Readonly<Record<string, number>>;
  /** Two runs of a seed are the same when these are. */
  readonly digest: string;
}

const START_MS = 2_000;
const END_MS = 24_000;
/** Everything is whole again, and connections may end. */
const REST_MS = 12_000;
const UNANSWERED_MAX = 20;

export const HAPPENINGS = [
  'kill',
  'leave',
  'reshuffle',
  'partition',
  'endpoint',
  'group',
  'drain',
  'remove',
  'loss',
  'mtu',
] as const;
export type Happening = (typeof HAPPENINGS)[number];

export async function runHistory({ seed, sabotage, only }: HistoryOptions): Promise<Outcome> {
  const cluster = await ClusterOf.open(seed, sabotage);
  const history = new History(cluster, only ?? HAPPENINGS);
  let violation: string | undefined;
  try {
    await history.run();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  try {
    await cluster.close(violation === undefined);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation ??= error.message;
  }
  return history.outcome(seed, violation);
}

class History {
  private readonly cluster: Cluster;
  private readonly only: readonly Happening[];
  private readonly happenings: Record<string, number> = {};
  private nextPort = 40_000;

  constructor(cluster: Cluster, only: readonly Happening[]) {
    this.cluster = cluster;
    this.only = only;
  }

  async run(): Promise<void> {
    const { clock, random } = this.cluster;
    const connections = 30 + random.below(30);
    for (let count = 0; count < connections; count++)
      clock.after(START_MS + random.below(END_MS - START_MS), () => this.open());
    for (let atMs = START_MS + 1_000; atMs < END_MS; atMs += 300 + random.below(4_000))
      clock.after(atMs, () => this.happen(random.pick(this.only)));
    await clock.run(END_MS + REST_MS, () => {});
    for (const connection of this.cluster.ledger.live) this.cluster.ledger.end(connection, 'silent', 'never ended');
  }

  outcome(seed: number, violation: string | undefined): Outcome {
    const { clock, ledger, network, frames } = this.cluster;
    const fates: Record<string, number> = {};
    const excuses: Record<string, number> = {};
    for (const { fate = 'alive', excuse } of ledger.connections) {
      const key = excuse === undefined ? `promised, ${fate}` : `not promised, ${fate}`;
      fates[key] = (fates[key] ?? 0) + 1;
      if (excuse !== undefined && fate !== 'completed') {
        const why = excuse.replace(/ld\d/, 'a director');
        excuses[why] = (excuses[why] ?? 0) + 1;
      }
    }
    const { packets, bare } = network;
    const { happenings } = this;
    const digest = JSON.stringify([clock.events, packets, frames, ledger.delivered, fates, violation ?? '']);
    const { narrowed, trace } = ledger;
    return {
      seed,
      violation,
      trace,
      events: clock.events,
      packets,
      frames,
      narrowed,
      bare,
      fates,
      excuses,
      happenings,
      digest,
    };
  }

  /** A new connection of somebody to something. */
  private open(): void {
    const { random, topology, machines, ledger } = this.cluster;
    const service = random.pick(topology.services);
    const from = service.net === 0 ? `client${random.below(topology.clients.length)}` : `vm${service.net}-4`;
    const client = machines.get(from)!;
    const which = random.below(service.vips.length);
    // The same port to both VPCs now and then: the same tuple at the same target address.
    const clientPort = this.nextPort;
    const twin = topology.services.find(
      (other) =>
        other !== service &&
        other.group !== service.group &&
        other.net === 0 &&
        other.targetNet !== service.targetNet &&
        other.name.split('-')[0] === service.name.split('-')[0],
    );
    this.nextPort++;
    for (const one of [service, ...(twin !== undefined && service.net === 0 && random.once(3) ? [twin] : [])]) {
      const app: App = one.protocol === 17 ? 'datagrams' : random.pick(['talk', 'talk', 'push', 'bulk']);
      const connection = ledger.add({ service: one, client, clientPort, app });
      this.start(connection, one.vips[which]!);
    }
  }

  private start(connection: Connection, vip: string): void {
    const { clock, random } = this.cluster;
    const { service, client, clientPort, app } = connection;
    const source = client.options.addresses[vip.includes(':') ? 1 : 0]!;
    const ends = { source, sourcePort: clientPort, destination: vip, destinationPort: service.port };
    const lifeMs = Math.min(random.pick([300, 2_000, 8_000, 15_000]) + random.below(4_000), END_MS + 500 - clock.nowMs);
    if (app === 'datagrams') return this.startDatagrams(connection, client.openDatagrams(connection, ends), lifeMs);
    const tcp = client.connect(connection, ends);
    const everyMs = random.pick([100, 300, 900, 2_500]);
    const bytes = 16 * (1 + random.below(20));
    let isFirst = true;
    const stop = clock.every(everyMs, () => {
      if (tcp.isOver || connection.isClosing) return stop();
      if (tcp.state === 'established' && (isFirst || app === 'talk')) tcp.write(bytes);
      if (tcp.state === 'established') isFirst = false;
    });
    clock.after(lifeMs, () => {
      connection.isClosing = true;
      tcp.close();
    });
  }

  private startDatagrams(connection: Connection, send: (number: number) => void, lifeMs: number): void {
    const { clock, ledger } = this.cluster;
    let number = 0;
    const stop = clock.every(250, () => {
      if (connection.fate !== undefined) return stop();
      if (clock.nowMs - connection.startMs > lifeMs) {
        stop();
        return ledger.end(connection, 'completed', '');
      }
      if (connection.unanswered++ > UNANSWERED_MAX) return ledger.end(connection, 'silent', 'no answers any more');
      send(number++);
    });
  }

  private happen(what: Happening): void | Promise<void> {
    const done = this[what]();
    if (done === false) return undefined;
    this.happenings[what] = (this.happenings[what] ?? 0) + 1;
    return done === true ? undefined : done;
  }

  /** A director that serves while another one does as well, and nothing was disturbed lately (P40: no second failure inside the copy). */
  private spareDirector(): string | undefined {
    const { network, random, directors } = this.cluster;
    const serving = [...network.announcing].filter((id) => directors.has(id)).sort();
    return serving.length < 2 ? undefined : random.pick(serving);
  }

  private comeBack(id: string, afterMs: number): void {
    const { clock, ledger, directors } = this.cluster;
    clock.after(afterMs, async () => {
      if (directors.has(id)) return this.comeBack(id, 500);
      ledger.note(`${id} starts`);
      ledger.disturbedMs = clock.nowMs;
      await this.cluster.startDirector(id);
    });
  }

  private kill(): boolean {
    const id = this.spareDirector();
    if (id === undefined) return false;
    const { ledger, random } = this.cluster;
    ledger.note(`kill ${id}`);
    ledger.disturb(`kill ${id}`, true);
    this.cluster.killDirector(id);
    this.comeBack(id, 500 + random.below(4_000));
    return true;
  }

  private leave(): boolean {
    const id = this.spareDirector();
    if (id === undefined || this.leaving.has(id) || this.leaving.size > 0) return false;
    this.leaving.add(id);
    this.cluster.ledger.note(`${id} leaves`);
    this.cluster.leave(id);
    this.cluster.clock.after(3_000, () => void this.leaving.delete(id));
    this.comeBack(id, 3_500 + this.cluster.random.below(2_000));
    return true;
  }
  private readonly leaving = new Set<string>();

  private reshuffle(): boolean {
    const { network, random, ledger } = this.cluster;
    ledger.note('reshuffle');
    ledger.disturb('reshuffle', false);
    network.salt = random.next();
    return true;
  }

  private partition(): boolean {
    const { network, random, ledger, clock, topology } = this.cluster;
    if (network.partitions.size > 0) return false;
    const a = random.pick(topology.directors);
    const b = random.pick(topology.directors.filter((id) => id !== a));
    ledger.note(`partition of ${a} and ${b}`);
    network.cut(a, b);
    ledger.silence('questions cut off');
    ledger.isPartitioned = true;
    clock.after(1_000 + random.below(5_000), () => {
      ledger.note('healed');
      network.partitions.clear();
      ledger.isPartitioned = false;
      ledger.disturbedMs = clock.nowMs;
    });
    return true;
  }

  private endpoint(): boolean {
    const { endpoints, random, ledger, clock } = this.cluster;
    const ids = [...endpoints.keys()].sort();
    if (ids.length === 0) return false;
    const id = random.pick(ids);
    ledger.note(`restart of endpoint ${id}`);
    ledger.disturb(`restart of an endpoint`, false);
    this.forget();
    this.cluster.killEndpoint(id);
    clock.after(200 + random.below(1_000), () => this.cluster.startEndpoint(id));
    return true;
  }

  /**
   * What an endpoint cannot know without its memory: an answer to a VM of the same VPC looks like direct traffic (P7.5: the VPC map comes
   * first), and one of a VM that is a target and has an EIP, on the same port, like either.
   */
  private forget(): void {
    const { ledger, topology } = this.cluster;
    const withEip = new Set(topology.eips.map(({ vm }) => vm));
    for (const connection of ledger.live) {
      const isDouble = connection.target === undefined || withEip.has(connection.target);
      if (connection.service.net !== 0) ledger.excuse(connection, 'endpoint restart, east–west');
      else if (isDouble) ledger.excuse(connection, 'endpoint restart, target with an EIP');
    }
  }

  private group(): Promise<void> {
    const group = this.drawGroup();
    const net = Number(group.split('-').at(-1));
    return this.change(group, drawMembers(this.cluster.random, net));
  }

  private drain(): Promise<void> {
    const { members, random } = this.cluster;
    const group = this.drawGroup();
    const victim = random.pick(members.get(group)!).vm;
    return this.change(
      group,
      members.get(group)!.map((one) => (one.vm === victim ? { vm: victim, weight: 0 } : one)),
    );
  }

  private remove(): Promise<void> | false {
    const { members, random } = this.cluster;
    const group = this.drawGroup();
    const before = members.get(group)!;
    if (before.length < 2) return false;
    const victim = random.pick(before).vm;
    return this.change(
      group,
      before.filter(({ vm }) => vm !== victim),
    );
  }

  private drawGroup(): string {
    return this.cluster.random.pick([...this.cluster.members.keys()]);
  }

  private async change(group: string, next: readonly Member[]): Promise<void> {
    const { ledger, members } = this.cluster;
    // A group that nobody may use says nothing about its listener.
    if (!next.some(({ weight }) => weight > 0)) return;
    const gone = new Set(members.get(group)!.map(({ vm }) => vm));
    for (const { vm } of next) gone.delete(vm);
    ledger.note(`${group}: ${next.map(({ vm, weight }) => `${vm}=${weight}`).join(' ')}`);
    ledger.rehash(group);
    await this.cluster.setGroup(group, next);
    for (const connection of ledger.live)
      if (isHit(connection, group, gone)) ledger.excuse(connection, 'target removed');
  }

  private loss(): boolean {
    const { network, random, ledger, clock } = this.cluster;
    if (network.faults.loss > 0) return false;
    ledger.note('loss');
    ledger.silence('questions lost');
    network.faults = {
      loss: random.below(50) / 1_000 + 0.001,
      duplication: random.below(30) / 1_000,
      jitterMs: random.below(5),
    };
    const stop = clock.every(50, () => {
      ledger.lossMs = clock.nowMs;
    });
    clock.after(1_000 + random.below(3_000), () => {
      stop();
      network.faults = { loss: 0, duplication: 0, jitterMs: 0 };
    });
    return true;
  }

  private mtu(): boolean {
    const { network, random, clock, topology, ledger } = this.cluster;
    const place = random.once(2) ? random.pick(topology.hosts) : `client${random.below(topology.clients.length)}`;
    if (network.mtu.has(place)) return false;
    const mtu = 1_300 + random.below(180);
    ledger.note(`MTU of ${place} is ${mtu}`);
    network.mtu.set(place, mtu);
    clock.after(2_000 + random.below(4_000), () => void network.mtu.delete(place));
    return true;
  }
}

/** Promised only with the policy `run`, and to flows whose target is known: then nothing but time ends them. */
function isHit({ service, target }: Connection, group: string, gone: ReadonlySet<string>): boolean {
  return service.group === group && (target === undefined || gone.has(target)) && gone.size > 0;
}

export const serviceNames = (services: readonly Service[]): string[] => services.map(({ name }) => name);
