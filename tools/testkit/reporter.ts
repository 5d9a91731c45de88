// The last line of a test run: how many tests passed, failed, were skipped (with the reason), or never started. Before it, tests that
// passed at a second try only: each is a fault to be looked for, in the test or in what it tests.
import type { Reporter, TestModule } from 'vitest/node';

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>): void {
    let passed = 0;
    let failed = 0;
    let broken = errors.length;
    const skipped: string[] = [];
    const flaky: string[] = [];
    for (const module of modules) {
      if (module.state() === 'failed' && module.errors().length > 0) broken += 1;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (test.diagnostic()?.flaky === true) flaky.push(`second try: ${test.fullName}`);
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'failed') failed += 1;
        else skipped.push(`skipped: ${test.fullName}: ${('note' in result && result.note) || 'no reason given'}`);
      }
    }
    if (process.env['CI'] && skipped.length > 0) process.exitCode = 1;
    process.on('exit', () => {
      for (const line of [...flaky, ...skipped]) console.log(line);
      console.log(`tests: ${passed} passed, ${failed} failed, ${skipped.length} skipped, ${broken} broken`);
    });
  }
}
