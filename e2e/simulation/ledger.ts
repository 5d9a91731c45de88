// The truth about connections: what was opened, where it may arrive, what it was promised and how it ended. The machines report here.
import { Violation } from './checks.ts';
import { type VirtualClock } from './clock.ts';
import { type Machine } from './machine.ts';
import { type Tcp, type TcpState } from './tcp.ts';
import { type Service } from './topology.ts';

export type Fate = 'completed' | 'alive' | 'reset' | 'timeout' | 'moved' | 'silent';
export type App = 'talk' | 'push' | 'bulk' | 'datagrams';

/** Images reach the nodes at different times, and a packet may be on its way. */
export const APPLY_MS = 200;
/** Age from which the peers know a flow. */
const SYNC_AFTER_MS = 5_000;
/** What is heard so long after a director has died came by another one. */
const HEARD_MS = 1_000;
/** For so long the peers take a director that has gone for a living one, and tell one that joins nothing of its flows. */
const THOUGHT_ALIVE_MS = 3_000;

export interface Connection {
  readonly id: number;
  readonly service: Service;
  readonly client: Machine;
  readonly clientPort: number;
  readonly app: App;
  readonly startMs: number;
  establishedMs: number | undefined;
  target: string | undefined;
  fate: Fate | undefined;
  /** Why it is no longer promised to survive; undefined while it is. */
  excuse: string | undefined;
  heardMs: number;
  /** Datagrams without an answer, one after the other. */
  unanswered: number;
  isClosing: boolean;
  /** Its packets go to a director that must ask the others. */
  isAsking: boolean;
  /** A director that alone knew it has gone; set until something of it was heard again. */
  orphanedMs: number | undefined;
  /** Takes note of how much was answered; returns how much it was before. */
  answered(total: number): number;
}

interface Membership {
  readonly vm: string;
  /** When new connections may come, and when no more. */
  readonly fromMs: number;
  untilMs: number;
}

export class Ledger {
  readonly connections: Connection[] = [];
  readonly groups = new Map<string, { changedMs: number; members: Membership[] }>();
  delivered = 0;
  narrowed = 0;
  /** Sync was disturbed last: a partition, a director that comes. */
  disturbedMs = 0;
  isPartitioned = false;
  /** A director has gone, last. */
  goneMs = -Infinity;
  /** Loss on the wires, last. */
  lossMs = -Infinity;
  readonly trace: string[] = [];
  private readonly clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  note(text: string): void {
    this.trace.push(`${(this.clock.nowMs / 1000).toFixed(3)} ${text}`);
  }

  add(make: Pick<Connection, 'service' | 'client' | 'clientPort' | 'app'>): Connection {
    let done = 0;
    const connection: Connection = {
      ...make,
      id: this.connections.length,
      startMs: this.clock.nowMs,
      establishedMs: undefined,
      target: undefined,
      fate: undefined,
      excuse: undefined,
      heardMs: this.clock.nowMs,
      unanswered: 0,
      isClosing: false,
      isAsking: false,
      orphanedMs: undefined,
      answered(total) {
        const before = done;
        done = Math.max(done, total);
        return before;
      },
    };
    this.connections.push(connection);
    return connection;
  }

  get live(): Connection[] {
    return this.connections.filter(({ fate }) => fate === undefined);
  }

  /** A group's members that take new flows, as they are from now on. */
  setMembers(group: string, vms: readonly string[]): void {
    const now = this.clock.nowMs;
    const known = this.groups.get(group);
    const members = known?.members ?? [];
    for (const member of members) if (member.untilMs === Infinity && !vms.includes(member.vm)) member.untilMs = now;
    const open = new Set(members.filter(({ untilMs }) => untilMs === Infinity).map(({ vm }) => vm));
    for (const vm of vms) if (!open.has(vm)) members.push({ vm, fromMs: now, untilMs: Infinity });
    this.groups.set(group, { members, changedMs: known === undefined ? -Infinity : now });
  }

  /** A packet of a connection came to a machine: the right VPC, a target of its listener, the same as before. */
  arrivedAt(connection: Connection, vm: string, net: number, isNew: boolean): void {
    const { service, id, startMs } = connection;
    const what = `connection ${id} (${service.name}, VPC ${service.targetNet})`;
    if (net !== service.targetNet) throw new Violation(`${what} came to ${vm} of VPC ${net}`);
    const now = this.clock.nowMs;
    const members = this.groups.get(service.group)?.members ?? [];
    const isMember = members.some(
      (member) => member.vm === vm && member.untilMs + APPLY_MS >= startMs && member.fromMs <= now,
    );
    if (!isMember) throw new Violation(`${what} came to ${vm}, which is no target of its listener`);
    const before = connection.target;
    connection.target = vm;
    if (connection.establishedMs === undefined && service.protocol === 17) connection.establishedMs = now;
    if (before === undefined || before === vm || (isNew && connection.establishedMs === undefined)) return;
    if (service.protocol === 17) this.end(connection, 'moved', `moved from ${before} to ${vm}`);
  }

