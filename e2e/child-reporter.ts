// Writes what each test of a run inside a user namespace came to, with the reason of a skip, for the run outside to report.
import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

export interface ChildResult {
  /** What kept a file from being read or a hook from passing. */
  errors: string[];
  tests: { title: string; state: string; note: string }[];
}

export default class ChildReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const result: ChildResult = { errors: [], tests: [] };
    for (const module of modules) {
      result.errors.push(...module.errors().map(({ message, stack }) => stack ?? message));
      for (const test of module.children.allTests()) {
        const outcome = test.result();
        const errors = (outcome.errors ?? []).map(({ message, stack }) => stack ?? message).join('\n');
        const reason = 'note' in outcome ? outcome.note : undefined;
        result.tests.push({ title: test.name, state: outcome.state, note: errors || reason || '' });
      }
    }
    writeFileSync(process.env['OPENCLB_CHILD_RESULT'] ?? 'result.json', JSON.stringify(result));
  }
}
