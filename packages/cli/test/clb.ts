// Runs the clb command as its users do: a child process with words, an environment and signals.
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningClb {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout(): string;
  stderr(): string;
  /** Resolves when the text appears on either stream; fails with all that was printed when it does not. */
  sees(text: string | RegExp, timeoutMs?: number): Promise<void>;
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Finished>;
}

export function startClb(
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; input?: string } = {},
): RunningClb {
  const child = spawn(process.execPath, ['--conditions=@openclb/source', main, ...args], {
    // The machine's own settings must not reach a test.
    env: { PATH: process.env.PATH, HOME: '/nonexistent', ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.input ?? '');
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
  let isOver = false;
  void finished.then(() => (isOver = true));
  return {
    child,
    finished,
    stdout: () => stdout,
    stderr: () => stderr,
    async sees(text, timeoutMs = 10_000) {
      const deadline = performance.now() + timeoutMs;
      const isThere = (): boolean =>
        typeof text === 'string' ? (stdout + stderr).includes(text) : text.test(stdout + stderr);
      while (!isThere()) {
        if (isOver || performance.now() > deadline)
          throw new Error(`never saw ${String(text)} in:\n${stdout}\n${stderr}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async stop(signal = 'SIGINT') {
      child.kill(signal);
      return finished;
    },
  };
}

export function clb(
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; input?: string } = {},
): Promise<Finished> {
  return startClb(args, options).finished;
}
