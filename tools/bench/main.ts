// `npm run bench [name]`: runs each package's benches one after the other and prints their tables. Rows are ratios of one run;
// absolute figures are printed for orientation only, since machines are noisy.
import { existsSync, globSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import process from 'node:process';
import type { Row } from './row.ts';

/** Prints rows as a Markdown table, so that it can go into docs/reference/performance.md as it is. */
function table(rows: readonly Row[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(['what', 'value', 'ratio', 'peer', 'note']),
    line(['---', '---', '---', '---', '---']),
    ...rows.map((row) =>
      line([
        row.what,
        `${row.value.toPrecision(3)} ${row.unit}`,
        row.ratio?.toFixed(2) ?? '–',
        row.peer ?? '–',
        row.note ?? '',
      ]),
    ),
  ].join('\n');
}

const wanted = process.argv[2] ?? '';
for (const file of globSync(['packages/*/bench/*.bench.ts', 'e2e/*.bench.ts']).sort()) {
  if (!file.includes(wanted) || !existsSync(file)) continue;
  const bench = (await import(pathToFileURL(file).href)) as { run(): Promise<readonly Row[]> };
  console.log(`\n### ${file}\n`);
  console.log(table(await bench.run()));
}
