// One packet worker and its ports, as a role sees them: ports are opened once and come back by themselves when the worker is remade.
import { type LinearMemory, type MemoryPlan } from '@openclb/core-wasm';
import { WorkerState } from '@openclb/core-wasm/layout';
import { type Log } from './log.ts';
import { type OurAddresses, steerChanges } from './ours.ts';
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
  setStatus(status: number): void;
  /** Counters of ports, kernel-side drops included, at most a second old. */
  statistics(): ReadonlyMap<number, Readonly<Record<string, number>>>;
  /** The worker's pulse: changes as long as it lives. */
  heartbeat(): number;
  restarts(): number;
  deaths(): number;
  /** Makes the worker trap, as a bug in it would. */
  trap(): void;
  close(): Promise<void>;
}

interface Opened {
  readonly request: PortRequest;
  ours: OurAddresses;
  settle: { resolve(port: PortInfo): void; reject(error: Error): void } | null;
}

export function startDataPath(options: DataPathOptions): DataPath {
  const { role, plan, memory, log, deathsMax } = options;
  const ports = new Map<number, Opened>();
  const statistics = new Map<number, Readonly<Record<string, number>>>();
  const pulse = new Uint32Array(memory.buffer, plan.workers[0]!.state + WorkerState.at.heartbeat, 1);
  const supervisor = superviseWorker({
    start: { role, worker: 0, memory, plan },
    log,
    deathsMax,
    onMessage: take,
    onStart: () => ports.forEach(({ request }) => post({ type: 'open', port: request })),
    onDeath: () => (clearWorker(plan, memory), options.onDeath?.()),
    onGiveUp: (error) => (rejectAll(ports, error), options.onGiveUp(error)),
  });
  const post = (message: ToWorker): void => supervisor.post(message);

  function take(message: FromWorker): void {
    if (message.type === 'punted') options.onPunted(message.packets);
    else if (message.type === 'sent') options.onSent(message.index, message.frames);
    else if (message.type === 'statistics') statistics.set(message.index, message.values);
    else if (message.type === 'opened') opened(message.port);
    else if (message.type === 'notOpened') notOpened(message.index, message.reason);
    else if (message.type === 'steerFailed') log.error(message, 'a port could not be steered');
  }

  function opened(info: PortInfo): void {
    const port = ports.get(info.index);
    if (!port) return;
    post({ type: 'steer', index: info.index, rows: steerChanges(new Map(), port.ours) });
    options.onPort(info);
    port.settle?.resolve(info);
    port.settle = null;
  }

  function notOpened(index: number, reason: string): void {
    const port = ports.get(index);
    if (port?.settle === null) {
      log.error({ port: index, reason }, 'a port did not come back after the worker was remade; trying again');
      setTimeout(() => ports.has(index) && post({ type: 'open', port: port.request }), 1_000).unref();
    } else {
      ports.delete(index);
      port?.settle?.reject(new Error(reason));
    }
  }

  return {
    openPort: (request) =>
      new Promise((resolve, reject) => {
        ports.set(request.index, { request, ours: new Map(), settle: { resolve, reject } });
        if (supervisor.isReady) post({ type: 'open', port: request });
      }),
    closePort(index) {
      statistics.delete(index);
      if (ports.delete(index)) post({ type: 'closePort', index });
    },
    steer(index, ours) {
      const port = ports.get(index);
      if (!port) return;
      // A port that is being opened again is told all of it then.
      if (port.settle === null) post({ type: 'steer', index, rows: steerChanges(port.ours, ours) });
      port.ours = ours;
    },
    probe: (probes) => post({ type: 'probe', probes }),
    deliver: (index, frames) => post({ type: 'frames', index, frames }),
    setStatus: (status) => post({ type: 'status', status }),
    statistics: () => statistics,
    heartbeat: () => Atomics.load(pulse, 0),
    restarts: () => supervisor.restarts,
    deaths: () => supervisor.deaths,
    trap: () => post({ type: 'trap' }),
    close: supervisor.close,
  };
}

function rejectAll(ports: ReadonlyMap<number, Opened>, error: Error): void {
  for (const port of ports.values()) port.settle?.reject(error);
}
