// Which ports a role wants open and what is steered to them: opened once, and told again to every worker that comes after the first.
import { type Log } from './log.ts';
import { type OurAddresses, steerChanges } from './ours.ts';
import { type PortInfo, type PortRequest, type ToWorker } from './worker-messages.ts';

export interface PortBook {
  /** Resolves when the worker has opened it; `isReady` says whether a worker takes messages now. */
  open(request: PortRequest, isReady: boolean): Promise<PortInfo>;
  close(index: number): void;
  steer(index: number, ours: OurAddresses): void;
  /** A worker is up: it has no ports yet. */
  openAll(): void;
  opened(info: PortInfo): void;
  notOpened(index: number, reason: string): void;
  /** No worker will come any more. */
  rejectAll(error: Error): void;
}

interface Wanted {
  readonly request: PortRequest;
  ours: OurAddresses;
  settle: { resolve(port: PortInfo): void; reject(error: Error): void } | null;
}

const REOPEN_MS = 1_000;

export function createPortBook(
  post: (message: ToWorker) => void,
  onPort: (port: PortInfo) => void,
  log: Log,
): PortBook {
  const ports = new Map<number, Wanted>();
  return {
    open: (request, isReady) =>
      new Promise((resolve, reject) => {
        ports.set(request.index, { request, ours: new Map(), settle: { resolve, reject } });
        if (isReady) post({ type: 'open', port: request });
      }),
    close(index) {
      if (ports.delete(index)) post({ type: 'closePort', index });
    },
    steer(index, ours) {
      const port = ports.get(index);
      if (port === undefined) return;
      // A port that is being opened again is told all of it then.
      if (port.settle === null) post({ type: 'steer', index, rows: steerChanges(port.ours, ours) });
      port.ours = ours;
    },
    openAll() {
      for (const { request } of ports.values()) post({ type: 'open', port: request });
    },
    opened(info) {
      const port = ports.get(info.index);
      if (port === undefined) return;
      post({ type: 'steer', index: info.index, rows: steerChanges(new Map(), port.ours) });
      onPort(info);
      port.settle?.resolve(info);
      port.settle = null;
    },
    notOpened(index, reason) {
      const port = ports.get(index);
      if (port?.settle === null) {
        log.error({ port: index, reason }, 'a port did not come back after the worker was remade; trying again');
        setTimeout(() => ports.get(index) === port && post({ type: 'open', port: port.request }), REOPEN_MS).unref();
      } else {
        ports.delete(index);
        port?.settle?.reject(new Error(reason));
      }
    },
    rejectAll(error) {
      for (const port of ports.values()) port.settle?.reject(error);
    },
  };
}
