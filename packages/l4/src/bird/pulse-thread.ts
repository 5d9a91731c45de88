// A thread of the director that feels the pulse of its packet workers and tells the keeper every 100 ms (data-plane.md P2). A thread of its own,
// because the main one may compile an image for longer than the three beats after which the keeper takes the routes away.
import { fork } from 'node:child_process';
import { parentPort, workerData } from 'node:worker_threads';
import { BEAT_MS } from '../watchdog.ts';
import { type FromKeeper, type PulseStart, type ToKeeper } from './messages.ts';

const RESTART_MS = 500;

const { directory, memory, pulses } = workerData as PulseStart;
const beats = pulses.map((at) => new Uint32Array(memory, at, 1));
let last = beats.map(() => -1);
let texts: ToKeeper | undefined;
let announced: ToKeeper | undefined;
let closing = false;
let keeper = start();

function start(): ReturnType<typeof fork> {
  const child = fork(new URL(import.meta.resolve('@openclb/l4/bird-keeper')), [directory], {
    execArgv: process.execArgv,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  child.on('message', (message: FromKeeper) => parentPort?.postMessage(message));
  child.on('error', () => undefined);
  child.on('exit', () => {
    if (closing) return void parentPort?.close();
    report('the keeper of BIRD has ended; starting it again');
    setTimeout(() => {
      keeper = start();
      for (const message of [texts, announced]) if (message !== undefined) tell(message);
    }, RESTART_MS);
  });
  return child;
}

function report(text: string): void {
  parentPort?.postMessage({ type: 'log', level: 'error', text } satisfies FromKeeper);
}

function tell(message: ToKeeper): void {
  // A keeper that is just ending hears nothing; the next one is told everything.
  if (keeper.connected) keeper.send(message, () => undefined);
}

const timer = setInterval(() => {
  const now = beats.map((beat) => Atomics.load(beat, 0));
  // All of them: the routes of a director whose one worker has died lead part of its packets nowhere.
  if (now.every((value, index) => value !== last[index])) tell({ type: 'beat' });
  last = now;
}, BEAT_MS);

parentPort?.on('message', (message: ToKeeper | { readonly type: 'close' }) => {
  if (message.type === 'close') {
    closing = true;
    clearInterval(timer);
    if (keeper.connected) keeper.disconnect();
    else parentPort?.close();
    return;
  }
  if (message.type === 'texts') texts = message;
  else if (message.type === 'announce') announced = message;
  tell(message);
});
