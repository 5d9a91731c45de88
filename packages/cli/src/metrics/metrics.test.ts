// The account of packets and the text format, on counters made up for it. A whole director is scraped in e2e/metrics.e2e.test.ts.
import { expect, test } from 'vitest';
import { accountOf, imbalance } from './packet.ts';
import { metricName, metricsText } from './text.ts';

test('an account that lost a packet does not balance', () => {
  const counters = { 'core.received': 10, 'core.forwarded': 8, 'core.dropped': 2, 'core.reason.NoFlow': 2 };
  expect(imbalance(accountOf(counters))).toBe(0);
  expect(imbalance(accountOf({ ...counters, 'core.received': 11 }))).toBe(1);
  expect(imbalance(accountOf({ ...counters, 'core.reason.NoFlow': 1 }))).toBe(1);
});

test('probes, heartbeats and held packets keep the account even', () => {
  const counters = {
    // 5 came; 2 probes and 1 held packet went through the core as well.
    'core.received': 8,
    'core.forwarded': 4,
    'core.punted': 2,
    'core.held': 2,
    'core.reason.Unresolved': 2,
    'core.reason.Probe': 2,
    'worker.probes': 2,
    'worker.heartbeats': 1,
    'worker.heldSent': 1,
    'worker.heldExpired': 1,
    'port0.txRingFull': 1,
  };
  const account = accountOf(counters);
  expect(imbalance(account)).toBe(0);
  expect(account).toMatchObject({ received: 5, generated: 3, transmitted: 4, punted: 1, held: 0 });
  expect(account.dropped).toMatchObject({ HeldExpired: 1, PortTxRingFull: 1 });
});

test('labels are escaped, families of one name are one, and empty ones are left out', () => {
  const family = { name: 'a_total', type: 'counter', help: 'two\nlines' } as const;
  const text = metricsText([
    { ...family, samples: [{ labels: { name: 'a"b\\c\nd' }, value: 1 }] },
    { ...family, samples: [{ value: Number.POSITIVE_INFINITY }] },
    { ...family, name: 'none', samples: [] },
  ]);
  expect(text).toBe(
    '# HELP a_total two\\nlines\n# TYPE a_total counter\na_total{name="a\\"b\\\\c\\nd"} 1\na_total +Inf\n',
  );
  expect(metricName('core.flowsPickedUp')).toBe('clb_core_flows_picked_up');
});
