// What a person reads when a document is wrong: the field, the rule, the nearest known name.
import { expect, test } from 'vitest';
import {
  checkShape,
  Config,
  ERRORS,
  type ErrorCode,
  ClbError,
  ListenerInput,
  nearestKey,
  targetKind,
} from './index.ts';

test('a right document has no problems', () => {
  const document = {
    loadBalancers: [
      {
        name: 'web',
        listeners: [{ protocol: 'TCP', port: 80, targets: [{ vpc: 100, address: '10.0.0.2', port: 8080 }] }],
      },
    ],
  };
  expect(checkShape(Config, document)).toEqual([]);
});

test('an unknown key is named with its place and the nearest known one', () => {
  const [problem] = checkShape(Config, { loadBalancers: [{ name: 'web', listner: [] }] });
  expect(problem).toMatchObject({
    path: '/loadBalancers/0/listner',
    unknownKey: 'listner',
    hint: 'did you mean listeners?',
  });
});

test('every broken rule is named with its field', () => {
  const problems = checkShape(ListenerInput, { loadBalancer: 'web', protocol: 'TPC', port: 0, idleSeconds: '5' });
  expect(problems.map(({ path }) => path)).toEqual(['/loadBalancer', '/protocol', '/port', '/idleSeconds']);
  expect(problems[1]?.rule).toBe('must be one of TCP, UDP, HTTP, HTTPS, TCP_SSL');
});

test('a missing field is named itself, not its parent', () => {
  expect(checkShape(ListenerInput, { loadBalancer: 'lb-a' }).map(({ path, rule }) => `${path} ${rule}`)).toEqual([
    '/protocol is required',
    '/port is required',
  ]);
});

test('a name far from all others gets no suggestion', () => {
  expect(nearestKey('qqqqqqq', ['listeners', 'vips'])).toBeUndefined();
  expect(nearestKey('vip', ['listeners', 'vips'])).toBe('vips');
});

test.each([
  [{ port: 80 }, 'invalid'],
  [{ port: 80, instance: 'ins-a', physical: '10.0.0.1' }, 'invalid'],
  [{ port: 80, vpc: 100 }, 'invalid'],
  [{ port: 80, address: '10.0.0.1' }, 'invalid'],
  [{ port: 80, instance: 'ins-a', host: 'host1' }, 'invalid'],
  [{ port: 80, vpc: 100, address: '10.0.0.1', encapsulation: 'none' as const }, 'invalid'],
  [{ port: 80, instance: 'ins-a' }, 'instance'],
  [{ port: 80, vpc: 100, address: '10.0.0.1' }, 'vpc'],
  [{ port: 80, physical: '10.0.0.1' }, 'physical'],
])('target %j is of kind %s', (target, kind) => {
  expect(targetKind(target).kind).toBe(kind);
});

test('every error of the table fills its template and says what to do next', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const names = [...(ERRORS[code].template + ERRORS[code].hint).matchAll(/\{(\w+)\}/g)].map(
      (match) => match[1] ?? '',
    );
    const problem = new ClbError(code, Object.fromEntries(names.map((name) => [name, 'x']))).toProblem();
    expect(problem.detail).not.toMatch(/[{}]/);
    expect(problem.hint).toMatch(/\.$/);
    expect(problem.status).toBe(ERRORS[code].status);
  }
});
