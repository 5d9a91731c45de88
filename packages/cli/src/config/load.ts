// A configuration from text or file to a checked value: YAML (JSON is YAML too), or TypeScript and JavaScript through tsx.
import { Config } from '@openclb/model';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Document } from 'yaml';
import { importModule } from '../module.ts';
import { CliError, ExitStatus, sentenceOf, usageError } from '../errors.ts';
import type { Schema } from '../schema.ts';
import { checkSource } from './check.ts';
import { formatIssues, type Issue, locate, parseSource, type Source } from './source.ts';

/** A configuration that is not valid: `issues` holds every error with its position, the message shows them all. */
export class ConfigError extends CliError {
  readonly issues: readonly Issue[];
  constructor(source: Source, issues: readonly Issue[]) {
    const count = issues.length === 1 ? 'one error' : `${issues.length} errors`;
    super(`${source.file} has ${count}:\n${formatIssues(source, issues)}`, {
      hint: 'correct it; docs/reference/config.md lists every key',
      exitStatus: ExitStatus.usage,
      code: 'BadConfig',
    });
    this.name = 'ConfigError';
    this.issues = issues;
  }
}

export interface LoadedConfig {
  readonly config: Config;
  readonly source: Source;
}

/** Parses and checks a configuration. Throws ConfigError with the position of every error. */
export function parseConfig(text: string, file = 'config'): LoadedConfig {
  const { source, issues } = parseSource(text, file);
  if (issues.length > 0) throw new ConfigError(source, issues);
  return checked(source);
}

export async function loadConfig(path: string): Promise<LoadedConfig> {
  if (/\.[cm]?[jt]s$/.test(path)) return checked(await importConfig(path));
  return parseConfig(await readText(path), path);
}

function checked(source: Source): LoadedConfig {
  // An empty file is an empty configuration only by mistake.
  if (source.document.contents === null) {
    throw new ConfigError(source, [{ path: '', message: 'the configuration is empty', line: 1, column: 1 }]);
  }
  const { value, issues } = checkSource(source, Config as unknown as Schema);
  if (issues.length > 0) throw new ConfigError(source, issues);
  return { config: value as Config, source };
}

/** Gives a controller's refusal the position of the field that it names. */
export function placeProblem(source: Source, field: string | undefined, message: string): ConfigError {
  const at = field === undefined ? {} : locate(source, field);
  return new ConfigError(source, [{ path: field ?? '', message, ...at }]);
}

async function readText(path: string): Promise<string> {
  if (path === '-') return readStandardInput();
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const hint = path.startsWith('-') ? 'name a file: clb apply -f lb.yaml' : 'name an existing file with -f';
    throw usageError(`cannot read ${path}: ${sentenceOf(error)}`, hint);
  }
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** The default export of a module is the configuration. Only these files can run code, and only because the user named them. */
async function importConfig(path: string): Promise<Source> {
  // A changed file must not come from the cache of modules.
  const url = `${pathToFileURL(resolve(path)).href}?at=${Date.now()}`;
  return { file: path, text: '', document: new Document(await importModule(url, path)), position: () => ({}) };
}
