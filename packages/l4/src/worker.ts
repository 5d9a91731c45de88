// THE loop of a packet worker: rounds (round.ts), then what must happen between bursts, for ever.
// One thread, one core instance, its own regions of the shared memory (data-plane.md P11).
// The thread blocks in poll for at most a millisecond and then lets its own event loop run, which brings the main thread's messages.
import { parentPort, workerData } from 'node:worker_threads';
import { type Binding, Core, openBinding } from '@openclb/core-wasm';
import { WorkerState } from '@openclb/core-wasm/layout';
import { type BetweenBursts, createBetweenBursts } from './between-bursts.ts';
import { type Tap, createTap } from './capture/tap.ts';
import { clock } from './clock.ts';
import { createRound } from './round.ts';
import { type FromWorker, type ToWorker, type WorkerStart } from './worker-messages.ts';
import { type WorkerPorts, createWorkerPorts } from './worker-ports.ts';

const IDLE_MS = 1;
const STATISTICS_EVERY_MS = 1_000;

/** Once a millisecond: the pulse, old flows, packets that wait, news for the main thread. */
function createSettle(
  role: WorkerStart['role'],
  core: Core,
  ports: WorkerPorts,
  between: BetweenBursts,
  { binding, tap }: { readonly binding: Binding | null; readonly tap: Tap },
): () => void {
  const expireFlows = core.exports['expireFlows'] as (nowMs: number) => number;
  const heartbeat = new Uint32Array(core.memory.buffer, core.worker.state + WorkerState.at.heartbeat, 1);
  const hand: Parameters<BetweenBursts['settle']>[1] = (packets) => say({ type: 'punted', packets });
  let statisticsAt = clock();

  return function settle() {
    const now = clock();
    Atomics.add(heartbeat, 0, 1);
    if (role === 'director') expireFlows(now);
    // SYNs and data again, and servers that speak first (P26).
    const due = binding?.tick(now) ?? 0;
    if (due > 0) {
      ports.kick(core.transmit(due));
      ports.kick(between.takeBurst(due, now));
    }
    between.settle(now, hand);
    ports.flushMemory();
    if (tap.isOn) sayTapped(tap);
    if ((now - statisticsAt) >>> 0 < STATISTICS_EVERY_MS) return;
    statisticsAt = now;
    ports.sayStatistics();
    const { user, system } = process.threadCpuUsage();
    const load = { cpuMicroseconds: user + system, cpuAtMs: Math.round(performance.timeOrigin + performance.now()) };
    say({ type: 'counters', values: { ...between.counters(), ...load } });
  };
}

function sayTapped(tap: Tap): void {
  const taken = tap.take();
  if (taken !== null) say({ type: 'tapped', ...taken });
}

function say(message: FromWorker): void {
  parentPort!.postMessage(message);
}

async function main({ role, worker, memory, plan }: WorkerStart): Promise<void> {
  const core = await Core.open({ memory, plan, worker, artefact: 'shared' });
  const ports = createWorkerPorts(core, say);
  const binding = role === 'director' ? await openBinding(plan, memory, worker) : null;
  const between = createBetweenBursts(core, ports.kick);
  const tap = createTap(core);
  const round = createRound(role, core, ports, between, clock, binding, tap);
  const settle = createSettle(role, core, ports, between, { binding, tap });
  let isTrapped = false;
  let isStopping = false;

  function turn(): void {
    try {
      const from = clock();
      do {
        if (round() === 0) ports.wait(IDLE_MS);
      } while (clock() === from);
      settle();
      if (isTrapped) throw new Error('trapped on request');
    } catch (error) {
      // A bug of ours (conventions 1.7): give the queues back, then end; the supervisor clears the region and starts a new worker.
      ports.closeAll();
      throw error;
    }
    if (isStopping) stop();
    else setImmediate(turn);
  }

  function stop(): void {
    ports.closeAll();
    say({ type: 'stopped' });
    parentPort!.close();
  }

  function take(message: ToWorker): void | Promise<void> {
    if (message.type === 'open') return ports.open(message.port);
    if (message.type === 'closePort') ports.close(message.index);
    else if (message.type === 'steer') ports.steer(message.index, message.rows);
    else if (message.type === 'frames') ports.bring(message.index, message.frames);
    else if (message.type === 'probe') between.probe(message.probes);
    else if (message.type === 'status') between.setStatus(message.status);
    else if (message.type === 'tap') tap.set(message.filter);
    else if (message.type === 'trap') isTrapped = true;
    else isStopping = true;
  }

  // One after the other, because opening a port takes time and steering it must wait.
  let last: Promise<void> = Promise.resolve();
  parentPort!.on('message', (message: ToWorker) => {
    last = last.then(() => take(message));
  });
  say({ type: 'ready' });
  setImmediate(turn);
}

await main(workerData as WorkerStart);
