// Keys of SYN cookies (data-plane.md P26): derived from the secret of the cluster and the time, so that every director checks what every
// other has made. A director that stands alone takes a secret of its own.
import { randomBytes } from 'node:crypto';
import { cookieKeys, type LinearMemory, type MemoryPlan, writeCookieKeys } from '@openclb/core-wasm';
import { type DirectorImage } from '@openclb/model';
import { clock } from './clock.ts';
import { type Log, messageOf } from './log.ts';

/** A key is valid for a minute and more on either side of its own. */
const RENEW_MS = 5_000;
const SECRET_BYTES = 32;

export interface Cookies {
  /** Takes the secret of a new image; resolves when the keys are in place. */
  configure(image: DirectorImage): Promise<void>;
  close(): void;
}

export function startCookies(options: {
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  readonly log: Log;
}): Cookies {
  const { plan, memory, log } = options;
  const own = randomBytes(SECRET_BYTES);
  let secret: Uint8Array | null = null;

  async function renew(): Promise<void> {
    if (secret === null) return;
    const unixMs = Date.now();
    writeCookieKeys(memory, plan.map.cookies, await cookieKeys(secret, unixMs), unixMs - clock());
  }

  const timer = setInterval(() => {
    renew().catch((error: unknown) => log.error({ reason: messageOf(error) }, 'no new keys for SYN cookies'));
  }, RENEW_MS).unref();
  return {
    async configure({ sync }) {
      secret = sync === undefined ? own : Buffer.from(sync.secret, 'hex');
      await renew();
    },
    close: () => clearInterval(timer),
  };
}
