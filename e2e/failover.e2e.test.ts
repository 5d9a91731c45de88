// A director ends while connections run through it: in order, without one failure; by SIGKILL, with downloads that go on (P2, P8, P35).
// Nothing here touches a route and nobody retries.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { verdict } from '../apps/demo/src/story/failures.ts';
import { createBalancer, served } from '../apps/demo/src/story/balancer.ts';
import { CLIENT, TARGET_PORT, VIP } from '../apps/demo/src/topology.ts';
import { DRIP_BYTES, patternBytes } from '../apps/demo/src/vm.ts';
import { routed, tally, watchNodes } from '../apps/demo/src/watch.ts';
import type { Seen } from '../apps/demo/src/watch.ts';
import { stop } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const PIECES = 150;
const DRIPPED = createHash('sha256')
  .update(patternBytes(PIECES * DRIP_BYTES))
  .digest('hex');
const DOWNLOADS = 12;
const OTHER = { ld1: 'ld2', ld2: 'ld1' } as const;

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ port: 'packet', label: 'fail', nodes: ['ld1', 'ld2', 'host1', 'host2'] });
    const targets = ['ins-vm-a1', 'ins-vm-a2'].map((instance) => ({ instance, port: TARGET_PORT }));
    await served(cluster, await createBalancer(cluster, { id: 'a', vips: [VIP.a], port: 80, targets }), VIP.a);
    if ((await verdict(cluster, 'lbtg-a', 'Alive', 9000, 'all')) === undefined)
      throw new Error('the targets are never alive');
  });
  afterAll(() => cluster?.down());

  /** Which director carries the flow of each client port: the one that sends its packets into the tunnel. */
  const carriers = (seen: readonly Seen[]): Map<number, string> =>
    new Map(
      seen
        .filter(({ node, isFromNode, ip }) => node.startsWith('ld') && isFromNode && ip.inner?.source === CLIENT.v4)
        .map(({ node, ip }) => [ip.inner?.tcp?.sourcePort ?? 0, node]),
    );
  const orders = (count: number, path: string, timeoutMs: number) =>
    Array.from({ length: count }, () => ({ kind: 'http' as const, address: VIP.a, port: 80, path, timeoutMs }));

  test('downloads whose director is killed go on through the other one, to the same target, to the last byte', async () => {
    const watch = watchNodes(cluster.network, ['ld1', 'ld2'], 'killed');
    const downloads = cluster.client.run(orders(DOWNLOADS, `/drip/${PIECES}`, 15_000));
    await sleep(700);
    const before = carriers(watch.seen());
    const { counts } = tally([...before.values()]);
    const victim = (counts['ld1'] ?? 0) >= (counts['ld2'] ?? 0) ? 'ld1' : 'ld2';
    expect(before.size).toBe(DOWNLOADS);
    await stop(cluster.roles.get(victim)!, 'SIGKILL');
    await sleep(50);
    const untilThen = tally(watch.seen().map(({ node }) => node)).counts;
    const outcomes = await downloads;
    const { seen } = watch.stop();
    // Ready for the next test, however this one ends.
    await cluster.startRole(victim);
    expect(await routed(cluster.network, VIP.a, 2)).toBe(true);
    expect(tally(outcomes.map(({ error }) => error ?? 'whole')).counts).toEqual({ whole: DOWNLOADS });
    expect(outcomes.every(({ bodyHash }) => bodyHash === DRIPPED)).toBe(true);
    // Captures are in order for each node, not among nodes: what came later is what lies behind each one's own count.
    const later = ['ld1', 'ld2'].flatMap((name) =>
      seen.filter(({ node }) => node === name).slice(untilThen[name] ?? 0),
    );
    const after = carriers(later);
    expect(after.size).toBe(DOWNLOADS);
    expect([...after.values()].every((node) => node === OTHER[victim])).toBe(true);
  });

  test('a director that is told to end withdraws first: not one of the requests around it fails', async () => {
    const requests = cluster.client.run(orders(600, '/hold/20', 3000), { concurrency: 8, paceMs: 5 });
    await sleep(400);
    await stop(cluster.roles.get('ld1')!, 'SIGTERM', 10_000);
    const outcomes = await requests;
    expect(tally(outcomes.map(({ error, status }) => error ?? String(status))).counts).toEqual({ 200: 600 });
  });
});
