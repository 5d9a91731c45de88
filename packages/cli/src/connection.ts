// Which controller a command talks to: flags, then CLB_CONTROLLER and CLB_API_KEY, then ~/.config/clb/config.yaml.
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { sentenceOf, usageError } from './errors.ts';
import type { Flags } from './flags.ts';
import { didYouMean } from './nearest.ts';

export const DEFAULT_CONTROLLER = 'http://127.0.0.1:7000';

export const connectionFlags = {
  controller: {
    schema: { type: 'string', description: `URL of the controller; ${DEFAULT_CONTROLLER} when nothing names one` },
    value: 'URL',
    env: 'CLB_CONTROLLER',
  },
  'api-key': { schema: { type: 'string', description: 'key of the API' }, value: 'KEY', env: 'CLB_API_KEY' },
} as const satisfies Flags;

export interface Connection {
  readonly controller: URL;
  readonly apiKey: string | undefined;
}

export function connectionFrom(
  values: { controller?: string | undefined; 'api-key'?: string | undefined },
  env: Record<string, string | undefined>,
): Connection {
  const file = readUserFile(env);
  const text = values.controller ?? file.controller ?? DEFAULT_CONTROLLER;
  return { controller: controllerUrl(text), apiKey: values['api-key'] ?? file.apiKey };
}

export function controllerUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw usageError(`'${text}' is not the URL of a controller`, `write it as ${DEFAULT_CONTROLLER}`);
  }
  return url;
}

export function userFilePath(env: Record<string, string | undefined>): string {
  const base = env.XDG_CONFIG_HOME ?? join(env.HOME ?? homedir(), '.config');
  return join(base, 'clb', 'config.yaml');
}

function readUserFile(env: Record<string, string | undefined>): { controller?: string; apiKey?: string } {
  const path = userFilePath(env);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw usageError(`cannot read ${path}: ${sentenceOf(error)}`, 'mend its permissions or remove it');
  }
  const known = ['controller', 'apiKey'];
  const value: unknown = parseUserFile(path, text);
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw usageError(`${path}: expected the keys ${known.join(', ')}`);
  for (const [key, one] of Object.entries(value)) {
    if (!known.includes(key)) throw usageError(`${path}: unknown key '${key}'${didYouMean(key, known)}`);
    if (typeof one !== 'string') throw usageError(`${path}: ${key} must be text`);
  }
  return value;
}

function parseUserFile(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw usageError(`${path}: ${sentenceOf(error)}`);
  }
}
