// Flags: what a schema promises is checked before a command runs.
import { expect, test } from 'vitest';
import { CliError } from './errors.ts';
import { type Flags, parseArguments, parseFlags } from './flags.ts';
import { nearest } from './nearest.ts';

const flags = {
  listen: { schema: { type: 'string', default: '127.0.0.1:7000' }, value: 'ADDRESS' },
  workers: { schema: { type: 'integer', minimum: 1, maximum: 64 } },
  port: { schema: { enum: ['auto', 'xdp', 'packet'] } },
  token: { schema: { type: 'string' }, env: 'CLB_TOKEN', required: true },
  once: { schema: { type: 'boolean' }, short: 'o' },
} as const satisfies Flags;

function failure(args: string[], env: Record<string, string> = { CLB_TOKEN: 't' }): CliError {
  try {
    parseFlags(args, flags, env, 'clb try');
  } catch (error) {
    if (error instanceof CliError) return error;
    throw error;
  }
  throw new Error(`accepted: ${args.join(' ')}`);
}

test('flags get the types of their schemas, their defaults and their environment variables', () => {
  const { values, positionals } = parseFlags(
    ['a', '--workers=2', '-o', 'b', '--port', 'XDP'],
    flags,
    { CLB_TOKEN: 't' },
    'clb try',
  );
  expect(values).toEqual({ workers: 2, once: true, port: 'xdp', listen: '127.0.0.1:7000', token: 't' });
  expect(positionals).toEqual(['a', 'b']);
});

test('an unknown flag names the nearest known one', () => {
  expect(failure(['--wrokers', '2']).message).toBe('clb try has no flag --wrokers; did you mean --workers?');
  expect(failure(['--__proto__', '2']).message).toMatch('no flag --__proto__');
});

test('values that break their schema are refused with the rule they broke', () => {
  expect(failure(['--workers', '0']).message).toBe('--workers: 0 is not between 1 and 64');
  expect(failure(['--workers', '1.5']).message).toBe("--workers: '1.5' is not a whole number");
  expect(failure(['--port', 'pakcet']).message).toBe(
    "--port: 'pakcet' is not one of auto, xdp, packet; did you mean 'packet'?",
  );
  expect(failure(['--workers']).message).toBe('--workers needs a value');
  expect(failure(['--once=yes']).message).toBe('--once takes no value');
  expect(failure(['--workers', '1', '--workers', '2']).message).toBe('--workers is given twice');
});

test('a missing required flag names its environment variable', () => {
  const error = failure([], {});
  expect(error.message).toBe('clb try needs --token');
  expect(error.hint).toBe('add --token VALUE or set CLB_TOKEN');
});

test('arguments beyond those of a command are refused', () => {
  const declared = [{ name: 'id', schema: { type: 'string' }, required: true }] as const;
  expect(parseArguments(['x'], declared, 'clb try')).toEqual({ id: 'x' });
  expect(() => parseArguments([], declared, 'clb try')).toThrow('clb try needs <id>');
  expect(() => parseArguments(['x', 'y'], declared, 'clb try')).toThrow("clb try does not take 'y'");
});

test('a swap, a slip and a short form find their word; a stranger finds none', () => {
  expect(nearest('shceduler', ['scheduler', 'schema'])).toBe('scheduler');
  expect(nearest('prot', ['port', 'protocol'])).toBe('port');
  expect(nearest('xyzzy', ['port', 'protocol'])).toBeUndefined();
});
