// Keys of SYN cookies (data-plane.md P26): HKDF (RFC 5869) of the cluster secret and the epoch, so directors agree
// without a word. Main thread of a director, every few seconds: writeCookieKeys(memory, address, await
// cookieKeys(secret, Date.now()), Date.now() - nowMs).
import { CookieState, meterLimits } from '../layout/index.ts';
import type { LinearMemory } from './plan.ts';

/**
 * The keys that a node accepts at a time: of the last epoch, this one and the next (data-plane.md P26); 16 bytes
 * each.
 */
export interface CookieKeys {
  /** ⌊unix time / 64 s⌋. */
  readonly epoch: number;
  /** SipHash keys, 16 bytes each, of the epoch before, this epoch, and the one after. */
  readonly keys: readonly [Uint8Array, Uint8Array, Uint8Array];
}

const SECRET_BYTES_MIN = 16;
const KEY_BITS = 128;
const SALT = new TextEncoder().encode('openclb syn cookie');
const { at } = CookieState;

/** Number of the epoch, 64 seconds each, of a unix time in milliseconds. */
export function cookieEpoch(unixMs: number): number {
  return Math.floor(unixMs / meterLimits.COOKIE_EPOCH_MS);
}

/**
 * The keys that are valid at a unix time in milliseconds: a cookie lives for 64 to 128 seconds, and clocks may differ
 * by a minute. Rejects with a RangeError for a secret of less than 16 bytes; in browsers it needs a secure context
 * (WebCrypto).
 */
export async function cookieKeys(secret: Uint8Array, unixMs: number): Promise<CookieKeys> {
  if (secret.length < SECRET_BYTES_MIN)
    throw new RangeError(`The cluster secret has ${secret.length} bytes; at least ${SECRET_BYTES_MIN} are needed`);
  const key = await crypto.subtle.importKey('raw', Uint8Array.from(secret), 'HKDF', false, ['deriveBits']);
  const epoch = cookieEpoch(unixMs);
  const [before, now, after] = await Promise.all([epoch - 1, epoch, epoch + 1].map((of) => derive(key, of)));
  return { epoch, keys: [before as Uint8Array, now as Uint8Array, after as Uint8Array] };
}

async function derive(key: CryptoKey, epoch: number): Promise<Uint8Array> {
  const info = new Uint8Array(8);
  new DataView(info.buffer).setBigUint64(0, BigInt(epoch));
  return new Uint8Array(
    await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: SALT, info }, key, KEY_BITS),
  );
}

/**
 * Puts keys into the CookieState at `address` while workers use it. From one epoch to the next only the key is written
 * that nobody may use yet, then the epoch; after a leap of the clock workers refuse cookies for the moment that it
 * takes. `clockMs` is unix time minus the time of the bursts, in milliseconds: the clock of our timestamps.
 */
export function writeCookieKeys(memory: LinearMemory, address: number, keys: CookieKeys, clockMs: number): void {
  const words = new Int32Array(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const word = (field: 'isReady' | 'epoch' | 'clockMs'): number => (address + at[field]) / 4;
  const epoch = keys.epoch | 0;
  Atomics.store(words, word('clockMs'), Math.floor(clockMs % 2 ** 32) | 0);
  const isReady = Atomics.load(words, word('isReady')) === 1;
  const previous = Atomics.load(words, word('epoch'));
  if (isReady && previous === epoch) return;
  const isNext = isReady && previous === ((epoch - 1) | 0);
  if (!isNext) Atomics.store(words, word('isReady'), 0);
  for (const [index, key] of keys.keys.entries()) {
    if (isNext && index < 2) continue;
    bytes.set(key, address + at.key0Low + ((epoch - 1 + index) & 3) * 16);
  }
  Atomics.store(words, word('epoch'), epoch);
  Atomics.store(words, word('isReady'), 1);
}
