// One packet worker and its ports, as a role sees them: ports are opened once and come back by themselves when the worker is remade.
import { type LinearMemory, type MemoryPlan } from '@openclb/core-wasm';
import { WorkerState } from '@openclb/core-wasm/layout';
import { type LookFilter } from '@openclb/model';
import { type TappedPacket } from './capture/tap.ts';
import { type Log } from './log.ts';
import { type OurAddresses } from './ours.ts';
import { createPortBook } from './port-book.ts';
import { superviseWorker } from './supervisor.ts';
import { clearWorker } from './worker-region.ts';
import {
  type FromWorker,
  type PortInfo,
  type PortRequest,
  type PuntedPacket,
  type SlottedProbe,
  type ToWorker,
  type WorkerRole,
} from './worker-messages.ts';

export interface DataPathOptions {
  readonly role: WorkerRole;
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  readonly log: Log;
  readonly deathsMax?: number;
  /** A port is open: for the first time, or again after the worker was remade. */
  onPort(port: PortInfo): void;
  /** Packets that a tap copied. */
  onTapped?(packets: readonly TappedPacket[], missed: number): void;
  onPunted(packets: readonly PuntedPacket[]): void;
  /** Frames that left through a memory port. */
  onSent(index: number, frames: readonly Uint8Array[]): void;
  onGiveUp(error: Error): void;
  /** Clears what the role keeps in the worker's region beside flows and counters' neighbours (the endpoint's return memory). */
  onDeath?(): void;
}

export interface DataPath {
  /** Opens a port, or rejects with the reason. */
  openPort(request: PortRequest): Promise<PortInfo>;
  closePort(index: number): void;
  /** These destinations belong to the data path and no others. */
  steer(index: number, ours: OurAddresses): void;
  /** Sends probes, each to the target in its slot. */
  probe(probes: readonly SlottedProbe[]): void;
  /** Frames into a memory port. */
  deliver(index: number, frames: readonly Uint8Array[]): void;
  /** What the worker copies for a capture; null: nothing. */
  tap(filter: LookFilter | null): void;
  setStatus(status: number): void;
  /** Counters of ports, kernel-side drops included, at most a second old. */
  statistics(): ReadonlyMap<number, Readonly<Record<string, number>>>;
  /** What the worker counts outside the core: heartbeats answered, packets held too long or punted too many. */
  counters(): Readonly<Record<string, number>>;
  /** The worker's pulse: changes as long as it lives. */
  heartbeat(): number;
  restarts(): number;
  deaths(): number;
  /** Makes the worker trap, as a bug in it would. */
  trap(): void;
  close(): Promise<void>;
}

export function startDataPath(options: DataPathOptions): DataPath {
  const { role, plan, memory, log, deathsMax } = options;
  const statistics = new Map<number, Readonly<Record<string, number>>>();
  let counters: Readonly<Record<string, number>> = {};
  const pulse = new Uint32Array(memory.buffer, plan.workers[0]!.state + WorkerState.at.heartbeat, 1);
  const supervisor = superviseWorker({
    start: { role, worker: 0, memory, plan },
    log,
    deathsMax,
    onMessage: take,
    onStart: () => (ports.openAll(), remind()),
    onDeath: () => (clearWorker(plan, memory), options.onDeath?.()),
    onGiveUp: (error) => (ports.rejectAll(error), options.onGiveUp(error)),
  });
  const post = (message: ToWorker): void => supervisor.post(message);
  let status: ToWorker | null = null;
  let tapping: ToWorker | null = null;
  /** A worker that was remade knows nothing of it. */
  function remind(): void {
    if (status !== null) post(status);
    if (tapping !== null) post(tapping);
  }
  const ports = createPortBook(post, (port) => options.onPort(port), log);

  function take(message: FromWorker): void {
    if (message.type === 'punted') options.onPunted(message.packets);
    else if (message.type === 'tapped') options.onTapped?.(message.packets, message.missed);
    else if (message.type === 'sent') options.onSent(message.index, message.frames);
    else if (message.type === 'statistics') statistics.set(message.index, message.values);
    else if (message.type === 'counters') counters = message.values;
    else if (message.type === 'opened') ports.opened(message.port);
    else if (message.type === 'notOpened') ports.notOpened(message.index, message.reason);
    else if (message.type === 'steerFailed') log.error(message, 'a port could not be steered');
  }

  return {
    openPort: (request) => ports.open(request, supervisor.isReady),
    closePort(index) {
      statistics.delete(index);
      ports.close(index);
    },
    steer: ports.steer,
    probe: (probes) => post({ type: 'probe', probes }),
    deliver: (index, frames) => post({ type: 'frames', index, frames }),
    tap(filter) {
      tapping = filter === null ? null : { type: 'tap', filter };
      post({ type: 'tap', filter });
    },
    setStatus(next) {
      status = { type: 'status', status: next };
      post(status);
    },
    statistics: () => statistics,
    counters: () => counters,
    heartbeat: () => Atomics.load(pulse, 0),
    restarts: () => supervisor.restarts,
    deaths: () => supervisor.deaths,
    trap: () => post({ type: 'trap' }),
    close: supervisor.close,
  };
}
