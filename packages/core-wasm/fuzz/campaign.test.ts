// A short campaign of every kind on each run, the kept corpus, and proofs that the campaign's checks can fail.
import { describe, expect, test } from 'vitest';
import { limits } from '../layout/index.ts';
import { runEpoch, Tally, type EpochOptions } from './campaign.ts';
import { outcomeOf, readCorpus, worldOf } from './corpus.ts';
import { DIRECTOR_SEEDS, DirectorWorld } from './director-world.ts';
import { share } from './report.ts';
import { newInput } from './rig.ts';
import { Layers, fault, ipOffset } from './wire.ts';

const WALKS = ['director', 'endpoint'] as const;
const epoch = async (options: Partial<EpochOptions> & Pick<EpochOptions, 'walk'>): Promise<Tally> => {
  const tally = new Tally();
  await runEpoch({ seed: 7, epoch: 3, executions: 20_000, artefacts: ['trace'], judgeOnceIn: 4, ...options }, tally);
  return tally;
};

describe.each(WALKS)('a short campaign on the %s', (walk) => {
  test('keeps every invariant, forwards more than 30 %, and replays exactly', async () => {
    const first = await epoch({ walk });
    expect(share(first, 'Forward')).toBeGreaterThan(0.3);
    expect(Object.keys(first.reasons).length).toBeGreaterThan(12);
    expect(first.judged).toBeGreaterThan(1000);
    const again = await epoch({ walk });
    expect({ ...again, ms: 0 }).toEqual({ ...first, ms: 0 });
  });

  test('the four artefacts agree, byte for byte, on a random sequence of 10,000 packets', async () => {
    const artefacts = ['plain', 'shared', 'check', 'trace'] as const;
    const tally = await epoch({ walk, executions: 10_000, artefacts });
    expect(tally.compared).toBeGreaterThanOrEqual(3 * 10_000);
    expect(share(tally, 'Forward')).toBeGreaterThan(0.3);
  });

  test('what lies around a frame changes nothing: nothing is read outside', async () => {
    const tally = await epoch({ walk, artefacts: ['shared', 'shared'], fills: [0xa5, 0x5a], epoch: 4 });
    expect(tally.compared).toBeGreaterThanOrEqual(20_000);
  });

  test('every kept input has the outcome that it was kept for', async () => {
    const kept = readCorpus(walk);
    expect(kept.length).toBeGreaterThan(15);
    const carried = await worldOf(walk);
    for (const { port, bytes } of kept) await outcomeOf(carried, port, bytes);
    for (const { verdict, reason, port, bytes } of kept.filter(({ isAlone }) => isAlone))
      expect(await outcomeOf(await worldOf(walk), port, bytes)).toBe(`${verdict} ${reason}`);
  });
});

test('every step of the director is reached by many packets', async () => {
  const { steps, traced } = await epoch({ walk: 'director', executions: 60_000 });
  expect(traced).toBeGreaterThan(900);
  const deep = [
    'Classify',
    'Admit',
    'Track',
    'Schedule',
    'Translate',
    'Encapsulate',
    'Decapsulate',
    'Emit',
    'Icmp',
    'Eip',
  ];
  expect(deep.filter((step) => (steps[step] ?? 0) <= 10)).toEqual([]);
});

describe('the checks themselves', () => {
  test('a byte written beside a chunk, beside a table or counted twice is seen', async () => {
    const world = new DirectorWorld();
    const rig = await world.open('plain', 1, 0xa5);
    rig.checkGuards(limits.BURST_MAX, true);
    const { slab, flows } = rig.core.worker;
    for (const at of [slab + rig.chunk(3) - 1, slab + rig.chunk(3) + limits.CHUNK_BYTES, flows - 1]) {
      const kept = rig.core.bytes[at] as number;
      rig.core.bytes[at] = kept ^ 1;
      expect(() => rig.checkGuards(limits.BURST_MAX, true)).toThrow(/written/);
      rig.core.bytes[at] = kept;
    }
    rig.received = 1;
    expect(() => rig.checkCounters()).toThrow(/1 packets went in and 0 were counted/);
  });

  test('a wrong checksum anywhere, a strange net and a strange target are seen', async () => {
    const world = new DirectorWorld();
    const rig = await world.open('plain', 1, 0xa5);
    const input = newInput();
    const seed = DIRECTOR_SEEDS[1] as Uint8Array;
    input.bytes.set(seed);
    input.length = seed.length;
    rig.place(0, input);
    rig.run(1, 1000);
    const output = Uint8Array.from(rig.core.frame(0));
    const layers = new Layers();
    const read = (): Layers => layers.read(output, ipOffset(output, output.length), output.length);
    expect(world.judge(seed, seed.length, output)).toBeUndefined();
    expect(fault(output, read())).toBeUndefined();
    for (const at of [output.length - 1, 24, (read().l3[1] as number) + 8]) {
      output[at] = (output[at] as number) ^ 1;
      expect(fault(output, read())).toMatch(/of layer|IPv4/);
      output[at] = (output[at] as number) ^ 1;
    }
    const keyAt = (read().gre[0] as number) + 7;
    output[keyAt] = 200;
    expect(world.judge(seed, seed.length, output)).toMatch(/of net 200/);
    output[keyAt] = 100;
    const target = (read().l3[1] as number) + 19;
    output[target] = 9;
    expect(world.judge(seed, seed.length, output)).toMatch(/was sent to/);
  });
});
