// A VM changes its host, and an endpoint is killed, while downloads run through the directors (P7.6, P8, P38): nobody retries, nothing is
// reset, and every byte arrives. In a download only the target sends on its own: what the client says is an answer to it.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { createBalancer, served } from '../apps/demo/src/story/balancer.ts';
import { CLIENT, NODES, TARGET_PORT, VIP, VMS } from '../apps/demo/src/topology.ts';
import { DRIP_BYTES, patternBytes } from '../apps/demo/src/vm.ts';
import { tally, until, watchNodes } from '../apps/demo/src/watch.ts';
import type { NodeName, Seen } from '../apps/demo/src/watch.ts';
import { ipIn, namespaceName, stop } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const PIECES = 200;
const DRIPPED = createHash('sha256')
  .update(patternBytes(PIECES * DRIP_BYTES))
  .digest('hex');
const DOWNLOADS = 8;
const MOVED = VMS['vm-a1'];
const DIRECTORS = ['ld1', 'ld2'] as const;

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({
      port: 'packet',
      label: 'mig',
      nodes: [...DIRECTORS, 'host1', 'host2'],
      // host1 keeps a VM of the VPC, so it knows where the one that left has gone.
      placement: { 'vm-a2': 'host1' },
    });
    const targets = [{ instance: 'ins-vm-a1', port: TARGET_PORT }];
    await served(cluster, await createBalancer(cluster, { id: 'a', vips: [VIP.a], port: 80, targets }), VIP.a);
  });
  afterAll(() => cluster?.down());

  const download = () =>
    cluster.client.run(
      Array.from({ length: DOWNLOADS }, () => ({
        kind: 'http' as const,
        address: VIP.a,
        port: 80,
        path: `/drip/${PIECES}`,
        timeoutMs: 20_000,
      })),
    );
  const counter = async (node: NodeName, name: string): Promise<number> => {
    const { items } = await cluster.api.must<{ items: { counters: Record<string, number> }[] }>(
      'GET',
      `/v1/counters?node=${node}`,
    );
    return items[0]?.counters[name] ?? 0;
  };
  const applied = async (node: NodeName, revision: number): Promise<boolean> => {
    const { nodes } = await cluster.api.must<{ nodes: { id: string; applied: { revision: number } | null }[] }>(
      'GET',
      '/v1/status',
    );
    return (nodes.find(({ id }) => id === node)?.applied?.revision ?? 0) >= revision;
  };
  /** Directors that hear nothing of the controller keep sending to the old host. */
  const linkOf = (director: NodeName, word: 'add' | 'del'): void =>
    ipIn(cluster.network, 'switch', [
      `rule ${word} pref 5 from ${NODES.ctl.v4} to ${NODES[director].v4} ${word === 'add' ? 'blackhole' : ''}`,
    ]);
  const tunnels = (seen: readonly Seen[], node: NodeName, isFromNode: boolean): Seen[] =>
    seen.filter((one) => one.node === node && one.isFromNode === isFromNode && one.ip.inner?.destination === MOVED.v4);

  /** A reset between client and VM; probes end by one as well. */
  const isReset = ({ ip }: Seen): boolean =>
    [ip, ip.inner].some(
      (one) => one?.tcp?.flags.includes('R') && [one.source, one.destination].some((address) => address === CLIENT.v4),
    );

  test('downloads go on while their VM moves, also as long as the directors still send to the old host', async () => {
    const watch = watchNodes(cluster.network, [...DIRECTORS, 'host1', 'host2'], 'moved');
    const downloads = download();
    await sleep(700);
    for (const director of DIRECTORS) linkOf(director, 'add');
    ipIn(cluster.network, 'host1', [`link set ${MOVED.device} netns ${namespaceName(cluster.network, 'host2')}`]);
    ipIn(cluster.network, 'host2', [`link set ${MOVED.device} up`]);
    const { revision } = await cluster.api.must<{ revision: number }>('PATCH', '/v1/instances/ins-vm-a1', {
      host: 'host2',
    });
    for (const host of ['host1', 'host2'] as const) expect(await until(() => applied(host, revision), 3000)).toBe(true);
    await sleep(1000);
    const meanwhile = watch.seen();
    expect(await counter('host1', 'endpoint.followed')).toBeGreaterThan(DOWNLOADS);
    for (const director of DIRECTORS) linkOf(director, 'del');
    for (const director of DIRECTORS) expect(await until(() => applied(director, revision), 8000)).toBe(true);
    const followed = await counter('host1', 'endpoint.followed');
    const outcomes = await downloads;
    const { seen, faults } = watch.stop();
    expect(tally(outcomes.map(({ error }) => error ?? 'whole')).counts).toEqual({ whole: DOWNLOADS });
    expect(outcomes.every(({ bodyHash }) => bodyHash === DRIPPED)).toBe(true);
    expect(faults).toEqual([]);
    expect(seen.filter(isReset)).toEqual([]);
    // What followed is what the directors sent, with their addresses, once lowered by the old host.
    const sent = tunnels(meanwhile, 'host1', true);
    const own = new Set(DIRECTORS.flatMap((node) => tunnels(seen, node, true).map(({ ip }) => ip.source)));
    expect(sent.length).toBeGreaterThan(DOWNLOADS);
    expect(sent.every(({ ip }) => own.has(ip.source) && ip.destination === NODES.host2.v4)).toBe(true);
    // When the directors know, nothing takes the way round any more.
    expect(await counter('host1', 'endpoint.followed')).toBe(followed);
  });

  test('downloads go on when the endpoint is killed and comes back without its memory', async () => {
    const host = 'host2';
    const downloads = download();
    await sleep(700);
    const before = await counter(host, 'endpoint.recalledExact');
    await stop(cluster.roles.get(host)!, 'SIGKILL');
    await cluster.startRole(host);
    const outcomes = await downloads;
    expect(before).toBeGreaterThan(0);
    expect(tally(outcomes.map(({ error }) => error ?? 'whole')).counts).toEqual({ whole: DOWNLOADS });
    expect(outcomes.every(({ bodyHash }) => bodyHash === DRIPPED)).toBe(true);
    // The first word after the restart is the target's, and no memory knows where to.
    expect(await counter(host, 'endpoint.rendezvous')).toBeGreaterThan(0);
  });
});
