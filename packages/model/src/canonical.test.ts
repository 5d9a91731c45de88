// Canonical JSON decides whether two images are the same image, so key order must not matter and array order must.
import { expect, test } from 'vitest';
import { canonicalJson } from './canonical.ts';

test('the order of keys makes no difference, at any depth', () => {
  expect(canonicalJson({ b: [{ y: 1, x: 2 }], a: 'ü' })).toBe(canonicalJson({ a: 'ü', b: [{ x: 2, y: 1 }] }));
});

test('the order of array items makes a difference', () => {
  expect(canonicalJson([1, 2])).not.toBe(canonicalJson([2, 1]));
});

test('the text is JSON that reads back to the same value', () => {
  const value = { z: null, a: [true, 1.5, 'x"y'], m: { b: {}, a: [] } };
  expect(JSON.parse(canonicalJson(value))).toEqual(value);
  expect(canonicalJson(value)).toBe('{"a":[true,1.5,"x\\"y"],"m":{"a":[],"b":{}},"z":null}');
});

test('an undefined member is left out and a value that JSON would lose is refused', () => {
  expect(canonicalJson({ a: undefined, b: 1 })).toBe('{"b":1}');
  expect(() => canonicalJson({ a: Number.NaN })).toThrow('NaN');
  expect(() => canonicalJson([undefined])).toThrow('undefined');
});
