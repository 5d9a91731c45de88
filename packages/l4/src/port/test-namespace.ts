// A private network namespace for the tests of one file, and what this machine allows in it. Capabilities are tried, never inferred.
import { errno, errnoName, libcCalls, unshareNetwork } from './ffi.ts';
import { attachProgram } from './xdp-program.ts';

const CLONE_NEWNET = 0x40000000;

export interface TestNamespace {
  readonly isInside: boolean;
  readonly why: string;
  leave(): void;
}

/** Moves this thread into an empty network namespace. In a user namespace (`unshare -Urnm`) this works without root. */
export function enterNamespace(): TestNamespace {
  if (process.platform !== 'linux') return { isInside: false, why: 'kernel ports need Linux', leave: () => {} };
  const home = libcCalls.open('/proc/thread-self/ns/net', 0o2000000);
  try {
    unshareNetwork();
  } catch {
    libcCalls.close(home);
    return { isInside: false, why: 'needs root, or "unshare -Urnm" around the test run', leave: () => {} };
  }
  return {
    isInside: true,
    why: '',
    leave: () => {
      libcCalls.setns(home, CLONE_NEWNET);
      libcCalls.close(home);
    },
  };
}

/** Why a kind of port cannot be opened on this machine, or null. */
export function refusalOf(kind: 'xdp' | 'packet' | 'tun'): string | null {
  if (kind === 'packet') return null;
  if (kind === 'tun') {
    const fd = libcCalls.open('/dev/net/tun', 0o2004002);
    if (fd < 0) return `/dev/net/tun cannot be opened: ${errnoName(errno())}`;
    libcCalls.close(fd);
    return null;
  }
  try {
    attachProgram(1, ['skb']).close();
    return null;
  } catch (error) {
    return `BPF needs root in the initial user namespace: ${(error as Error).message}`;
  }
}
