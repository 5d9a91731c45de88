// An ordinary user is promised the packet port: the kernel suites run once more inside a user namespace, where root means nothing outside.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const VITEST = fileURLToPath(new URL('../../../../node_modules/vitest/vitest.mjs', import.meta.url));
const FILES = ['conformance', 'kernel-ports', 'tcp'].map((name) => `packages/l4/src/port/${name}.test.ts`);

test('ports and kernel tables work in an unprivileged user namespace', { timeout: 60_000 }, (context) => {
  const probe = spawnSync('unshare', ['-Urnm', 'true'], { encoding: 'utf8' });
  context.skip(probe.status !== 0, `user namespaces are closed here: ${probe.stderr?.trim() || probe.error?.message}`);
  const words = [VITEST, 'run', '--project', 'unit', ...FILES, 'packages/l4/src/netlink/kernel-tables.test.ts'];
  const run = spawnSync('unshare', ['-Urnm', process.execPath, ...words], {
    cwd: ROOT,
    encoding: 'utf8',
    // What cannot run there (BPF) may be skipped there: it runs outside.
    env: { ...process.env, CI: '', VITEST: '', NO_COLOR: '1' },
  });
  const failures = run.stdout.split('\n').filter((line) => line.includes('FAIL'));
  expect(failures).toEqual([]);
  expect(Number(/tests: (\d+) passed/.exec(run.stdout)?.[1])).toBeGreaterThan(45);
  expect(run.status).toBe(0);
});
