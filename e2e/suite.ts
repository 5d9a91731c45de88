// Where an e2e file runs: as it is for root, inside a user namespace for an ordinary user, skipped with the reason where neither works.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert, test } from 'vitest';
import { needsUserNamespace, whyNoNamespaces, wrapForNamespaces } from '../tools/testkit/index.ts';
import type { ChildResult } from './child-reporter.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Defines the tests of a file here, or reports those of its run inside a user namespace. */
export async function inNamespaces(file: string, define: () => void): Promise<void> {
  const why = whyNoNamespaces();
  if (why !== undefined) {
    test(`${basename(file)} needs network namespaces`, (context) => {
      context.skip(why);
      assert.fail('skipped above');
    });
  } else if (needsUserNamespace()) {
    await reportFromUserNamespace(file);
  } else define();
}

async function reportFromUserNamespace(file: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'openclb-e2e-'));
  const output = join(directory, 'result.json');
  const log = await runInUserNamespace(file, output);
  const result = readResult(output);
  rmSync(directory, { recursive: true, force: true });
  const tests = result?.tests ?? [];
  if (tests.length === 0 || result?.errors.length) {
    test(`${basename(file)} runs inside a user namespace`, () =>
      assert.fail(result?.errors.join('\n') || log.slice(-4000)));
  }
  for (const { title, state, note } of tests) {
    test(`${title}`, (context) => {
      context.skip(state !== 'passed' && state !== 'failed', note || `${state} inside the user namespace`);
      assert.equal(state, 'passed', note);
    });
  }
}

/** Runs vitest on the file in a user namespace; returns what it printed. */
function runInUserNamespace(file: string, output: string): Promise<string> {
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const reporter = join(ROOT, 'e2e/child-reporter.ts');
  const { argv, env } = wrapForNamespaces([
    process.execPath,
    vitest,
    'run',
    '--project',
    'e2e',
    '--reporter',
    reporter,
    file,
  ]);
  const [command = '', ...words] = argv;
  const child = spawn(command, words, {
    cwd: ROOT,
    env: { ...env, VITEST: undefined, CI: undefined, OPENCLB_CHILD_RESULT: output },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return new Promise((resolve) => child.on('close', () => resolve(text)));
}

function readResult(file: string): ChildResult | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ChildResult;
  } catch {
    return undefined;
  }
}
