// clb explain: addresses as people write them, and the walk as they read it.
import { expect, test } from 'vitest';
import { table } from '../output.ts';
import { parseEndpoint, renderExplanation } from './explain.ts';

test('addresses with ports are read in both families, and what is wrong with others is said', () => {
  expect(parseEndpoint('198.51.100.10:40000', 'tcp')).toEqual({ address: '198.51.100.10', port: 40000 });
  expect(parseEndpoint('[2001:db8::1]:80', 'tcp')).toEqual({ address: '2001:db8::1', port: 80 });
  expect(parseEndpoint('198.51.100.10', 'icmp')).toEqual({ address: '198.51.100.10', port: 0 });
  expect(() => parseEndpoint('2001:db8::1:80', 'tcp')).toThrow("'2001:db8::1:80' has no port");
  expect(() => parseEndpoint('198.51.100.10', 'udp')).toThrow("'198.51.100.10' has no port");
  expect(() => parseEndpoint('198.51.100.10:70000', 'udp')).toThrow('no port from 0 to 65535');
  expect(() => parseEndpoint('www.example.com:80', 'tcp')).toThrow('has no IP address');
});

test('a walk reads from top to bottom and ends with the verdict and its reason', () => {
  const step = (name: string, text: string) => ({ step: name, text, data: {} });
  const answer = {
    node: 'ld1',
    generation: { revision: 7, compiler: 1 },
    verdict: 'drop',
    reason: 'NoTarget',
    steps: [step('classify', 'listener lbl-a'), step('schedule', 'no target is alive')],
  };
  expect(renderExplanation(answer, 'tcp a -> b')).toBe(
    [
      'tcp a -> b on ld1 (generation 7.1)',
      '',
      '  1. classify  listener lbl-a',
      '  2. schedule  no target is alive',
      '',
      'verdict: drop: NoTarget',
    ].join('\n'),
  );
  expect(renderExplanation({ ...answer, verdict: 'forward', reason: '' }, 'x')).toMatch(/verdict: forward$/);
});

test('text from elsewhere cannot steer the terminal', () => {
  expect(table(['NAME'], [['web\u001b[2J\nx']])).toBe('NAME\nweb?[2J?x');
});
