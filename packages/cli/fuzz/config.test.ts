// Any text as a configuration: it is taken, or refused with positions that exist in the text; nothing else may happen.
import * as fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ConfigError, parseConfig } from '../src/config/load.ts';

const example = readFileSync(new URL('../examples/lb.yaml', import.meta.url), 'utf8');

/** What is wrong with how a text was met: nothing, or positions outside of it. */
function faults(text: string): string[] {
  try {
    parseConfig(text, 'any.yaml');
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const lines = text.split('\n').length;
    const isInside = (line = 0, column = 0): boolean => line > 0 && line <= lines && column > 0;
    const outside = error.issues.filter(({ line, column }) => !isInside(line, column));
    return error.issues.length === 0 ? ['refused without a reason'] : outside.map(({ message }) => message);
  }
}

function expectTakenOrRefused(text: string): void {
  expect(faults(text)).toEqual([]);
}

test('any characters', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), expectTakenOrRefused), { numRuns: 300 });
});

test('the example with a piece cut out, doubled or replaced', () => {
  const piece = fc.record({
    at: fc.nat(example.length),
    length: fc.nat(40),
    put: fc.oneof(
      fc.constantFrom('', '&a ', '*a', '- ', '{', ']', '? ', '!!binary ', '\t', '<<: ', '"', '0x', '~'),
      fc.string({ maxLength: 8 }),
    ),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 4 }), (pieces) => {
      let text = example;
      for (const { at, length, put } of pieces) text = text.slice(0, at) + put + text.slice(at + length);
      expectTakenOrRefused(text);
    }),
    { numRuns: 300 },
  );
});

test('any JSON value', () => {
  fc.assert(fc.property(fc.json({ maxDepth: 4 }), expectTakenOrRefused), { numRuns: 300 });
});
