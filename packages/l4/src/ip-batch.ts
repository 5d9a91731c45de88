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

/** What `ip` complained about. */
async function runBatch(commands: readonly string[], options: readonly string[]): Promise<string[]> {
  if (commands.length === 0) return [];
  const child = spawn('ip', [...options, '-force', '-batch', '-'], {
    stdio: ['pipe', 'ignore', 'pipe'],
    // An ordinary user of Debian has no sbin in PATH.
    env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stdin.on('error', () => {});
  child.stdin.end(`${commands.join('\n')}\n`);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (error) => reject(new Error(`cannot run ip (install iproute2): ${error.message}`)));
    child.on('close', resolve);
  });
  const failures = text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('Command failed') && !line.includes('No such process'));
  return code === 0 ? [] : failures;
}
