// All artefacts are one core: the same packets give the same verdicts and the same bytes (design.md, decision 2).
import { expect, test } from 'vitest';
import { WorkerState } from '../layout/index.ts';
import type { Artefact } from '../src/index.ts';
import { director } from './director-fixture.ts';
import { SAMPLES } from './samples.ts';

async function walk(artefact: Artefact) {
  const { core, apply, send } = await director({ artefact, withoutImage: true });
  // Rewritten ports follow from the keyed hash, so all four get one key.
  core.bytes.fill(7, core.worker.state + WorkerState.at.sipKey0, core.worker.state + WorkerState.at.sipKey0 + 16);
  const { TABLES } = await import('./director-fixture.ts');
  apply(TABLES);
  const outcomes = SAMPLES.map((frame) => {
    const { verdict, reason, frame: out } = send(frame);
    return `${verdict} ${reason} ${out.toString('hex')}`;
  });
  return { outcomes, counters: core.counters() };
}

test('the four artefacts agree on every sample packet, byte for byte', async () => {
  const plain = await walk('plain');
  expect(new Set(plain.outcomes.map((line) => line.split(' ')[0]))).toEqual(
    new Set(['Forward', 'Drop', 'Punt', 'Consumed']),
  );
  expect(plain.outcomes.filter((line) => line.startsWith('Forward')).length).toBeGreaterThan(25);
  for (const artefact of ['check', 'shared', 'trace'] as const) expect(await walk(artefact)).toEqual(plain);
});

test('every packet is counted once: received + added = forwarded + dropped + punted + consumed + held', async () => {
  const { counters } = await walk('check');
  const { received, added = 0, forwarded = 0, dropped = 0, punted = 0, consumed = 0, held = 0 } = counters;
  expect(received).toBe(SAMPLES.length);
  expect(added).toBeGreaterThan(1);
  expect(forwarded + dropped + punted + consumed + held).toBe((received ?? 0) + added);
  const reasons = Object.entries(counters).filter(([name]) => name.startsWith('reason.'));
  expect(reasons.reduce((sum, [, count]) => sum + count, 0)).toBe(dropped + punted + consumed + held);
});
