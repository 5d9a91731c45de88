// The fixture rows, one set a section of an RFC and named by it: packets in, verdict and packets out, on all four artefacts.
import { describe, expect, test } from 'vitest';
import { ROWS, runRow } from './rows.ts';

const sections = new Map<string, (typeof ROWS)[number][]>();
for (const row of ROWS) sections.set(row.rfc, [...(sections.get(row.rfc) ?? []), row]);

describe.for([...sections])('%s', ([, rows]) => {
  test.for(rows.map((row) => [row.name, row] as const))('%s', async ([, row]) => {
    const records = (await runRow(row, 'check')).at(-1) ?? [];
    const [{ verdict, reason }] = records as [(typeof records)[0]];
    expect(verdict === 'Forward' ? verdict : `${verdict} ${reason}`).toBe(row.verdict);
    const sent = records.filter((record) => record.verdict === 'Forward').map(({ frame }) => frame.subarray(14));
    expect(sent.map((packet) => packet.toString('hex'))).toEqual(
      (row.out ?? []).map((packet) => packet.toString('hex')),
    );
  });
});

test('the four artefacts agree on every row, byte for byte', async () => {
  const differing: string[] = [];
  for (const row of ROWS) {
    const [first, ...others] = await Promise.all(
      (['plain', 'shared', 'check', 'trace'] as const).map(async (artefact) =>
        JSON.stringify(await runRow(row, artefact)),
      ),
    );
    if (others.some((other) => other !== first)) differing.push(`${row.rfc}: ${row.name}`);
  }
  expect(differing).toEqual([]);
  expect(ROWS.length).toBeGreaterThan(250);
}, 60_000);
