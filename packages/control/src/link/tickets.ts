// Secrets of TLS session tickets (RFC 8446 4.6.1): every proxy of the cluster has the same at the same time, so that a session
// resumes on any of them, and a new one each day. Nodes are given the secret of this day and of the next and never what they come
// from, so a stolen node opens two days of tickets and no more.
import { hkdfSync, randomBytes } from 'node:crypto';
import type { TicketSecrets } from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type { Store } from '../desired/store.ts';

export const TICKET_SECRET_PERIOD_MS = 24 * 60 * 60 * 1000;
const SECRET_BYTES = 32;

export interface TicketSource {
  now(): TicketSecrets;
}

/** All controllers of one store have one root: whoever comes first makes it. */
export async function openTickets(store: Store, nowMs: () => number): Promise<TicketSource> {
  const fresh = JSON.stringify(randomBytes(SECRET_BYTES).toString('base64'));
  await store.commit([{ key: KEY.ticketRoot, revision: 0 }], [{ type: 'put', key: KEY.ticketRoot, value: fresh }]);
  const entry = await store.get(KEY.ticketRoot);
  if (entry === undefined) throw new Error('the store has not kept the root of ticket secrets');
  const root = Buffer.from(JSON.parse(entry.value) as string, 'base64');
  const of = (period: number): string =>
    Buffer.from(hkdfSync('sha256', root, '', `openclb ticket secret ${period}`, SECRET_BYTES)).toString('base64');
  return {
    now() {
      const period = Math.floor(nowMs() / TICKET_SECRET_PERIOD_MS);
      return { secret: of(period), next: of(period + 1), changesAtMs: (period + 1) * TICKET_SECRET_PERIOD_MS };
    },
  };
}
