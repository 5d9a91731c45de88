// Nanoseconds a packet of the whole walk in the core, by path and by number of flows. A slice is a few bursts, less than a millisecond;
// the best of some hundred slices counts, because a busy machine only ever adds time. Frames are laid back between bursts by the same
// code in timed and in empty slices, and the difference is the walk's.
//
// With `--against <folder of another build of this package>` both builds take turns slice by slice in one process, so the ratio of
// their times holds on a machine whose speed does not: node --conditions=@openclb/source bench/core.bench.ts --against ../old/core-wasm
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BURST, Frames, open } from './frames.ts';
import type { Row } from '../../../tools/bench/row.ts';

/** One build at work on one path and number of flows. */
export interface Walk {
  /** Nanoseconds a packet of one slice; an empty one only lays the frames. */
  slice(isEmpty: boolean): number;
  /** Throws unless every packet was forwarded and no flow was made or lost. */
  check(): void;
}

const PATHS = [
  ['none × IPIP', 81],
  ['DNAT × GRE', 80],
] as const;
const FLOWS = [1, 1_000, 1_000_000];
const SLICES = 400;
const SYN = 2;
const ACK = 16;

/** Opens the flows, and walks until the compiler has done its best. */
export async function prepare(vport: number, flows: number): Promise<Walk> {
  const core = await open(flows);
  const frames = new Frames(core, flows, vport);
  const { forwardBurst } = core.exports;
  if (forwardBurst === undefined) throw new Error('The core has no forwardBurst');
  const bursts = flows > 100_000 ? 40 : 100;
  let walked = 0;
  const round = (count: number, flags: number, isEmpty: boolean): number => {
    const start = process.hrtime.bigint();
    for (let burst = 0; burst < count; burst++) {
      frames.lay(flags);
      if (!isEmpty) forwardBurst(BURST, 1000);
    }
    if (!isEmpty) walked += count * BURST;
    return Number(process.hrtime.bigint() - start) / (count * BURST);
  };
  round(Math.ceil(flows / BURST) + 1, SYN, false);
  frames.restart();
  for (let count = 0; count < 100; count++) round(bursts, ACK, false);
  return {
    slice: (isEmpty) => round(bursts, ACK, isEmpty),
    check: () => {
      const counters = core.counters();
      if (counters.forwarded !== walked || counters.flowsActive !== flows)
        throw new Error(`The bench is broken: ${JSON.stringify(counters)}`);
    },
  };
}

/** Best times of each walk, taken in turns. */
function measure(walks: readonly Walk[]): number[] {
  const full = walks.map(() => Infinity);
  const empty = walks.map(() => Infinity);
  for (let slice = 0; slice < SLICES; slice++) {
    for (const [at, walk] of walks.entries()) {
      full[at] = Math.min(full[at] as number, walk.slice(false));
      empty[at] = Math.min(empty[at] as number, walk.slice(true));
    }
  }
  for (const walk of walks) walk.check();
  return full.map((time, at) => time - (empty[at] as number));
}

/** For tools/bench/main.ts. */
export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [path, vport] of PATHS) {
    let one = 0;
    for (const flows of FLOWS) {
      const [value = 0] = measure([await prepare(vport, flows)]);
      if (flows === 1) one = value;
      const what = `${path}, ${flows.toLocaleString('en')} flows`;
      rows.push({ what, value, unit: 'ns/packet', ratio: value / one, peer: 'one flow' });
    }
  }
  return rows;
}

/** The same rows, each against another build. */
async function runAgainst(folder: string, wanted: string): Promise<Row[]> {
  const url = pathToFileURL(resolve(folder, 'bench/core.bench.ts')).href;
  const other = (await import(url)) as { prepare: typeof prepare };
  const rows: Row[] = [];
  for (const [path, vport] of PATHS) {
    for (const flows of FLOWS) {
      const what = `${path}, ${flows.toLocaleString('en')} flows`;
      if (!what.includes(wanted)) continue;
      const [value = 0, old = 1] = measure([await prepare(vport, flows), await other.prepare(vport, flows)]);
      rows.push({ what, value, unit: 'ns/packet', ratio: value / old, peer: `${old.toFixed(1)} ns before` });
    }
  }
  return rows;
}

if (import.meta.main) {
  const at = process.argv.indexOf('--against');
  const rows = at < 0 ? await run() : await runAgainst(process.argv[at + 1] ?? '.', process.argv[at + 2] ?? '');
  for (const { what, value, unit, ratio, peer } of rows)
    console.log(
      `${what.padEnd(32)} ${value.toFixed(1).padStart(7)} ${unit}  ${ratio?.toFixed(2) ?? ''} of ${peer ?? ''}`,
    );
}
