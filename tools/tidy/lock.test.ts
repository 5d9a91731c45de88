// The lock file must install everywhere: npm 11.19 refuses a lock that lacks an optional dependency's entry, and a registry
// address would tie it to one machine.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface LockEntry {
  readonly version?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly integrity?: string;
  readonly optionalDependencies?: Record<string, string>;
}
interface Lock {
  readonly packages: Record<string, LockEntry>;
}

/** What is wrong with a lock file: optional dependencies without an entry, registry addresses, entries without integrity. */
function lockFaults(lock: Lock): string[] {
  const faults: string[] = [];
  const names = new Set(Object.keys(lock.packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)));
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const name of Object.keys(entry.optionalDependencies ?? {})) {
      if (!names.has(name)) faults.push(`${path || 'root'}: optional dependency ${name} has no entry`);
    }
    if (entry.resolved !== undefined && entry.link !== true) faults.push(`${path}: resolved address ${entry.resolved}`);
    if (path.includes('node_modules/') && entry.link !== true && entry.integrity === undefined)
      faults.push(`${path}: no integrity`);
  }
  return faults;
}

test('the lock file has an entry for every optional dependency and no registry address', () => {
  expect(lockFaults(JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock)).toEqual([]);
});

test('a lock with a missing optional dependency or an address is caught', () => {
  const faults = lockFaults({
    packages: {
      '': { optionalDependencies: { absent: '1.0.0' } },
      'node_modules/x': { version: '1.0.0', resolved: 'https://registry.example/x.tgz', integrity: 'sha512-' },
      'node_modules/y': { version: '1.0.0' },
    },
  });
  expect(faults).toHaveLength(3);
});
