// Processes of a bench: started, waited for, and ended by the handle that started them. Nothing here runs without an end.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const hasCommand = (name: string): boolean =>
  spawnSync('sh', ['-c', `PATH=$PATH:/usr/sbin command -v ${name}`], { stdio: 'ignore' }).status === 0;

const hasTaskset = hasCommand('taskset');

/** Runs on one core where the machine lets us choose. */
export function pinned(core: number, command: string, args: readonly string[]): [string, string[]] {
  return hasTaskset ? ['taskset', ['-c', String(core), command, ...args]] : [command, [...args]];
}

export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'clb-bench-'));
  readonly #children: ChildProcess[] = [];

  constructor() {
    // Workers of an nginx started by root are another user.
    chmodSync(this.folder, 0o755);
  }

  async start(core: number, command: string, args: readonly string[], port: number): Promise<ChildProcess> {
    const [file, list] = pinned(core, command, args);
    const child = spawn(file, list, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` },
    });
    this.#children.push(child);
    await untilOpen(port);
    return child;
  }

  node(core: number, script: string, args: readonly string[], port: number): Promise<ChildProcess> {
    return this.start(
      core,
      process.execPath,
      [...process.execArgv, new URL(script, import.meta.url).pathname, ...args],
      port,
    );
  }

  async nginx(core: number, name: string, config: string, port: number): Promise<ChildProcess> {
    const file = join(this.folder, `${name}.conf`);
    writeFileSync(file, config.replaceAll('FOLDER', this.folder));
    return this.start(core, 'nginx', ['-c', file, '-p', this.folder, '-e', `${this.folder}/${name}.error`], port);
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const TICK_US = 10_000;

/** Processor time of a process and its children in microseconds: it holds still when other work takes the cores away. 0 where /proc is absent. */
export function cpuMicroseconds(child: ChildProcess): number {
  const of = (pid: number): number => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ');
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ');
    const below = children.filter((text) => text !== '').reduce((sum, text) => sum + of(Number(text)), 0);
    return (Number(fields[11]) + Number(fields[12])) * TICK_US + below;
  };
  try {
    return of(child.pid!);
  } catch {
    return 0;
  }
}

export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilOpen(port: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.once('connect', () => resolve((socket.destroy(), true)));
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port} after 5 s`);
}

/** Requests per second from `connections` keep-alive connections during `seconds`: wrk where it is installed, else our own. */
export function load(url: string, connections: number, seconds: number): Promise<number> {
  const own = new URL('load.ts', import.meta.url).pathname;
  const [file, args] = hasCommand('wrk')
    ? pinned(1, 'wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, url])
    : pinned(1, process.execPath, [own, url, String(connections), String(seconds)]);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), (seconds + 10) * 1000);
  return new Promise((resolve, reject) => {
    child.once('close', () => {
      clearTimeout(timer);
      const match = /Requests\/sec:\s+([\d.]+)/.exec(text);
      if (match === null || /Non-2xx/.test(text)) reject(new Error(`the load generator said: ${text}`));
      else resolve(Number(match[1]));
    });
  });
}
