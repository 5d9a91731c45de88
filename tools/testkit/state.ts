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

/** Ends what is left of a run: processes first, then namespaces, files last. Returns what it ended. */
export function removeRun(state: RunState): { processes: number; namespaces: number } {
  let processes = 0;
  for (const note of state.processes) {
    if (!isAlive(note)) continue;
    process.kill(note.pid, 'SIGKILL');
    processes += 1;
  }
  let namespaces = 0;
  const present = new Set(linesOf('netns', 'list').map((line) => line.split(' ')[0]));
  for (const name of state.namespaces.filter((each) => present.has(each))) {
    // Whatever runs inside a namespace of this run was started by it, noted or not.
    for (const pid of linesOf('netns', 'pids', name)) {
      if (startTimeOf(Number(pid)) === undefined) continue;
      process.kill(Number(pid), 'SIGKILL');
      processes += 1;
    }
    if (spawnSync('ip', ['netns', 'delete', name]).status === 0) namespaces += 1;
  }
  rmSync(join(stateDirectory(), `${state.prefix}.json`), { force: true });
  rmSync(state.directory, { recursive: true, force: true });
  return { processes, namespaces };
}

const linesOf = (...words: string[]): string[] =>
  (spawnSync('ip', words).stdout ?? '')
    .toString()
    .split('\n')
    .filter((line) => line !== '');
