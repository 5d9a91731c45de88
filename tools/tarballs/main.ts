// What a user of npm gets: packs every package, checks the tarball with publint, installs all of them into an empty project
// and runs the first `js` example of each README there, on every Node version that the packages promise.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

/** Besides the Node that runs this. Its binary comes from the registry's platform package, like ours. */
const OLDEST_NODE = '24.21.0';

interface Manifest {
  readonly name: string;
  readonly version: string;
}

/** Runs a command to its end; throws with its output when it fails. */
function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): string {
  const result = spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: 300_000 });
  if (result.status === 0) return result.stdout;
  throw new Error(
    `${command} ${args.join(' ')} failed in ${cwd}:\n${result.error?.message ?? ''}${result.stdout}${result.stderr}`,
  );
}

/** The first ```js block of a README. */
function example(readme: string, name: string): string {
  const block = /```js\n([\s\S]*?)```/.exec(readme)?.[1];
  if (block === undefined) throw new Error(`${name}: its README has no js example`);
  return block;
}

async function check(directory: string, out: string): Promise<{ manifest: Manifest; tarball: string }> {
  const manifest = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as Manifest;
  const packed = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', out], directory)) as unknown;
  // npm 11 prints a list, npm 12 an object keyed by package name.
  const entry = (Array.isArray(packed) ? packed[0] : Object.values(packed as object)[0]) as {
    filename: string;
    size: number;
  };
  const { messages, pkg } = await publint({ pkgDir: directory, strict: true });
  for (const message of messages)
    console.log(`publint ${manifest.name}: ${formatMessage(message, pkg) ?? message.code}`);
  if (messages.some((message) => message.type !== 'suggestion'))
    throw new Error(`publint is not content with ${manifest.name}`);
  console.log(`packed ${manifest.name} ${manifest.version}, ${Math.ceil(entry.size / 1024)} KiB`);
  return { manifest, tarball: join(out, entry.filename) };
}

async function main(): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'openclb-tarballs-'));
  try {
    const packages: { manifest: Manifest; tarball: string; directory: string }[] = [];
    for (const name of readdirSync('packages')) {
      const directory = resolve('packages', name);
      if (existsSync(join(directory, 'package.json'))) packages.push({ ...(await check(directory, work)), directory });
    }
    const project = join(work, 'project');
    mkdirSync(project);
    const dependencies = Object.fromEntries(
      packages.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]),
    );
    writeFileSync(
      join(project, 'package.json'),
      JSON.stringify({ name: 'empty-project', private: true, type: 'module', dependencies }),
    );
    run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], project);

    const old = join(work, 'old-node');
    mkdirSync(old);
    const platform = `node-${process.platform}-${process.arch}`;
    writeFileSync(
      join(old, 'package.json'),
      JSON.stringify({ private: true, dependencies: { [platform]: OLDEST_NODE } }),
    );
    run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], old);

    for (const { manifest, directory } of packages) {
      const file = join(project, `${manifest.name.replace(/\W+/g, '-')}.mjs`);
      writeFileSync(file, example(readFileSync(join(directory, 'README.md'), 'utf8'), manifest.name));
      for (const node of [process.execPath, join(old, 'node_modules', platform, 'bin', 'node')]) {
        const version = run(node, ['--version'], project).trim();
        run(node, [file], project, { ...process.env, NODE_OPTIONS: '' });
        console.log(`ran the example of ${manifest.name} on ${version}`);
      }
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

await main();
