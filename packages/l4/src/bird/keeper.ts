// The keeper: a process that holds BIRD and lives on when the director is stopped or killed. Without a beat for 350 ms it takes all routes away,
// and with its director it ends: a routing daemon must never announce what nobody forwards (data-plane.md P2).
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BEAT_MS } from '../watchdog.ts';
import { BIRD_FILES } from './config.ts';
import { type BirdControl, connectBird } from './control.ts';
import { type BirdStatus, type BirdTexts, type FromKeeper, type ToKeeper } from './messages.ts';

const SILENCE_MS = 3.5 * BEAT_MS;
/** Beats in a row before routes come back, so that a stuttering director does not flap. */
const BEATS_TO_RETURN = 3;
const LOOK_MS = 25;
const STATUS_MS = 500;
const RESTART_MS = 300;
/** Questions of 2 s each without an answer after which BIRD is stuck. */
const UNANSWERED_MAX = 3;
const END_MS = 500;
const FAMILIES = [4, 6] as const;

const [directory = '.'] = process.argv.slice(2);
const at = (name: string): string => join(directory, name);

let texts: BirdTexts | null = null;
let wanted = { service: false, tunnels: false };
let written = '';
let bird: ChildProcess | null = null;
let control: BirdControl | null = null;
let trouble: string | null = null;
let beatAt = 0;
let beatsInRow = 0;
let isSilent = true;
let isEnding = false;
let isLooking = false;
let unanswered = 0;
let working: Promise<void> = Promise.resolve();

function tell(message: FromKeeper): void {
  if (process.connected) process.send?.(message);
}
function log(level: 'info' | 'warn' | 'error', text: string): void {
  tell({ type: 'log', level, text });
}

/** One change after the other; the newest state wins because each reads it when its turn comes. */
function settle(): void {
  working = working
    .then(apply)
    .then(() => void (trouble = null))
    .catch((error: unknown) => {
      const text = error instanceof Error ? error.message : String(error);
      if (text !== trouble) log('error', `BIRD could not be told: ${text}`);
      trouble = text;
    })
    .finally(() => tell({ type: 'settled' }));
}

async function apply(): Promise<void> {
  if (texts === null) return;
  const files = filesNow(texts);
  const state = JSON.stringify(files);
  if (state !== written) for (const [name, text] of Object.entries(files)) write(name, text);
  if (bird === null) await launch();
  else if (state !== written) await ask('configure');
  written = state;
}

function filesNow(now: BirdTexts): Record<string, string> {
  const isOn = { service: wanted.service && !isSilent, tunnels: wanted.tunnels && !isSilent };
  const files: Record<string, string> = { [BIRD_FILES.config]: now.config };
  for (const name of ['service', 'tunnels'] as const)
    for (const family of FAMILIES) files[BIRD_FILES[name][family]] = isOn[name] ? now[name][family] : '';
  return files;
}

/** By rename: BIRD never reads half a file. */
function write(name: string, text: string): void {
  writeFileSync(`${at(name)}.new`, text, { mode: 0o600 });
  renameSync(`${at(name)}.new`, at(name));
}

const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

async function launch(): Promise<void> {
  endStale();
  const config = at(BIRD_FILES.config);
  const check = spawnSync('bird', ['-p', '-c', config], { env, encoding: 'utf8' });
  if (check.error !== undefined) throw new Error(`cannot run bird (install bird2): ${check.error.message}`);
  if (check.status !== 0) throw new Error(`it refuses its configuration: ${check.stderr.trim()}`);
  const words = ['bird', '-f', '-c', config, '-s', at(BIRD_FILES.socket), '-P', at(BIRD_FILES.pid)];
  // Should this process be killed, the kernel ends BIRD.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...words], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  bird = child;
  child.stderr?.on('data', (data: Buffer) => log('warn', `BIRD: ${data.toString().trim().slice(0, 400)}`));
  child.on('error', (error) => log('error', `cannot run setpriv (install util-linux): ${error.message}`));
  child.on('exit', () => {
    bird = null;
    hangUp();
    if (isEnding) return;
    log('error', 'BIRD has ended; starting it again');
    setTimeout(settle, RESTART_MS);
  });
  control = await reach();
}

async function ask(text: string): Promise<string[]> {
  try {
    control ??= await connectBird(at(BIRD_FILES.socket));
    return await control.command(text);
  } catch (error) {
    hangUp();
    throw error;
  }
}

function hangUp(): void {
  control?.close();
  control = null;
}

/** A BIRD that an earlier keeper has left, told by our own configuration file in its command line. */
function endStale(): void {
  try {
    const pid = Number(readFileSync(at(BIRD_FILES.pid), 'utf8').trim());
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    if (line.includes(at(BIRD_FILES.config))) process.kill(pid, 'SIGKILL');
  } catch {
    // Nothing is left.
  }
}

async function reach(): Promise<BirdControl> {
  for (let tries = 0; ; tries++) {
    try {
      return await connectBird(at(BIRD_FILES.socket));
    } catch (error) {
      if (tries >= 40 || bird === null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Also looks whether BIRD still answers: one that is stuck is ended, and started again by its exit. */
async function look(): Promise<void> {
  if (bird === null || isLooking) return report(0, 0);
  isLooking = true;
  const lines = await ask('show protocols').catch(() => null);
  isLooking = false;
  unanswered = lines === null ? unanswered + 1 : 0;
  if (lines === null && unanswered >= UNANSWERED_MAX) {
    log('error', 'BIRD does not answer any more; ending it');
    unanswered = 0;
    bird?.kill('SIGKILL');
  }
  if (lines === null) return report(0, 0);
  const sessions = lines.filter((line) => /^clb_(bgp|ospf)/.test(line));
  report(sessions.filter((line) => /\b(Established|Running)\b/.test(line)).length, sessions.length);
}

function report(sessionsUp: number, sessions: number): void {
  const isAnnounced = wanted.service && !isSilent && bird !== null;
  tell({ type: 'status', status: { isAnnounced, sessionsUp, sessions, trouble } satisfies BirdStatus });
}

function feel(): void {
  if (isSilent || performance.now() - beatAt < SILENCE_MS) return;
  isSilent = true;
  beatsInRow = 0;
  log('error', 'the data path has no pulse: its routes are withdrawn');
  settle();
}

function beat(): void {
  beatAt = performance.now();
  if (!isSilent || ++beatsInRow < BEATS_TO_RETURN) return;
  isSilent = false;
  settle();
}

/** The director has gone: routes first, then BIRD, whose farewell closes its sessions at once. */
async function end(): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  isSilent = true;
  settle();
  await working;
  const child = bird;
  if (child !== null) {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
    await gone;
    clearTimeout(timer);
  }
  process.exit(0);
}

mkdirSync(directory, { recursive: true, mode: 0o700 });
process.on('message', (message: ToKeeper) => {
  if (message.type === 'beat') return beat();
  if (message.type === 'texts') texts = message.texts;
  else wanted = { service: message.service, tunnels: message.tunnels };
  settle();
});
process.on('disconnect', () => void end());
// Whoever interrupts the director interrupts its whole process group; the director says when it is time.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
setInterval(feel, LOOK_MS);
setInterval(() => void look(), STATUS_MS);
