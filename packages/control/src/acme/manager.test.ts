// When a certificate is ordered again: the rule alone, with certificates made by openssl.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { dueAt } from './manager.ts';

const DAY_MS = 86_400_000;
const certificate = execFileSync(
  'openssl',
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=a.test -days 90'.split(' '),
  { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
);
const base = { id: 'cert-a', name: 'a', acme: { domains: ['a.test'] } };
const order = { accountKey: '', failures: 0, nextAtMs: 0, challenges: [] };

test('a certificate is renewed when two thirds of its life are over', () => {
  const due = dueAt({ ...base, certificate, state: 'issued', order });
  expect(Math.abs(due - Date.now() - 60 * DAY_MS)).toBeLessThan(60_000);
});

test('a missing one, and one whose names have changed, are ordered at once, but not before the pause of a failure', () => {
  expect(dueAt(base)).toBe(0);
  expect(dueAt({ ...base, certificate, state: 'waiting', order })).toBe(0);
  expect(dueAt({ ...base, state: 'failed', order: { ...order, nextAtMs: 5 } })).toBe(5);
  const late = Date.now() + 80 * DAY_MS;
  expect(dueAt({ ...base, certificate, state: 'failed', order: { ...order, nextAtMs: late } })).toBe(late);
});
