// Where an e2e file runs: as it is for root, inside a user namespace for an ordinary user, skipped with the reason where neither works.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert, test } from 'vitest';
import { needsUserNamespace, whyNoNamespaces, wrapForNamespaces } from '../tools/testkit/index.ts';

interface JsonResult {
  testResults: { message: string; assertionResults: { title: string; status: string; failureMessages: string[] }[] }[];
}

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
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const words = ['run', '--project', 'e2e', '--reporter', 'json', '--outputFile', output, file];
  const { argv, env } = wrapForNamespaces([process.execPath, vitest, ...words]);
  const [command = '', ...rest] = argv;
  const log = await new Promise<string>((resolve) => {
    const child = spawn(command, rest, {
      cwd: ROOT,
      env: { ...env, VITEST: undefined, CI: undefined },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.on('close', () => resolve(text));
  });
  let result: JsonResult | undefined;
  try {
    result = JSON.parse(readFileSync(output, 'utf8')) as JsonResult;
  } catch {
    // Reported below: the run has left no result.
  }
  rmSync(directory, { recursive: true, force: true });
  const tests = result?.testResults.flatMap(({ assertionResults }) => assertionResults) ?? [];
  if (tests.length === 0) {
    test(`${basename(file)} runs inside a user namespace`, () =>
      assert.fail(result?.testResults[0]?.message || log.slice(-4000)));
  }
  for (const { title, status, failureMessages } of tests) {
    test(`${title}`, (context) => {
      if (status !== 'passed' && status !== 'failed')
        context.skip(failureMessages.join('\n') || `${status} inside the user namespace`);
      assert.equal(status, 'passed', failureMessages.join('\n'));
    });
  }
}
