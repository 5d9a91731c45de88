// The tables of a campaign, as Markdown.
import type { Tally } from './campaign.ts';

/** Part of the received packets with this verdict. */
export const share = (tally: Tally, verdict: string): number =>
  (tally.verdicts[verdict] ?? 0) / Math.max(1, tally.executions);

export function report(walk: string, tally: Tally): string {
  const { executions, ms, judged, compared, flips, traced } = tally;
  const rate = Math.round(executions / (ms / 1000));
  const lines = [
    `## The ${walk}`,
    '',
    `${number(executions)} executions, ${number(rate)} a second; ${number(flips)} changes of image, health, neighbours or links under them; ` +
      `${number(judged)} sent packets judged by the independent checker, ${number(compared)} compared between two artefacts with different guard bytes.`,
    '',
    ...table('Verdict', tally.verdicts, executions),
    ...table('Reason', tally.reasons, executions),
    ...(traced === 0 ? [] : table(`Step (of ${number(traced)} traced packets)`, tally.steps, traced)),
    ...table('What happened inside', tally.counters, 0),
  ];
  return `${lines.join('\n')}\n`;
}

function table(title: string, counts: Record<string, number>, whole: number): string[] {
  const rows = Object.entries(counts).sort(([, a], [, b]) => b - a);
  if (rows.length === 0) return [];
  const percent = (count: number): string => ((100 * count) / whole).toFixed(count / whole < 0.001 ? 4 : 2);
  return [
    whole === 0 ? `| ${title} | Count |` : `| ${title} | Count | % |`,
    whole === 0 ? '|---|--:|' : '|---|--:|--:|',
    ...rows.map(([name, count]) =>
      whole === 0 ? `| ${name} | ${number(count)} |` : `| ${name} | ${number(count)} | ${percent(count)} |`,
    ),
    '',
  ];
}

const number = (value: number): string => value.toLocaleString('en');
