#!/usr/bin/env node
// The clb command: argv, signals and exit status; run.ts does the rest.
import { enableCompileCache } from 'node:module';
import { ExitStatus } from './errors.ts';

// Halves the time that a command takes to start; without a writable cache directory it does nothing.
enableCompileCache();

const interrupt = new AbortController();
let signals = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A role that writes log files takes SIGHUP for "open them again", unless it is the terminal that went.
    if (signal === 'SIGHUP' && process.listenerCount('SIGHUP') > 1 && process.stdout.isTTY !== true) return;
    signals += 1;
    interrupt.abort(new Error(signal));
    // The second signal no longer waits for a clean close.
    if (signals > 1) process.exit(ExitStatus.interrupted);
  });
}
// `clb get … | head` closes our output early: that is the reader's choice, not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(ExitStatus.ok);
  throw error;
});

// Loaded only now: behind the compile cache, and with the signals already in our hands.
const { run } = await import('./run.ts');
const status = await run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: interrupt.signal,
});
// Everything is closed by now; what still holds the process open (a keep-alive socket) must not keep the user waiting.
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
