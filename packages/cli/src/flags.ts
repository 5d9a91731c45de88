// Flags of a command: each is a JSON schema (TypeBox objects of @openclb/model are such schemas), which gives its type, its check,
// its default and its help text. Splitting the command line is node:util's parseArgs.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { sentenceOf, usageError } from './errors.ts';
import { didYouMean } from './nearest.ts';
import type { Schema } from './schema.ts';
import { checkInline } from './config/inline.ts';

/** A value given in words. Lists come from commas, objects from YAML in the word. */
export type Value = string | number | boolean | readonly unknown[] | object;

export interface Flag<S extends Schema = Schema> {
  readonly schema: S;
  /** One letter, as in -f. */
  readonly short?: string;
  /** Name of the value in help, as in --file FILE. */
  readonly value?: string;
  /** Environment variable read when the flag is absent. */
  readonly env?: string;
  readonly required?: boolean;
  /** @FILE stands for the content of a file. */
  readonly takesFile?: boolean;
  /** Overrides the schema's description. */
  readonly text?: string;
}
export type Flags = Readonly<Record<string, Flag>>;

/** Flags that every command takes. */
export const commonFlags = {
  json: { schema: { type: 'boolean', description: 'print JSON instead of text' } },
  help: { schema: { type: 'boolean', description: 'print the help of the command' }, short: 'h' },
} as const satisfies Flags;

/** A positional argument. */
export interface Argument {
  readonly name: string;
  readonly schema: Schema;
  readonly required?: boolean;
  readonly text?: string;
}

/** The type of the value that a schema describes. */
export type ValueOf<S> = S extends { enum: readonly (infer E)[] }
  ? E
  : S extends { type: 'integer' | 'number' }
    ? number
    : S extends { type: 'boolean' }
      ? boolean
      : S extends { type: 'array' }
        ? readonly string[]
        : string;

/** Values of a command's flags, by flag name. */
export type FlagValues<F> = {
  readonly [K in keyof F]: F[K] extends { required: true } | { schema: { default: {} } }
    ? ValueOf<F[K] extends { schema: infer S } ? S : never>
    : ValueOf<F[K] extends { schema: infer S } ? S : never> | undefined;
};

export interface Parsed {
  readonly values: Record<string, Value | undefined>;
  readonly positionals: readonly string[];
}

/** Splits and checks a command line. `where` names the command in messages. */
export function parseFlags(
  args: readonly string[],
  flags: Flags,
  env: Record<string, string | undefined>,
  where: string,
): Parsed {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {};
  for (const [name, flag] of Object.entries(flags)) {
    const type = flag.schema.type === 'boolean' ? 'boolean' : 'string';
    options[name] = flag.short === undefined ? { type } : { type, short: flag.short };
  }
  const { tokens } = parseArgs({ args: [...args], options, allowPositionals: true, strict: false, tokens: true });
  const values: Record<string, Value | undefined> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(flags, token.name) ? flags[token.name] : undefined;
    if (flag === undefined) throw unknownFlag(token.rawName, token.name, flags, where);
    if (values[token.name] !== undefined) throw usageError(`--${token.name} is given twice`, 'give it once');
    values[token.name] = valueOfToken(token.name, flag, token.value);
  }
  for (const [name, flag] of Object.entries(flags)) {
    if (values[name] !== undefined) continue;
    const fromEnv = flag.env === undefined ? undefined : env[flag.env];
    if (fromEnv !== undefined && fromEnv !== '') values[name] = checkValue(`${flag.env}`, flag.schema, fromEnv);
    else if (flag.schema.default !== undefined) values[name] = flag.schema.default as Value;
    else if (flag.required === true) throw missingFlag(name, flag, where);
  }
  return { values, positionals };
}

/** Checks positional arguments against their declarations; absent optional ones stay undefined. */
export function parseArguments(
  positionals: readonly string[],
  declared: readonly Argument[],
  where: string,
): Record<string, Value | undefined> {
  const values: Record<string, Value | undefined> = {};
  declared.forEach((argument, index) => {
    const text = positionals[index];
    if (text === undefined) {
      if (argument.required !== true) return;
      throw usageError(`${where} needs <${argument.name}>`, `see: clb help ${where.replace(/^clb /, '')}`);
    }
    values[argument.name] = checkValue(`<${argument.name}>`, argument.schema, text);
  });
  const extra = positionals[declared.length];
  if (extra !== undefined)
    throw usageError(`${where} does not take '${extra}'`, `see: clb help ${where.replace(/^clb /, '')}`);
  return values;
}

function valueOfToken(name: string, flag: Flag, text: string | undefined): Value {
  if (flag.schema.type === 'boolean') {
    if (text !== undefined) throw usageError(`--${name} takes no value`, `write --${name} or leave it out`);
    return true;
  }
  if (text === undefined) throw usageError(`--${name} needs a value`, `write --${name} ${flag.value ?? 'VALUE'}`);
  return checkValue(
    `--${name}`,
    flag.schema,
    flag.takesFile === true && text.startsWith('@') ? contentOf(text.slice(1)) : text,
  );
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw usageError(`cannot read ${path}: ${sentenceOf(error)}`, '@FILE names an existing file');
  }
}

/** Checks one word against its schema and gives it its type. */
export function checkValue(label: string, schema: Schema, text: string): Value {
  if (schema.enum !== undefined) {
    const known = schema.enum.map(String);
    const index = [known.indexOf(text), known.findIndex((one) => one.toLowerCase() === text.toLowerCase())].find(
      (at) => at >= 0,
    );
    if (index !== undefined) return schema.enum[index] as Value;
    throw usageError(`${label}: '${text}' is not one of ${known.join(', ')}${didYouMean(text, known)}`);
  }
  if (schema.type === 'array' || schema.type === 'object') return checkInline(label, schema, text);
  if (schema.type === 'boolean') {
    if (text === 'true' || text === '1') return true;
    if (text === 'false' || text === '0') return false;
    throw usageError(`${label}: '${text}' is neither true nor false`);
  }
  if (schema.type === 'integer' || schema.type === 'number') return checkNumber(label, schema, text);
  if (schema.maxLength !== undefined && text.length > schema.maxLength) {
    throw usageError(`${label} is longer than ${schema.maxLength} characters`);
  }
  if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(text)) {
    throw usageError(`${label}: '${text}' does not look right`, `expected: ${schema.description ?? schema.pattern}`);
  }
  return text;
}

function checkNumber(label: string, schema: Schema, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || (schema.type === 'integer' && !Number.isInteger(value))) {
    throw usageError(`${label}: '${text}' is not ${schema.type === 'integer' ? 'a whole number' : 'a number'}`);
  }
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (value < minimum || value > maximum)
    throw usageError(`${label}: ${value} is not between ${minimum} and ${maximum}`);
  return value;
}

function unknownFlag(rawName: string, name: string, flags: Flags, where: string): Error {
  const suggestion = didYouMean(name, Object.keys(flags), (known) => `--${known}`);
  return usageError(
    `${where} has no flag ${rawName}${suggestion}`,
    `see: clb help ${where.replace(/^clb ?/, '')}`.trimEnd(),
  );
}

function missingFlag(name: string, flag: Flag, where: string): Error {
  const env = flag.env === undefined ? '' : ` or set ${flag.env}`;
  return usageError(`${where} needs --${name}`, `add --${name} ${flag.value ?? 'VALUE'}${env}`);
}
