// Routes by `ip -batch -` (iproute2): one process for many commands, never on a hot path. Ours carry a protocol number of our own.
import { spawn } from 'node:child_process';

/** Marks our routes in the kernel, so that nothing else is ever changed or removed. No name in rt_protos has this number. */
export const ROUTE_PROTOCOL = 76;

/**
 * Runs all commands, also after one fails. Something that is already gone is no failure; the rest of what `ip` says is the error.
 * A line that begins with `-6 ` is for IPv6: a batch has one family, so those make a batch of their own.
 */
export async function ipBatch(commands: readonly string[]): Promise<void> {
  const v6 = commands.filter((line) => line.startsWith('-6 ')).map((line) => line.slice(3));
  const rest = commands.filter((line) => !line.startsWith('-6 '));
  const failures = [...(await runBatch(rest, [])), ...(await runBatch(v6, ['-6']))];
  if (failures.length > 0) throw new Error(failures.join('; '));
}

/** Single addresses of the main table that have a route of ours: what an earlier run has left behind. */
export async function ourRoutes(type: 'blackhole' | 'unicast'): Promise<string[]> {
  const found: string[] = [];
  for (const family of ['-4', '-6']) {
    const words = [family, '-j', 'route', 'show', 'table', 'main', 'type', type, 'proto', String(ROUTE_PROTOCOL)];
    const { output } = await run(words, '');
    const rows = JSON.parse(output.trim() === '' ? '[]' : output) as { dst?: string }[];
    for (const { dst } of rows) if (dst !== undefined && !dst.includes('/') && dst !== 'default') found.push(dst);
  }
  return found;
}

/** What `ip` complained about. */
async function runBatch(commands: readonly string[], options: readonly string[]): Promise<string[]> {
  if (commands.length === 0) return [];
  const { code, errors } = await run([...options, '-force', '-batch', '-'], `${commands.join('\n')}\n`);
  if (code === 0) return [];
  return errors
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('Command failed') && !line.includes('No such process'));
}

async function run(
  words: readonly string[],
  input: string,
): Promise<{ code: number | null; output: string; errors: string }> {
  const child = spawn('ip', words, {
    // An ordinary user of Debian has no sbin in PATH.
    env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (error) => reject(new Error(`cannot run ip (install iproute2): ${error.message}`)));
    child.on('close', resolve);
  });
  return { code, output, errors };
}
