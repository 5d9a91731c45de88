// A short campaign on nat64.wasm and tcp.wasm on each run, their kept corpus, and proofs that the checks can fail.
import { describe, expect, test } from 'vitest';
import { Tally } from './campaign.ts';
import { aloneOf, readCorpus } from './corpus.ts';
import { NAT64_CONFIGURATIONS, Nat64World } from './nat64-world.ts';
import { runNat64Epoch } from './nat64-campaign.ts';
import { Random } from './random.ts';
import { share } from './report.ts';
import { runTcpEpoch } from './tcp-campaign.ts';

const CAMPAIGNS = { nat64: runNat64Epoch, tcp: runTcpEpoch } as const;
const KINDS = ['nat64', 'tcp'] as const;

describe.each(KINDS)('a short campaign on %s.wasm', (kind) => {
  test('keeps every invariant and replays exactly', async () => {
    const campaign = async (): Promise<Tally> => {
      const tally = new Tally();
      for (let epoch = 0; epoch < NAT64_CONFIGURATIONS; epoch++)
        await CAMPAIGNS[kind]({ seed: 11, epoch, executions: 4000 }, tally);
      return tally;
    };
    const first = await campaign();
    expect(first.executions).toBe(4000 * NAT64_CONFIGURATIONS);
    expect(first.judged).toBeGreaterThan(5000);
    expect(kind === 'nat64' ? share(first, 'Translated') : 1 - share(first, 'Refused')).toBeGreaterThan(0.3);
    expect({ ...(await campaign()), ms: 0 }).toEqual({ ...first, ms: 0 });
  }, 60_000);

  test('every kept input has the outcome that it was kept for', async () => {
    const kept = readCorpus(kind);
    expect(kept.length).toBeGreaterThan(15);
    for (const { verdict, reason, port, bytes } of kept.filter(({ isAlone }) => isAlone))
      expect(await aloneOf(kind, reason, port, bytes)).toBe(`${verdict} ${reason}`);
  }, 60_000);
});

test('the state of a translator is reached: bindings, sessions, hairpins, datagrams put together', async () => {
  const tally = new Tally();
  for (const epoch of [3, 4, 5]) await runNat64Epoch({ seed: 12, epoch, executions: 8000 }, tally);
  for (const [name, count] of Object.entries(tally.counters)) expect({ [name]: count > 0 }).toEqual({ [name]: true });
  expect(Object.keys(tally.counters).length).toBe(5);
}, 60_000);

describe('the checks themselves', () => {
  test('a setting that was written, a row too many and a wrong checksum are seen', async () => {
    const world = await Nat64World.create(3, 1);
    const { memory } = world;
    const random = new Random(1);
    world.checkTables();
    for (const at of [memory.state, memory.scratch, memory.bytes.length - 1, memory.tables]) {
      memory.bytes[at] = (memory.bytes[at] as number) ^ 1;
      expect(() => world.checkTables()).toThrow(/written/);
      memory.bytes[at] = (memory.bytes[at] as number) ^ 1;
    }
    const seed = world.seeds[2] as Uint8Array;
    const { verdict, sent } = world.run(seed, random, 1000);
    const out = sent[0] as Uint8Array;
    expect(world.judge(seed, verdict, out)).toBeUndefined();
    for (const at of [11, out.length - 1]) {
      out[at] = (out[at] as number) ^ 1;
      expect(world.judge(seed, verdict, out)).toMatch(/IPv4 header|UDP/);
      out[at] = (out[at] as number) ^ 1;
    }
    expect(world.judge(seed, verdict, out.subarray(1))).toBeDefined();
  });
});
