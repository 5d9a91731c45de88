// Session ticket keys (RFC 5077, RFC 8446 4.6.1) that workers and nodes share without talking: all derive the key of a period from
// one secret. A ticket of an earlier period costs its client one full handshake.
import { hkdfSync, randomBytes } from 'node:crypto';

const KEY_BYTES = 48;
export const TICKET_PERIOD_MS = 12 * 60 * 60 * 1000;

export class TicketKeys {
  #secret: Buffer;
  readonly #periodMs: number;
  #timer: NodeJS.Timeout | null = null;

  constructor(secret: Uint8Array | undefined, periodMs: number = TICKET_PERIOD_MS) {
    this.#secret = checked(secret ?? randomBytes(32));
    this.#periodMs = periodMs;
  }

  set(secret: Uint8Array): void {
    this.#secret = checked(secret);
  }

  at(now: number): Buffer {
    const period = Math.floor(now / this.#periodMs);
    return Buffer.from(hkdfSync('sha256', this.#secret, '', `openclb session tickets ${period}`, KEY_BYTES));
  }

  /** Calls back at the start of each period. */
  start(onPeriod: () => void): void {
    this.#timer = setTimeout(
      () => {
        onPeriod();
        this.start(onPeriod);
      },
      this.#periodMs - (Date.now() % this.#periodMs) + 1,
    );
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function checked(secret: Uint8Array): Buffer {
  if (secret.length < 32) throw new RangeError('a ticket secret has 32 bytes or more');
  return Buffer.from(secret);
}
