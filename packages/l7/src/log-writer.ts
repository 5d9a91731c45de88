// Access log lines to a file or a descriptor, written in batches off the hot path: one system call for many requests.
import { closeSync, openSync, write } from 'node:fs';
import type { AccessRecord } from './phase/log.ts';

const BATCH_BYTES = 64 * 1024;
const BACKLOG_BYTES_MAX = 8 * 1024 * 1024;

export interface LogWriter {
  readonly write: (record: AccessRecord) => void;
  /** Lines that were thrown away because the disk did not keep up. */
  readonly lost: () => number;
  close(): Promise<void>;
}

export interface LogWriterOptions {
  readonly path: string;
  readonly format?: 'combined' | 'json';
  readonly flushMs?: number;
}

export function createLogWriter({ path, format = 'combined', flushMs = 1000 }: LogWriterOptions): LogWriter {
  const descriptor = openSync(path, 'a');
  const lineOf = format === 'json' ? jsonLine : combinedLine;
  let pending = '';
  let inFlight = 0;
  let lost = 0;
  let onIdle: (() => void) | null = null;
  const flush = (): void => {
    if (pending === '' || inFlight > 0) return;
    const batch = Buffer.from(pending);
    pending = '';
    inFlight = batch.length;
    const next = (from: number): void =>
      write(descriptor, batch, from, batch.length - from, null, (error, written) => {
        if (error === null && from + written < batch.length) return next(from + written);
        inFlight = 0;
        if (pending.length >= BATCH_BYTES || (onIdle !== null && pending !== '')) flush();
        else onIdle?.();
      });
    next(0);
  };
  const timer = setInterval(flush, flushMs);
  timer.unref();
  return {
    write: (record) => {
      if (pending.length > BACKLOG_BYTES_MAX) {
        lost++;
        return;
      }
      pending += lineOf(record);
      if (pending.length >= BATCH_BYTES) flush();
    },
    lost: () => lost,
    close: async () => {
      clearInterval(timer);
      const { promise, resolve } = Promise.withResolvers<void>();
      onIdle = resolve;
      flush();
      if (inFlight > 0) await promise;
      closeSync(descriptor);
    },
  };
}

let clockSecond = -1;
let clockText = '';

/** Seconds do not change often, so their text is made once. */
function timeText(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second !== clockSecond) {
    clockSecond = second;
    clockText = new Date(second * 1000).toISOString().replace('.000Z', '+00:00');
  }
  return clockText;
}

function combinedLine(record: AccessRecord): string {
  return `${record.remoteAddress} [${timeText(record.time)}] ${record.host} "${escaped(record.method)} ${escaped(record.target)}" ${record.status} ${record.responseBytes} ${record.upstreamAddress || '-'} ${(record.requestMs / 1000).toFixed(3)} ${record.failure || '-'}\n`;
}

function jsonLine(record: AccessRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** What a client writes must not end the quotes. */
function escaped(text: string): string {
  return text.includes('"') || text.includes('\\') ? text.replaceAll(/["\\]/g, (char) => `\\${char}`) : text;
}
