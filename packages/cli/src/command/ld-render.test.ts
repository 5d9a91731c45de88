// `clb ld list` next to what ipvsadm -Ln prints for the same service: columns, words and order are those of its manual page.
import type { LookListener } from '@openclb/model';
import { expect, test } from 'vitest';
import { renderFlows, renderListeners, shortNumber } from './ld-render.ts';

const traffic = { packetsIn: 100, bytesIn: 6_400, packetsOut: 90, bytesOut: 5_000, flowsCreated: 10 };
const listener: LookListener = {
  ...traffic,
  name: 'web of lb-1',
  protocol: 'tcp',
  vip: '203.0.113.10',
  vport: 80,
  net: 0,
  scheduler: 'wrr',
  targets: [
    {
      ...traffic,
      name: 'vm-1',
      address: '10.0.0.2',
      port: 8080,
      net: 100,
      forward: 'Gre',
      weight: 10,
      health: 'Dead',
      active: 3,
      inactive: 1,
    },
  ],
};
const lines = (text: string): string[] => text.split('\n');

test('the list is that of ipvsadm', () => {
  expect(lines(renderListeners([{ node: 'ld1', listeners: [listener] }], 'flows', true))).toEqual([
    'director ld1',
    'Prot LocalAddress:Port Scheduler',
    '  -> RemoteAddress:Port          Forward Weight ActiveConn InActConn',
    'TCP  203.0.113.10:80 wrr',
    '  -> 10.0.0.2:8080               Gre     10     3          1',
  ]);
});

test('without -n the names of resources stand behind, and what is not alive is said', () => {
  const text = renderListeners([{ node: 'ld1', listeners: [listener] }], 'flows', false);
  expect(text).toContain('TCP  203.0.113.10:80 wrr  # web of lb-1');
  expect(text).toMatch(/10\.0\.0\.2:8080 .* # vm-1, Dead$/);
});

test('rates are differences over the seconds between, and stats are totals', () => {
  const before = { ...listener, packetsIn: 50, bytesIn: 6_400, targets: [] };
  const rate = renderListeners([{ node: 'ld1', listeners: [listener], before: [before], seconds: 2 }], 'rate', true);
  expect(lines(rate)[3]!.split(/ +/).slice(2)).toEqual(['0', '25', '0', '0', '0']);
  const stats = renderListeners([{ node: 'ld1', listeners: [listener] }], 'stats', true);
  expect(lines(stats)[4]!.trim().split(/ +/).slice(2)).toEqual(['10', '100', '90', '6400', '5000']);
});

test('large numbers are shortened as ipvsadm does, and addresses of IPv6 are bracketed', () => {
  expect([99_999_999, 123_456_789, 123_456_789_012].map(shortNumber)).toEqual(['99999999', '123456K', '123456M']);
  const v6 = { ...listener, vip: '2001:db8::1' };
  expect(renderListeners([{ node: 'ld1', listeners: [v6] }], 'flows', true)).toContain('TCP  [2001:db8::1]:80 wrr');
});

test('no flows is said in words', () => {
  expect(renderFlows([{ node: 'ld1', rows: [] }])).toBe('no flows');
});
