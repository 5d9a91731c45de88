// How the demo runs `clb` (from source, with the Node that runs the demo) and other programs to their end.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CLI =
  process.env['OPENCLB_TRY_CLI'] ?? fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url));

export const clbCommand = (...words: string[]): string[] => [
  process.execPath,
  '--conditions=@openclb/source',
  CLI,
  ...words,
];

export interface CommandOutcome {
  status: number;
  stdout: string;
  stderr: string;
}

export function runCommand([command = '', ...words]: readonly string[], env = process.env): Promise<CommandOutcome> {
  const child = spawn(command, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const read = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (read.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (read.stderr += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status: status ?? 1, ...read }));
  });
}
