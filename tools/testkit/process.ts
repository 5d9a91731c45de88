// Processes of a run: started with their output in a log file, awaited until they say that they are ready, ended by number and start time.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, noteOf } from './state.ts';
import type { ProcessNote } from './state.ts';

export interface Running {
  name: string;
  note: ProcessNote;
  child: ChildProcess;
  logFile: string;
}

export interface StartOptions {
  /** Keeps stdin and stdout as pipes of this process; otherwise the child may outlive it. */
  pipes?: boolean;
}

const READY_WAIT_MS = 20_000;

export function startProcess(
  directory: string,
  label: string,
  argv: readonly string[],
  options: StartOptions = {},
): Running {
  const logFile = join(directory, `${label}.log`);
  // A process started again has a log of its own: an old ready line must not be taken for a new one.
  if (existsSync(logFile)) renameSync(logFile, `${logFile}.before`);
  const log = openSync(logFile, 'w');
  const [command = '', ...words] = argv;
  // A process group of its own: Ctrl-C goes to the teller, who ends the others in order.
  const child = spawn(command, words, {
    stdio: options.pipes ? ['pipe', 'pipe', log] : ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  child.on('error', () => undefined);
  if (child.pid === undefined) throw new Error(`${label} could not be started: is ${command} installed?`);
  child.unref();
  return { name: label, note: noteOf(child.pid, label), child, logFile };
}

export const readLog = (running: Running): string => readFileSync(running.logFile, 'utf8');

/** Waits until the process prints its ready line; its last words are in the error when it ends before. */
export async function waitReady(running: Running, milliseconds = READY_WAIT_MS): Promise<string> {
  const end = performance.now() + milliseconds;
  for (;;) {
    const line = /^(ready:|\{"event":"ready").*$/m.exec(readLog(running));
    if (line) return line[0];
    const isLate = performance.now() > end;
    const why = !isAlive(running.note)
      ? `ended (${running.child.signalCode ?? running.child.exitCode ?? 'unseen'}) before it was ready`
      : isLate
        ? `not ready in ${milliseconds} ms`
        : undefined;
    if (why)
      throw new Error(`${running.name} ${why}; its log ends:\n${readLog(running).split('\n').slice(-15).join('\n')}`);
    await sleep(10);
  }
}

/** Ends a process of this run: SIGTERM, then SIGKILL when patience ends; `SIGKILL` at once when asked. */
export async function stop(
  running: Running,
  signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM',
  patienceMs = 2000,
): Promise<void> {
  if (isAlive(running.note)) process.kill(running.note.pid, signal);
  const end = performance.now() + patienceMs;
  while (isAlive(running.note)) {
    if (performance.now() > end) process.kill(running.note.pid, 'SIGKILL');
    await sleep(5);
  }
}
