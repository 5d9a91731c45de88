// The story's data path over AF_XDP: the same lines, and the proof that the kernel's own stack never saw the packets (proofs.md).
import { afterAll, beforeAll, expect, test } from 'vitest';
import { portsInUse, startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { STORY } from '../apps/demo/src/story.ts';
import { assertAllHeld, createTeller } from '../apps/demo/src/tell.ts';
import { VIP } from '../apps/demo/src/topology.ts';
import { kernelReceives } from '../apps/demo/src/watch.ts';
import { isInsideUserNamespace } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

/** Routing, pings and heartbeats aside, hundreds of requests may not show in the stack. */
const STRAY_PACKETS_MAX = 60;
const REQUESTS = 400;
const LINES = STORY.filter(({ title }) => /^[1-6]\.|IPv6/.test(title));

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster | undefined;
  const why = isInsideUserNamespace() ? 'BPF needs the initial user namespace: run as root' : undefined;

  beforeAll(async () => {
    if (why === undefined) cluster = await startCluster({ port: 'xdp', label: 'xdp' });
  });
  afterAll(() => cluster?.down());

  test('the directors say that AF_XDP carries the packets', async (context) => {
    if (!cluster) return context.skip(why);
    const ports = await portsInUse(cluster);
    expect(ports['ld1']).toMatch(/^xdp/);
    expect(ports['ld2']).toMatch(/^xdp/);
  });

  for (const { title, run } of LINES) {
    test(`${title}`, async (context) => {
      if (!cluster) return context.skip(why);
      const teller = createTeller(() => undefined);
      await run(cluster, teller);
      assertAllHeld(teller);
    });
  }

  test("the receive counters of the directors' kernels stay flat while hundreds of requests pass", async (context) => {
    if (!cluster) return context.skip(why);
    const { client, network } = cluster;
    const count = (): number => kernelReceives(network, 'ld1') + kernelReceives(network, 'ld2');
    const before = count();
    const outcomes = await client.run(
      Array.from({ length: REQUESTS }, () => ({ kind: 'http' as const, address: VIP.a, port: 80 })),
    );
    const strays = count() - before;
    expect(outcomes.filter(({ status }) => status === 200).length).toBe(REQUESTS);
    expect(strays).toBeLessThan(STRAY_PACKETS_MAX);
  });
});
