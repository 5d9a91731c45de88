// The lines of the story over the packet port, which every user has. Each line makes claims with traffic, counters and a capture.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { portsInUse, startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { STORY } from '../apps/demo/src/story.ts';
import { assertAllHeld, createTeller } from '../apps/demo/src/tell.ts';
import { captureFiles } from '../apps/demo/src/watch.ts';
import { hasTshark, mergeCaptures, tsharkBadChecksums, tsharkFields } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ port: 'packet', label: 'pkt' });
  });
  afterAll(() => cluster?.down());

  test('the directors say that the packet port carries the packets', async () => {
    const ports = await portsInUse(cluster);
    expect(ports['ld1']).toMatch(/^packet/);
    expect(ports['ld2']).toMatch(/^packet/);
  });

  for (const { title, run } of STORY) {
    test(`${title}`, async () => {
      const teller = createTeller(() => undefined);
      await run(cluster, teller);
      assertAllHeld(teller);
    });
  }

  test('tshark finds no wrong checksum in any capture, and reads the tunnels as we do', (context) => {
    context.skip(!hasTshark(), 'the second opinion needs tshark: apt-get install tshark');
    const files = captureFiles(cluster.network);
    expect(files.length).toBeGreaterThan(10);
    expect(tsharkBadChecksums(mergeCaptures(files, join(cluster.network.directory, 'all.pcap')))).toEqual([]);
    const keys = files
      .filter((file) => file.includes('weights-v4-ld'))
      .flatMap((file) => tsharkFields(file, 'gre.key', ['gre.key']));
    expect(new Set(keys.flat())).toEqual(new Set(['0x00000064']));
  });
});
