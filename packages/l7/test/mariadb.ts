// Real MariaDB servers for tests: a private data directory, a port on loopback, an unprivileged user.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const unprivileged = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
const env = { PATH: '/usr/bin:/usr/sbin:/bin:/sbin', HOME: '/nonexistent', RES_OPTIONS: 'attempts:1 timeout:1' };
const SMALL = words`--innodb-buffer-pool-size=8M --innodb-log-file-size=4M --innodb-flush-log-at-trx-commit=0
  --innodb-doublewrite=OFF --performance-schema=OFF`;

function words(text: TemplateStringsArray, ...values: readonly (string | number)[]): string[] {
  return String.raw(text, ...values).split(/\s+/);
}

export interface MariaDb {
  readonly port: number;
  /** Rows of a statement as root over the socket file, columns joined by tabs. */
  sql(statement: string): string;
  stop(): Promise<void>;
}

export interface MariaDbs {
  readonly servers: readonly MariaDb[];
  stop(): Promise<void>;
}

/** `count` servers from one freshly made data directory. */
export async function startMariaDbs(count: number, flags: readonly string[] = []): Promise<MariaDbs> {
  const folder = mkdtempSync(join(tmpdir(), 'clb-maria-'));
  chmodSync(folder, 0o755);
  const first = join(folder, 'data-0');
  mkdirSync(first, { mode: 0o755 });
  if (isRoot) chownSync(first, NOBODY, NOBODY);
  execFileSync(
    'mariadb-install-db',
    [
      ...words`--no-defaults --datadir=${first} --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve`,
      ...SMALL,
    ],
    { ...unprivileged, env, stdio: 'pipe', cwd: '/' },
  );
  for (let index = 1; index < count; index++) {
    execFileSync('cp', ['-a', first, join(folder, `data-${index}`)]);
  }
  const servers = await Promise.all(
    Array.from({ length: count }, (_, index) => startOne(join(folder, `data-${index}`), flags)),
  );
  return {
    servers,
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function startOne(datadir: string, flags: readonly string[]): Promise<MariaDb> {
  const port = await freePort();
  const socket = join(datadir, 's');
  const child = spawn(
    'mariadbd',
    [
      ...words`--no-defaults --datadir=${datadir} --port=${port} --bind-address=127.0.0.1 --socket=${socket}`,
      ...words`--pid-file=${datadir}/pid --innodb-fast-shutdown=2`,
      ...SMALL,
      ...flags,
    ],
    { ...unprivileged, env, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  for (let left = 200; !log.includes('ready for connections'); left--) {
    if (left === 0 || child.exitCode !== null) {
      child.kill('SIGKILL');
      throw new Error(`mariadbd did not start:\n${log}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    port,
    sql: (statement) =>
      execFileSync('mariadb', ['--no-defaults', `--socket=${socket}`, '-uroot', '-N', '-B', '-e', statement], {
        env,
        encoding: 'utf8',
      }).trim(),
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
    },
  };
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
