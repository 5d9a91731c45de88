// Configuration files: every error has a line, a column and a way out.
import { expect, test } from 'vitest';
import type { Schema } from '../schema.ts';
import { checkSource } from './check.ts';
import { formatIssues, locate, parseSource } from './source.ts';

const target: Schema = {
  anyOf: [
    {
      type: 'object',
      additionalProperties: false,
      required: ['instance', 'port'],
      properties: { instance: { type: 'string' }, port: { type: 'integer', minimum: 1, maximum: 65535 } },
    },
    {
      type: 'object',
      additionalProperties: false,
      required: ['physical', 'port'],
      properties: { physical: { type: 'string' }, port: { type: 'integer', minimum: 1, maximum: 65535 } },
    },
  ],
};
const schema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['listeners'],
  properties: {
    name: { type: 'string', maxLength: 10 },
    listeners: {
      type: 'array',
      maxItems: 2,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['protocol'],
        properties: {
          protocol: { enum: ['TCP', 'HTTP'] },
          port: { type: 'integer', minimum: 1, maximum: 65535 },
          targets: { type: 'array', items: target },
        },
      },
    },
  },
};

function complaints(text: string): string[] {
  const { source, issues } = parseSource(text, 'lb.yaml');
  const all = issues.length > 0 ? issues : checkSource(source, schema).issues;
  return all.map((issue) => `${issue.line}:${issue.column} ${issue.message}`);
}

test('a correct file becomes its plain value', () => {
  const text = 'name: web\nlisteners:\n  - { protocol: TCP, port: 80, targets: [{ instance: vm-1, port: 8080 }] }\n';
  const { source } = parseSource(text, 'lb.yaml');
  const listener = { protocol: 'TCP', port: 80, targets: [{ instance: 'vm-1', port: 8080 }] };
  expect(checkSource(source, schema)).toEqual({ value: { name: 'web', listeners: [listener] }, issues: [] });
});

test('an unknown key is refused with its line, its column and the nearest known key', () => {
  expect(complaints('listeners:\n  - protocol: TCP\n    prot: 80\n')).toEqual([
    "3:5 unknown key 'prot'; did you mean 'port'?",
  ]);
  expect(complaints('listeners: []\n__proto__: {a: 1}\n')).toEqual([
    "2:1 unknown key '__proto__'; known here: name, listeners",
  ]);
});

test('values of a wrong kind, size or word are refused where they stand', () => {
  expect(complaints('name: 12\nlisteners: []\n')).toEqual(["1:7 expected text, found '12'; put it in quotes: '12'"]);
  expect(complaints('listeners:\n  - protocol: HTPP\n    port: 99999\n')).toEqual([
    "2:15 'HTPP' is not one of TCP, HTTP; did you mean 'HTTP'?",
    '3:11 99999 is not between 1 and 65535',
  ]);
  expect(complaints('name: x\n')).toEqual(["1:1 'listeners' is missing"]);
  expect(complaints('listeners: 5\n')).toEqual(["1:12 expected a list, found '5'"]);
});

test('an error inside one of several alternatives speaks of the alternative that was meant', () => {
  expect(complaints('listeners:\n  - protocol: TCP\n    targets:\n      - { physical: 10.0.0.1, prot: 80 }\n')).toEqual(
    ["4:31 unknown key 'prot'; did you mean 'port'?", "4:9 'port' is missing"],
  );
});

test('broken YAML and doubled keys have positions too', () => {
  expect(complaints('listeners:\n  - protocol: TCP\n   port: 80\n')[0]).toMatch(/^\d:\d+ /);
  expect(complaints('listeners: []\nlisteners: []\n')).toEqual(['2:1 Map keys must be unique']);
});

test('an alias bomb is refused in bounded time', () => {
  const levels = Array.from({ length: 9 }, (_, n) => `a${n + 1}: &a${n + 1} [${Array(9).fill(`*a${n}`).join(', ')}]`);
  const { source } = parseSource(`a0: &a0 [x]\n${levels.join('\n')}\n`, 'lb.yaml');
  expect(checkSource(source, {}).issues.map((issue) => issue.message)).toContain('too deep or too many values');
});

test("a controller's field points back into the text", () => {
  const { source } = parseSource('listeners:\n  - protocol: TCP\n    port: 80\n', 'lb.yaml');
  expect(locate(source, '/listeners/0/port')).toEqual({ line: 3, column: 5 });
  const named = parseSource('loadBalancers:\n  - name: a\n  - name: b\n    vips: [x]\n', 'lb.yaml').source;
  expect(locate(named, '/loadBalancers/b/vips/0')).toEqual({ line: 4, column: 12 });
  expect(locate(source, 'listeners[0].targets')).toEqual({ line: 2, column: 5 });
  const message = formatIssues(source, [{ path: 'x', message: 'taken', line: 3, column: 5 }]);
  expect(message).toBe('lb.yaml:3:5: taken\n        port: 80\n        ^');
});
