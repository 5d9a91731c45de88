// node --conditions=@openclb/source packages/core-wasm/fuzz/main.ts --executions 50000000 --seed 1 [--walk director|endpoint|nat64|tcp] [--epoch n]
// Runs the campaign, prints the table, keeps first inputs in the corpus with --keep. Exits with 1 at a broken invariant.
import { parseArgs } from 'node:util';
import type { Artefact } from '../src/index.ts';
import { runEpoch, Tally, type EpochOptions, type First } from './campaign.ts';
import { keepCorpus } from './corpus.ts';
import { runNat64Epoch } from './nat64-campaign.ts';
import { report, share } from './report.ts';
import { runTcpEpoch } from './tcp-campaign.ts';

const EPOCH = 500_000;
const FORWARDED_MIN = 0.3;

/**
 * Which instances an epoch runs on. The releases take the short walk of known flows, the traced ones take every step, so a pair of both shows
 * that the short walk does the same; different guard bytes in a pair show reads outside.
 */
const ROSTER: readonly { readonly artefacts: readonly Artefact[]; readonly fills: readonly number[] }[] = [
  { artefacts: ['plain'], fills: [0xa5] },
  { artefacts: ['trace', 'plain'], fills: [0xa5, 0x5a] },
  { artefacts: ['shared'], fills: [0xa5] },
  { artefacts: ['trace'], fills: [0xa5] },
  { artefacts: ['plain'], fills: [0x5a] },
  { artefacts: ['check'], fills: [0xa5] },
  { artefacts: ['plain', 'shared'], fills: [0xa5, 0x5a] },
  { artefacts: ['shared'], fills: [0x5a] },
];

/** The part that got through: to the other side, or out of a tool of TCP without being refused. */
function forwarded(walk: string, tally: Tally): number {
  if (walk === 'tcp') return 1 - share(tally, 'Refused');
  return share(tally, walk === 'nat64' ? 'Translated' : 'Forward');
}

function run(walk: string, options: Omit<EpochOptions, 'walk' | 'artefacts'>, tally: Tally): Promise<void> {
  if (walk === 'nat64') return runNat64Epoch(options, tally);
  if (walk === 'tcp') return runTcpEpoch(options, tally);
  const instances = ROSTER[options.epoch % ROSTER.length] as (typeof ROSTER)[number];
  return runEpoch({ ...options, ...instances, walk: walk === 'endpoint' ? walk : 'director' }, tally);
}

const { values } = parseArgs({
  options: {
    executions: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    walk: { type: 'string' },
    epoch: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const walks = values.walk === undefined ? ['director', 'endpoint', 'nat64', 'tcp'] : [values.walk];
const each = Math.ceil(Number(values.executions) / walks.length);
let isBad = false;
for (const walk of walks) {
  const tally = new Tally();
  const firsts = new Map<string, First>();
  const onFirst = (first: First): void => {
    const key = `${first.verdict} ${first.reason}`;
    if (!firsts.has(key)) firsts.set(key, first);
  };
  const from = values.epoch === undefined ? 0 : Number(values.epoch);
  const to = values.epoch === undefined ? Math.ceil(each / EPOCH) : from + 1;
  for (let epoch = from; epoch < to; epoch++) {
    const executions = Math.min(EPOCH, values.epoch === undefined ? each - epoch * EPOCH : EPOCH);
    await run(walk, { seed, epoch, executions, onFirst }, tally);
    process.stderr.write(
      `${walk} ${tally.executions} ${(tally.ms / 1000).toFixed(0)} s, forwarded ${forwarded(walk, tally).toFixed(3)}\n`,
    );
  }
  process.stdout.write(report(walk, tally));
  if (values.keep) await keepCorpus(walk, [...firsts.values()]);
  if (forwarded(walk, tally) < FORWARDED_MIN) {
    isBad = true;
    process.stderr.write(
      `${walk}: fewer than ${FORWARDED_MIN * 100} % were forwarded: the seeds die before the deep steps\n`,
    );
  }
}
process.exitCode = isBad ? 1 : 0;