  heard(connection: Connection): void {
    connection.heardMs = this.clock.nowMs;
    connection.unanswered = 0;
    const { orphanedMs } = connection;
    if (orphanedMs !== undefined && this.clock.nowMs - orphanedMs > HEARD_MS) connection.orphanedMs = undefined;
  }

  became(connection: Connection, who: string, state: TcpState, tcp: Tcp): void {
    if (state === 'established' && who === 'client') connection.establishedMs = this.clock.nowMs;
    if (state === 'closed' && who === 'client') this.end(connection, 'completed', '');
    // A server that waits for a client that has gone is nobody's loss.
    if (state === 'reset' || (state === 'timeout' && who === 'client'))
      this.end(connection, state, `${state} seen by ${who} after ${tcp.received} bytes`);
  }

  end(connection: Connection, fate: Fate, how: string): void {
    if (connection.fate !== undefined) return;
    connection.fate = fate;
    if (fate === 'completed' || connection.excuse !== undefined) return;
    const { id, service, app, startMs, client, clientPort, target } = connection;
    const age = ((this.clock.nowMs - startMs) / 1000).toFixed(1);
    const who = `${id} of ${client.name}:${clientPort} to ${service.name} (${service.scheduler}, ${app}, ${age} s, ${target})`;
    throw new Violation(`a promised connection was lost: ${who}: ${how}`);
  }

  excuse(connection: Connection, why: string): void {
    connection.excuse ??= why;
  }

  /** Every director computes the same target: Maglev over the set that it began with, or no state at all. */
  isSteady({ service, startMs }: Connection): boolean {
    if (service.kind === 'eip') return true;
    return service.scheduler === 'maglev' && startMs > (this.groups.get(service.group)?.changedMs ?? 0) + APPLY_MS;
  }

  /** Old enough, and nothing has kept the peers from hearing of it. */
  isTold({ establishedMs, orphanedMs }: Connection): boolean {
    const now = this.clock.nowMs;
    const isLossy = now - this.lossMs < 8_000;
    if (this.isPartitioned || orphanedMs !== undefined || now - this.disturbedMs < 8_000) return false;
    return establishedMs !== undefined && now - establishedMs >= SYNC_AFTER_MS + (isLossy ? 8_000 : 1_000);
  }

  /**
   * Packets of flows come to other directors from now on. `isLost`: what one director alone knew is gone; otherwise the others can ask it,
   * which TCP does and a first datagram does not.
   */
  disturb(what: string, isLost: boolean, isUntaught = false): void {
    const isSilent = this.isPartitioned || this.clock.nowMs - this.lossMs < 1_000;
    for (const connection of this.live) {
      const isTold = this.isTold(connection) && !isUntaught;
      if (isLost && !isTold) connection.orphanedMs ??= this.clock.nowMs;
      if (this.isSteady(connection) || isTold) continue;
      const { protocol, scheduler } = connection.service;
      // On Maglev nobody is asked: a young flow after a change of its table may meet a strange target (P12).
      const canAsk = protocol === 6 && scheduler === 'wrr' && connection.establishedMs !== undefined && !isSilent;
      if (isLost || !canAsk) this.excuse(connection, what);
      else connection.isAsking = true;
    }
  }

  /** A director comes. Flows of one that has gone a moment ago nobody has told it, and nobody answers for. */
  welcome(id: string): void {
    const isUntaught = this.clock.nowMs - this.goneMs < THOUGHT_ALIVE_MS;
    this.disturb(isUntaught ? `${id} came just after another one went` : `${id} came`, isUntaught, isUntaught);
  }

  /** Maglev computes other targets from now on: what it would have had to find again is lost. */
  rehash(group: string): void {
    for (const connection of this.live)
      if (connection.service.group === group && connection.orphanedMs !== undefined)
        this.excuse(connection, 'table changed before the flow was found again');
  }

  /** Questions may be lost from now on; who has none to ask is not concerned. */
  silence(what: string): void {
    for (const connection of this.live)
      if (connection.isAsking && !this.isSteady(connection) && !this.isTold(connection)) this.excuse(connection, what);
  }
}
