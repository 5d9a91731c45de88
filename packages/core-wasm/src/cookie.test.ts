// Keys of SYN cookies: HKDF as Node's own implementation computes it, epochs by the clock, and a hand-over that workers never see half of.
import { hkdfSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { CookieState } from '../layout/index.ts';
import { cookieEpoch, cookieKeys, writeCookieKeys } from './index.ts';

const SECRET = Uint8Array.from({ length: 32 }, (_, index) => index);
const NOW = 1_790_000_000_000;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function expected(epoch: number): string {
  const info = Buffer.alloc(8);
  info.writeBigUInt64BE(BigInt(epoch));
  return Buffer.from(hkdfSync('sha256', SECRET, 'openclb syn cookie', info, 16)).toString('hex');
}

test('a key is HKDF-SHA256 of secret and epoch; three epochs are valid at a time', async () => {
  const { epoch, keys } = await cookieKeys(SECRET, NOW);
  expect(epoch).toBe(Math.floor(NOW / 64_000));
  expect(keys.map(hex)).toEqual([expected(epoch - 1), expected(epoch), expected(epoch + 1)]);
  expect(cookieEpoch(NOW + 64_000)).toBe(epoch + 1);
});

test('a secret that is too short is refused', async () => {
  await expect(cookieKeys(new Uint8Array(15), NOW)).rejects.toThrow(RangeError);
});

test('from one epoch to the next no key in use is touched; after a leap all are replaced', async () => {
  const memory = { buffer: new SharedArrayBuffer(256) };
  const view = new DataView(memory.buffer);
  const slot = (epoch: number): string =>
    hex(new Uint8Array(memory.buffer).slice(64 + 16 + (epoch & 3) * 16, 64 + 32 + (epoch & 3) * 16));
  const first = await cookieKeys(SECRET, NOW);
  const { epoch } = first;
  writeCookieKeys(memory, 64, first, 5_000_000_123);
  expect(view.getUint32(64 + CookieState.at.clockMs, true)).toBe(5_000_000_123 % 2 ** 32);
  // A mark in the keys that stay shows whether they are written again.
  const next = await cookieKeys(SECRET, NOW + 64_000);
  const marked = { epoch: next.epoch, keys: [new Uint8Array(16), new Uint8Array(16), next.keys[2]] as const };
  writeCookieKeys(memory, 64, marked, 0);
  expect([epoch - 1, epoch, epoch + 1, epoch + 2].map(slot)).toEqual(
    [epoch - 1, epoch, epoch + 1, epoch + 2].map(expected),
  );
  expect([view.getUint32(64, true), view.getUint32(68, true)]).toEqual([1, epoch + 1]);
  const later = await cookieKeys(SECRET, NOW + 10 * 64_000);
  writeCookieKeys(memory, 64, later, 0);
  expect([epoch + 9, epoch + 10, epoch + 11].map(slot)).toEqual([epoch + 9, epoch + 10, epoch + 11].map(expected));
});
