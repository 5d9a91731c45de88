// npm run simulate -- --histories N [--seed S]: a campaign of random histories, or one of them with SEED=…. Exits with 1 at a broken promise.
import { parseArgs } from 'node:util';
import { runHistory } from './history.ts';
import { report, tallyOf } from './report.ts';

const { values } = parseArgs({
  options: {
    histories: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
  },
});
const only = process.env['SEED'];
const first = Number(only ?? values.seed);
const histories = only === undefined ? Number(values.histories) : 1;
const tally = tallyOf();
for (let seed = first; seed < first + histories; seed++) {
  const outcome = await runHistory({ seed });
  tally.add(outcome);
  if (only !== undefined || values.trace) process.stdout.write(`${outcome.trace.join('\n')}\n`);
  if (outcome.violation !== undefined)
    process.stdout.write(`${outcome.violation}\n  replay: SEED=${seed} npm run simulate\n`);
}
process.stdout.write(report(tally));
process.exitCode = tally.broken.length > 0 ? 1 : 0;
