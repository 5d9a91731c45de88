// The announcer that speaks BGP and OSPF through BIRD 2 (data-plane.md P2). The director tells it what to announce; who looks after the truth
// of it when the director cannot speak any more is the keeper.
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type DirectorImage } from '@openclb/model';
import { type Announcer } from '../announcer.ts';
import { type Log, messageOf } from '../log.ts';
import { type BirdOptions, announcedSet, birdConfig, routeLines } from './config.ts';
import { type BirdStatus, type FromKeeper, type PulseStart, type ToKeeper } from './messages.ts';

export interface BirdAnnouncerOptions extends BirdOptions {
  /** BIRD's files lie in `<stateDir>/bird`. */
  readonly stateDir: string;
  readonly memory: SharedArrayBuffer;
  /** Where in it each packet worker's pulse is. */
  readonly pulses: readonly number[];
  readonly log: Log;
}

const SETTLE_MS_MAX = 3_000;
const CLOSE_MS_MAX = 2_500;

export function startBirdAnnouncer(options: BirdAnnouncerOptions): Announcer {
  const directory = resolve(join(options.stateDir, 'bird'));
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { log } = options;
  const workerData: PulseStart = { directory, memory: options.memory, pulses: options.pulses };
  const thread = new Worker(new URL(import.meta.resolve('@openclb/l4/bird-pulse')), { workerData, name: 'clb-pulse' });
  const settled: (() => void)[] = [];
  let isOut = false;
  let isDraining = false;
  const now = (): ToKeeper => ({ type: 'announce', service: isOut && !isDraining, tunnels: isOut });
  let status: BirdStatus = { isAnnounced: false, sessionsUp: 0, sessions: 0, trouble: null };
  thread.on('error', (error) => log.error({ reason: messageOf(error) }, 'the thread beside BIRD has failed'));
  thread.on('message', (message: FromKeeper) => {
    if (message.type === 'status') status = message.status;
    else if (message.type === 'log') log[message.level]({}, message.text);
    else for (const one of settled.splice(0)) one();
  });

  /** Resolves when BIRD has it; without BIRD after a while, because traffic by other routes may go on. */
  function tell(...messages: readonly ToKeeper[]): Promise<void> {
    const done = new Promise<void>((finish) => {
      const timer = setTimeout(finish, SETTLE_MS_MAX);
      settled.push(() => (clearTimeout(timer), finish()));
    });
    for (const message of messages) thread.postMessage(message);
    return done;
  }

  return {
    announce(image: DirectorImage) {
      const { service, tunnels } = announcedSet(image);
      const texts = {
        config: birdConfig(options, image.self.underlay, image.self.ordinal, directory),
        service: { 4: routeLines(service, 4), 6: routeLines(service, 6) },
        tunnels: { 4: routeLines(tunnels, 4), 6: routeLines(tunnels, 6) },
      };
      isOut = true;
      return tell({ type: 'texts', texts }, now());
    },
    drain(draining) {
      isDraining = draining;
      return tell(now());
    },
    withdraw() {
      isOut = false;
      return tell(now());
    },
    counters: () => ({
      'announcer.announced': Number(status.isAnnounced),
      'announcer.sessions': status.sessions,
      'announcer.sessionsUp': status.sessionsUp,
    }),
    async close() {
      const gone = new Promise<void>((finish) => thread.once('exit', () => finish()));
      thread.postMessage({ type: 'close' });
      const timer = setTimeout(() => void thread.terminate(), CLOSE_MS_MAX);
      await gone;
      clearTimeout(timer);
    },
  };
}
