// What flow sync lives in: clocks, timers and sockets. The machine's own, or those of a simulation, where a seed replays exactly.
import { clock } from './clock.ts';
import { openSyncSocket } from './sync-socket.ts';

export interface SyncWorld {
  /** Milliseconds of the data path: a u32 that wraps. */
  clock(): number;
  /** Unix time in milliseconds. */
  unixMs(): number;
  sleep(ms: number): Promise<void>;
  /** Returns what ends it. */
  every(ms: number, turn: () => void): () => void;
  open: typeof openSyncSocket;
}

export const MACHINE: SyncWorld = {
  clock,
  unixMs: () => Date.now(),
  sleep: (ms) => new Promise((resolve) => void setTimeout(resolve, ms)),
  every(ms, turn) {
    const timer = setInterval(turn, ms);
    return () => clearInterval(timer);
  },
  open: openSyncSocket,
};
