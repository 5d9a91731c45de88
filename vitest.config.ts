// One root run for every test: unit tests beside the code, repository rules, and e2e in network namespaces.
import { defineConfig } from 'vitest/config';

const conditions = ['@openclb/source'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    execArgv: ['--conditions=@openclb/source'],
    reporters: ['default', './tools/testkit/reporter.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: [
            'packages/*/{src,assembly,layout,fuzz,test}/**/*.test.ts',
            'apps/*/src/**/*.test.ts',
            'tools/**/*.test.ts',
            'e2e/simulation/*.test.ts',
          ],
          testTimeout: 20_000,
          // Hooks compile AssemblyScript, which takes as long as a busy machine wants.
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['e2e/**/*.e2e.test.ts'],
          fileParallelism: false,
          // Kernels, daemons and a shared machine: a second try on CI, and the last lines of the run name each test that needed it.
          retry: process.env['CI'] === undefined ? 0 : 1,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
