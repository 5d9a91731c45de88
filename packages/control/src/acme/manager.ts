// Keeps ACME certificates alive: orders what is missing, renews when two thirds of a life are over, and waits longer after each failure.
import { X509Certificate } from 'node:crypto';
import { ACME_DIRECTORY } from '@openclb/model';
import type { Controller } from '../controller.ts';
import { KEY } from '../desired/keys.ts';
import type { StoredCertificate } from '../desired/state.ts';
import { compact } from '../edit/context.ts';
import type { StatusBoard } from '../status.ts';
import { type Challenge, newAccountKey, runOrder } from './order.ts';

export interface AcmeOptions {
  /** First pause after a failure; doubled with each, 6 h at most. A minute when left out. */
  readonly retryMs?: number;
  /** First pause between two questions about an order; a second when left out. */
  readonly pollMs?: number;
}

export interface AcmeManager {
  close(): Promise<void>;
}

const RETRY_MS = 60_000;
const RETRY_MS_MAX = 6 * 3_600_000;
const LOOK_MS_MAX = 3_600_000;
/** Proxies that have not taken the answers by then will not. */
const PRESENT_MS = 10_000;
const PROBLEM_CHARS_MAX = 500;

export function startAcme(
  controller: Controller,
  board: StatusBoard,
  nowMs: () => number,
  log: (message: string, data?: Record<string, unknown>) => void,
  { retryMs = RETRY_MS, pollMs }: AcmeOptions = {},
): AcmeManager {
  let isClosed = false;
  let running: Promise<void> | null = null;
  let timer: NodeJS.Timeout | undefined;
  const all = (): StoredCertificate[] => ordered(controller);
  const obtain = orders(controller, board, nowMs, log, retryMs, pollMs);
  const work = async (): Promise<void> => {
    for (;;) {
      const due = isClosed ? undefined : all().find((stored) => dueAt(stored) <= nowMs());
      if (due === undefined) return;
      await obtain(due);
    }
  };
  const look = (): void => {
    if (isClosed || running !== null) return;
    clearTimeout(timer);
    running = work()
      .catch((error: unknown) => log('orders of certificates stopped', { error: String(error) }))
      .finally(() => {
        running = null;
        if (isClosed) return;
        const nextMs = Math.min(LOOK_MS_MAX, ...all().map((stored) => dueAt(stored) - nowMs()));
        timer = setTimeout(look, Math.max(100, nextMs));
        timer.unref();
      });
  };
  controller.mirror.onChange(look);
  look();
  return {
    async close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

function ordered(controller: Controller): StoredCertificate[] {
  return [...controller.mirror.state.certificate.values()].filter(({ acme }) => acme !== undefined);
}

/** Runs one order and writes down what came of it. */
function orders(
  controller: Controller,
  board: StatusBoard,
  nowMs: () => number,
  log: (message: string, data?: Record<string, unknown>) => void,
  retryMs: number,
  pollMs: number | undefined,
): (stored: StoredCertificate) => Promise<void> {
  const put = async (id: string, change: (now: StoredCertificate) => StoredCertificate): Promise<number> => {
    const { revision } = await controller.run((edit) => {
      const now = edit.draft.get<StoredCertificate>(KEY.certificate(id));
      if (now !== undefined) edit.draft.put(KEY.certificate(id), change(now));
    });
    return revision;
  };
  const present = async (stored: StoredCertificate, accountKey: string, challenges: readonly Challenge[]) => {
    const revision = await put(stored.id, (now) => ({
      ...now,
      order: { failures: 0, nextAtMs: 0, ...now.order, accountKey, challenges: [...challenges] },
    }));
    await board.wait(revision, PRESENT_MS);
  };
  return async (stored: StoredCertificate): Promise<void> => {
    const accountKey = accountOf(stored, ordered(controller)) ?? (await newAccountKey());
    try {
      const issued = await runOrder(
        stored.acme!,
        accountKey,
        (answers) => present(stored, accountKey, answers),
        pollMs,
      );
      const notAfter = new Date(new X509Certificate(issued.certificate).validTo).toISOString();
      const order = { accountKey, failures: 0, nextAtMs: 0, challenges: [] };
      await put(
        stored.id,
        (now) =>
          compact({
            ...now,
            ...issued,
            state: 'issued',
            problem: undefined,
            ocsp: undefined,
            notAfter,
            order,
          }) as StoredCertificate,
      );
      log('a certificate was issued', { certificate: stored.id, notAfter });
    } catch (error) {
      const failures = (stored.order?.failures ?? 0) + 1;
      const nextAtMs = nowMs() + Math.min(RETRY_MS_MAX, retryMs * 2 ** (failures - 1));
      const reason = String((error as Error).message).slice(0, PROBLEM_CHARS_MAX);
      const problem = `${reason}; next try ${new Date(nextAtMs).toISOString()}`;
      log('a certificate could not be obtained', { certificate: stored.id, reason });
      const order = { accountKey, failures, nextAtMs, challenges: [] };
      await put(stored.id, (now) => ({ ...now, state: 'failed', problem, order }));
    }
  };
}

/** When an order is to begin: at once, when two thirds of the certificate's life are over, or after the pause of a failure. */
export function dueAt({ certificate, order, state }: StoredCertificate): number {
  const earliest = order?.nextAtMs ?? 0;
  if (certificate === undefined || state === 'waiting') return earliest;
  const { validFrom, validTo } = new X509Certificate(certificate);
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)];
  return Math.max(earliest, from + ((to - from) * 2) / 3);
}

/** One account an authority: the key of another certificate is used again. */
function accountOf(stored: StoredCertificate, all: readonly StoredCertificate[]): string | undefined {
  const authority = stored.acme?.directory ?? ACME_DIRECTORY;
  const known = all.find(({ acme, order }) => order !== undefined && (acme?.directory ?? ACME_DIRECTORY) === authority);
  return stored.order?.accountKey ?? known?.order?.accountKey;
}
