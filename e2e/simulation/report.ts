// Figures of a campaign: histories, packets, events, and the share of connections by fate.
import { type Outcome } from './history.ts';

export interface Tally {
  histories: number;
  events: number;
  packets: number;
  frames: number;
  narrowed: number;
  bare: number;
  readonly fates: Record<string, number>;
  readonly excuses: Record<string, number>;
  readonly happenings: Record<string, number>;
  /** Seeds. */
  readonly broken: number[];
  readonly begunMs: number;
  add(outcome: Outcome): void;
}

export function tallyOf(): Tally {
  return {
    histories: 0,
    events: 0,
    packets: 0,
    frames: 0,
    narrowed: 0,
    bare: 0,
    fates: {},
    excuses: {},
    happenings: {},
    broken: [],
    begunMs: performance.now(),
    add(outcome) {
      this.histories++;
      for (const name of ['events', 'packets', 'frames', 'narrowed', 'bare'] as const) this[name] += outcome[name];
      for (const name of ['fates', 'excuses', 'happenings'] as const)
        for (const [key, count] of Object.entries(outcome[name])) this[name][key] = (this[name][key] ?? 0) + count;
      if (outcome.violation !== undefined) this.broken.push(outcome.seed);
    },
  };
}

export function report(tally: Tally): string {
  const { histories, events, packets, frames, narrowed, bare, broken } = tally;
  const seconds = (performance.now() - tally.begunMs) / 1_000;
  const table = (rows: Readonly<Record<string, number>>): string => {
    const all = Object.values(rows).reduce((sum, count) => sum + count, 0);
    const lines = Object.entries(rows).sort(([, a], [, b]) => b - a);
    return lines
      .map(
        ([key, count]) =>
          `  ${key.padEnd(36)} ${String(count).padStart(8)} ${((100 * count) / all).toFixed(2).padStart(7)} %\n`,
      )
      .join('');
  };
  return (
    `${histories} histories in ${seconds.toFixed(0)} s: ${events} events, ${packets} packets on the wires, ` +
    `${frames} frames through directors and endpoints, ${narrowed} PTBs heard, ${bare} answers bare\n` +
    `connections:\n${table(tally.fates)}not completed, by what had happened before:\n${table(tally.excuses)}` +
    `what happened:\n${table(tally.happenings)}` +
    (broken.length === 0
      ? 'no promise was broken\n'
      : `BROKEN: ${broken.length} histories, seeds ${broken.join(' ')}\n`)
  );
}
