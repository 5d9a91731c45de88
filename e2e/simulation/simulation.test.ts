// The simulated cluster as a test: seeds replay exactly, and rules that are broken on purpose are seen (proofs.md). The campaign is
// `npm run simulate`.
import { describe, expect, test, vi } from 'vitest';
import { type DirectorImage } from '@openclb/model';
import { runHistory } from './history.ts';

// A busy machine takes as long as it wants: time in here is virtual.
vi.setConfig({ testTimeout: 120_000 });

/** The first broken promise among a few histories with a broken rule. */
async function firstViolation(options: Omit<Parameters<typeof runHistory>[0], 'seed'>, seeds = 12): Promise<string> {
  for (let seed = 1; seed <= seeds; seed++) {
    const { violation } = await runHistory({ seed, ...options });
    if (violation !== undefined) return violation;
  }
  return 'nothing was seen';
}

const swapped = <T>([first, second, ...rest]: readonly T[]): T[] => [second!, first!, ...rest];

test('a seed replays exactly: the same events, packets, fates', async () => {
  const first = await runHistory({ seed: 3 });
  expect((await runHistory({ seed: 3 })).digest).toBe(first.digest);
  expect(first.packets).toBeGreaterThan(1_000);
});

test('a cluster that is left alone loses nothing', async () => {
  for (let seed = 1; seed <= 2; seed++) {
    const { violation, fates } = await runHistory({ seed, only: ['mtu', 'drain'] });
    expect(violation).toBeUndefined();
    expect(Object.keys(fates)).toEqual(['promised, completed']);
  }
});

test('random histories keep every promise', async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const { violation } = await runHistory({ seed });
    expect(violation, `replay: SEED=${seed} npm run simulate`).toBeUndefined();
  }
});

describe('seeds that were bugs', () => {
  test.each([15, 52])(
    '%i: a copy for one director told the others nothing, and the flows were lost with their director',
    async (seed) => {
      expect((await runHistory({ seed })).violation).toBeUndefined();
    },
  );
});

describe('the checks can fail', () => {
  test('targets of the two VPCs that are swapped, with net and host, are seen in the wrong VPC', async () => {
    const image = (image: DirectorImage): DirectorImage => {
      const twinOf = ({ net, address }: DirectorImage['targets'][number]) =>
        image.targets.find((other) => other.net !== net && other.address === address);
      const targets = image.targets.map((row) => {
        const { net, host } = twinOf(row) ?? row;
        return { ...row, net, host };
      });
      return { ...image, targets };
    };
    expect(await firstViolation({ sabotage: { image }, only: ['mtu'] })).toMatch(/came to .* of VPC/);
  });

  test('a group with the targets of another group is seen', async () => {
    const image = (image: DirectorImage): DirectorImage => {
      const of = (name: string) => image.groups.filter((row) => row.name === name);
      const others = of('lbtg-wrr-100');
      const groups = image.groups.map((row) => {
        const index = of('lbtg-hash-100').indexOf(row);
        return index < 0 ? row : { ...row, targets: others[index]!.targets };
      });
      return { ...image, groups };
    };
    expect(await firstViolation({ sabotage: { image }, only: ['mtu'] })).toMatch(/no target of its listener/);
  });

  test('hosts that are swapped are seen: nothing arrives', async () => {
    const image = (image: DirectorImage): DirectorImage => {
      const hosts = swapped(image.hosts).map((row, index) => ({ ...row, id: image.hosts[index]!.id }));
      return { ...image, hosts };
    };
    expect(await firstViolation({ sabotage: { image }, only: ['mtu'] })).toMatch(/promised connection was lost/);
  });

  test('without flow sync a killed director costs old connections on wrr', async () => {
    const violation = await firstViolation({ sabotage: { isSyncOff: true }, only: ['kill'] });
    expect(violation).toMatch(/promised connection was lost/);
  });

  test('a byte that changes on its way to a host is seen', async () => {
    const packet = (to: string, bytes: Buffer): Buffer => {
      if (!to.startsWith('client')) return bytes;
      const copy = Buffer.from(bytes);
      copy[copy.length - 1]! ^= 1;
      return copy;
    };
    expect(await firstViolation({ sabotage: { packet }, only: ['mtu'] })).toMatch(/wrong checksum/);
  });
});
