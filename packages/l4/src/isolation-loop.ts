// Isolation of one running director: its timers, where it reads the load, and which part of a service's limits is its own (P33).
import { type DirectorImage } from '@openclb/model';
import { type DataPath } from './data-path.ts';
import { type DirectorTables } from './director-tables.ts';
import { Isolation, SAMPLE_EVERY_MS, SHARE_EVERY_MS, type LimitShare, type Watermark } from './isolation.ts';
import { type Log } from './log.ts';

export interface IsolationLoopOptions {
  readonly watermark: Watermark | undefined;
  readonly tables: DirectorTables;
  readonly path: DataPath;
  readonly log: Log;
  share(service: string): LimitShare;
}

export interface IsolationLoop {
  configure(image: DirectorImage): void;
  counters(): Record<string, number>;
  close(): void;
}

export function startIsolation({ watermark, tables, path, log, share }: IsolationLoopOptions): IsolationLoop {
  const isolation = new Isolation({
    watermark,
    log,
    share,
    read() {
      const { cpuMicroseconds = 0, cpuAtMs = 0 } = path.counters();
      const passed = tables.served();
      return {
        nowMs: performance.now(),
        cpuMicroseconds,
        cpuAtMs,
        packets: tables.core.counters()['received'] ?? 0,
        passed,
      };
    },
    counters: (service) => tables.meters.counters(service),
    limit: (service, limits) => tables.meters.limit(service, limits),
  });
  const sampling = setInterval(() => isolation.sample(), SAMPLE_EVERY_MS);
  const dividing = setInterval(() => isolation.divide(), SHARE_EVERY_MS);
  return {
    configure: (image) => isolation.configure(image),
    counters: () => isolation.counters(),
    close() {
      clearInterval(sampling);
      clearInterval(dividing);
    },
  };
}
