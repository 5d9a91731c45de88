// Where may namespaces be made? Root makes them as they are; an ordinary user re-executes inside a user namespace (toolchain.md T2.16).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const INSIDE = 'OPENCLB_INSIDE_USER_NAMESPACE';
/** An ordinary user's PATH lacks the places where Debian keeps `ip` and `sysctl`. */
const SYSTEM_PATHS = '/usr/local/sbin:/usr/sbin:/sbin';

export const isInsideUserNamespace = (): boolean => process.env[INSIDE] === '1';

export function completePath(): void {
  const path = process.env['PATH'] ?? '';
  if (!path.includes('/usr/sbin')) process.env['PATH'] = `${path}:${SYSTEM_PATHS}`;
}

/** Why this machine cannot make network namespaces, in one sentence; undefined when it can. Found by trying. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return `network namespaces exist on Linux only, and this is ${process.platform}`;
  completePath();
  if (spawnSync('ip', ['-V']).error) return 'the command `ip` is missing: apt-get install iproute2';
  if (isInsideUserNamespace() || canMakeHere()) return undefined;
  const tried = spawnSync('unshare', [
    '-Urnm',
    'sh',
    '-c',
    'mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add trial',
  ]);
  if (tried.error) return 'the command `unshare` is missing: apt-get install util-linux';
  if (tried.status === 0) return undefined;
  return `user namespaces are forbidden here (${tried.stderr.toString().trim().split('\n')[0] ?? 'no reason given'})`;
}

/** True when this very process may create network namespaces without a user namespace of its own. */
export function canMakeHere(): boolean {
  const name = `clb-try-${process.pid}`;
  if (spawnSync('ip', ['netns', 'add', name]).status !== 0) return false;
  spawnSync('ip', ['netns', 'delete', name]);
  return true;
}

/** The command that runs `argv` where namespaces can be made: itself, or wrapped in `unshare`. */
export function wrapForNamespaces(argv: readonly string[]): { argv: string[]; env: NodeJS.ProcessEnv } {
  completePath();
  if (isInsideUserNamespace() || canMakeHere()) return { argv: [...argv], env: process.env };
  // --kill-child is left out: with --keep the cluster outlives its starter, and --down ends it.
  const script = 'mount -t tmpfs tmpfs /run && mkdir -p /run/netns && exec "$@"';
  return {
    argv: ['unshare', '-Urnm', 'sh', '-c', script, 'sh', ...argv],
    env: { ...process.env, [INSIDE]: '1', OPENCLB_OUTER_UID: String(process.getuid?.() ?? 0) },
  };
}

/** True when the caller still has to re-execute itself through `wrapForNamespaces`. */
export const needsUserNamespace = (): boolean =>
  !isInsideUserNamespace() && existsSync('/proc/self/ns/user') && !canMakeHere();
