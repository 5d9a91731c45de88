// What a run has started, written down before it is started, so that `--down` can remove it also after a crash.
// A pid alone may belong to a stranger by now: a process is ours only when its start time is the one we noted (proc(5), field 22).
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface RunState {
  prefix: string;
  directory: string;
  /** The process that tells the story; the others are its children. */
  owner: ProcessNote;
  namespaces: string[];
  processes: ProcessNote[];
  /** Namespaces of an ordinary user live in the mount namespace of the run and go with its last process. */
  inUserNamespace: boolean;
}

export interface ProcessNote {
  pid: number;
  startTime: string;
  name: string;
}

const GONE_MS_MAX = 2000;

export const stateDirectory = (): string =>
  join(tmpdir(), `openclb-runs-${process.env['OPENCLB_OUTER_UID'] ?? process.getuid?.() ?? 0}`);

/** Clock ticks after boot when the process started; undefined when it is gone or a zombie. */
export function startTimeOf(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux') return process.kill(pid, 0) ? 'some time' : undefined;
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export const noteOf = (pid: number, name: string): ProcessNote => ({ pid, name, startTime: startTimeOf(pid) ?? '' });

export const isAlive = (note: ProcessNote): boolean =>
  note.startTime !== '' && startTimeOf(note.pid) === note.startTime;

export function writeState(state: RunState): void {
  mkdirSync(stateDirectory(), { recursive: true, mode: 0o700 });
  const file = join(stateDirectory(), `${state.prefix}.json`);
  writeFileSync(`${file}.new`, JSON.stringify(state, null, 2));
  renameSync(`${file}.new`, file);
}

export function readStates(): RunState[] {
  let names: string[];
  try {
    // A stranger's list of processes to end is no list of ours.
    if (statSync(stateDirectory()).uid !== process.getuid?.()) return [];
    names = readdirSync(stateDirectory());
  } catch {
    return [];
  }
  return names
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(stateDirectory(), name), 'utf8')) as RunState);
}

/** Ends what is left of a run: processes first, then namespaces, files last. Returns what it ended, when it is gone. */
export function removeRun(state: RunState): { processes: number; namespaces: number } {
  const present = new Set(linesOf('netns', 'list').map((line) => line.split(' ')[0]));
  const mine = state.namespaces.filter((name) => present.has(name));
  const noted = state.processes.filter(isAlive);
  // Whatever runs inside a namespace of this run was started by it, noted or not.
  const found = mine.flatMap((name) => linesOf('netns', 'pids', name).map((pid) => noteOf(Number(pid), name)));
  const ended = [...new Map([...noted, ...found].map((note) => [note.pid, note])).values()].filter(end);
  const deadline = performance.now() + GONE_MS_MAX;
  while (ended.some(isAlive) && performance.now() < deadline)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  const namespaces = mine.filter((name) => spawnSync('ip', ['netns', 'delete', name]).status === 0).length;
  rmSync(join(stateDirectory(), `${state.prefix}.json`), { force: true });
  rmSync(state.directory, { recursive: true, force: true });
  return { processes: ended.length, namespaces };
}

/** False when it was gone already. */
function end(note: ProcessNote): boolean {
  try {
    return isAlive(note) && process.kill(note.pid, 'SIGKILL');
  } catch {
    return false;
  }
}

const linesOf = (...words: string[]): string[] =>
  (spawnSync('ip', words).stdout ?? '')
    .toString()
    .split('\n')
    .filter((line) => line !== '');
