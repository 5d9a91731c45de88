// Routes by `ip -batch -` (iproute2): one process for many commands, never on a hot path. Ours carry a protocol number of our own.
import { spawn } from 'node:child_process';

/** Marks our routes in the kernel, so that nothing else is ever changed or removed. */
export const ROUTE_PROTOCOL = 99;

/** Runs all commands, also after one fails. Something that is already gone is no failure; the rest of what `ip` says is the error. */
export async function ipBatch(commands: readonly string[]): Promise<void> {
  if (commands.length === 0) return;
  const child = spawn('ip', ['-force', '-batch', '-'], {
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
  if (code !== 0 && failures.length > 0) throw new Error(failures.join('; '));
}
