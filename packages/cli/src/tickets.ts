// TLS ticket secrets of a proxy node: asked of the controller, put to use when their day begins, also while no controller is there.
import type { TicketSecrets } from '@openclb/model';
import type { Running } from './role.ts';

const ASK_EVERY_MS = 60 * 60 * 1000;
const TIMER_MS_MAX = 24 * 60 * 60 * 1000;

/** Null while the day of neither has come or both are over: then a secret of the proxy's own is better than an old one. */
export function secretAt({ secret, next, changesAtMs }: TicketSecrets, nowMs: number): Buffer | null {
  const periodMs = 24 * 60 * 60 * 1000;
  if (nowMs >= changesAtMs + periodMs || nowMs < changesAtMs - periodMs) return null;
  return Buffer.from(nowMs < changesAtMs ? secret : next, 'base64');
}

export async function followTickets(
  find: () => Promise<TicketSecrets | undefined>,
  use: (secret: Buffer) => void,
  nowMs: () => number = Date.now,
): Promise<Running> {
  let known: TicketSecrets | undefined;
  let used = '';
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  const turn = async (): Promise<void> => {
    known = (await find()) ?? known;
    const secret = known === undefined ? null : secretAt(known, nowMs());
    if (secret !== null && secret.toString('base64') !== used) {
      used = secret.toString('base64');
      use(secret);
    }
    if (isClosed) return;
    const untilChange = known === undefined ? ASK_EVERY_MS : known.changesAtMs - nowMs();
    const wait = untilChange > 0 ? Math.min(untilChange + 1, ASK_EVERY_MS) : ASK_EVERY_MS;
    timer = setTimeout(() => void turn(), Math.min(wait, TIMER_MS_MAX)).unref();
  };
  await turn();
  return {
    close: () => {
      isClosed = true;
      clearTimeout(timer);
      return Promise.resolve();
    },
  };
}
