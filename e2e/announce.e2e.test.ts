// Directors that announce by BGP, BFD and OSPF to a BIRD on the switch (data-plane.md P2, reference/routing.md): what each kind of end costs.
// Nothing here touches a route. Times are printed and kept in docs/reference/performance.md; a test fails on the promise of 10 s alone.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { createBalancer } from '../apps/demo/src/story/balancer.ts';
import { NODES, TARGET_PORT, VIP } from '../apps/demo/src/topology.ts';
import { gatewaysOf, routed, tally, until } from '../apps/demo/src/watch.ts';
import { stop } from '../tools/testkit/index.ts';
import { announceWords, startSwitchBird, watchRoutes } from './bird.ts';
import type { RouteClock, Routing } from './bird.ts';
import { inNamespaces } from './suite.ts';

const PROMISE_MS = 10_000;
const HOPS = { ld1: NODES.ld1.v4, ld2: NODES.ld2.v4 } as const;
const OTHER = { ld1: 'ld2', ld2: 'ld1' } as const;
type Director = keyof typeof HOPS;

await inNamespaces(import.meta.filename, () => {
  if (!existsSync('/usr/sbin/bird')) {
    test('directors announce by BGP and OSPF', (context) => {
      context.skip('the switch needs BIRD: apt-get install bird2');
      expect.unreachable();
    });
    return;
  }
  let cluster: Cluster;
  let clock: RouteClock;

  async function start(routing: Routing): Promise<void> {
    const nodes = ['ld1', 'ld2', 'host1', 'host2'];
    cluster = await startCluster({ port: 'packet', label: routing, nodes, announce: announceWords(routing) });
    startSwitchBird(cluster.network, routing);
    clock = watchRoutes(cluster.network);
    const targets = ['ins-vm-a1', 'ins-vm-a2'].map((instance) => ({ instance, port: TARGET_PORT }));
    await createBalancer(cluster, { id: 'a', vips: [VIP.a], port: 80, targets });
    expect(await routed(cluster.network, VIP.a, 2, 25_000)).toBe(true);
  }
  /** Ends something at a director and waits until the switch has no route to it. Returns the time that took. */
  async function ejected(name: Director, act: () => void | Promise<void>): Promise<number> {
    const from = Date.now();
    const acting = act();
    const live = [HOPS[OTHER[name]]];
    expect(await until(() => gatewaysOf(cluster.network, VIP.a).join() === live.join(), PROMISE_MS, 10)).toBe(true);
    await acting;
    await sleep(30);
    const at = clock.at(VIP.a, live) ?? Date.now();
    process.stdout.write(`announce: ${expect.getState().currentTestName}: ${at - from} ms\n`);
    return at - from;
  }
  const back = async (): Promise<void> => {
    expect(await routed(cluster.network, VIP.a, 2, 25_000)).toBe(true);
  };
  const requests = (count: number) =>
    cluster.client.run(
      Array.from({ length: count }, () => ({
        kind: 'http' as const,
        address: VIP.a,
        port: 80,
        path: '/hold/20',
        timeoutMs: 3000,
      })),
      { concurrency: 8, paceMs: 5 },
    );
  /** BIRD of a director, by the pid file in its state directory. */
  const birdOf = (name: Director): number =>
    Number(readFileSync(join(cluster.network.directory, `state-${name}`, 'bird', 'bird.pid'), 'utf8'));

  describe('BGP with BFD', () => {
    beforeAll(() => start('bgp'));
    afterAll(() => (clock?.stop(), cluster?.down()));

    test('both directors carry the VIP, each its own tunnel address, and requests are served', async () => {
      const outcomes = await requests(60);
      expect(tally(outcomes.map(({ error, status }) => error ?? String(status))).counts).toEqual({ 200: 60 });
      const { directors } = await cluster.api.must<{ directors: { id: Director; tunnels: { v4: string }[] }[] }>(
        'GET',
        '/v1/announcements',
      );
      for (const { id, tunnels } of directors) expect(gatewaysOf(cluster.network, tunnels[0]!.v4)).toEqual([HOPS[id]]);
    });

    test('a VIP whose last target is removed is withdrawn, and returns with its targets', async () => {
      const targets = [
        { instance: 'ins-vm-a1', port: TARGET_PORT },
        { instance: 'ins-vm-a2', port: TARGET_PORT },
      ];
      await cluster.api.must('PUT', '/v1/target-groups/lbtg-a/targets', { targets: [] });
      expect(await routed(cluster.network, VIP.a, 0)).toBe(true);
      await cluster.api.must('PUT', '/v1/target-groups/lbtg-a/targets', { targets });
      await back();
    });

    test('a killed director is out of the routes, and its tunnel address leads to the other one', async () => {
      const killed = cluster.roles.get('ld1')!;
      await ejected('ld1', () => stop(killed, 'SIGKILL'));
      const { directors } = await cluster.api.must<{ directors: { id: Director; tunnels: { v4: string }[] }[] }>(
        'GET',
        '/v1/announcements',
      );
      const tunnel = directors.find(({ id }) => id === 'ld1')!.tunnels[0]!.v4;
      expect(await until(() => gatewaysOf(cluster.network, tunnel).join() === HOPS.ld2, PROMISE_MS, 10)).toBe(true);
      const outcomes = await requests(40);
      expect(tally(outcomes.map(({ error, status }) => error ?? String(status))).counts).toEqual({ 200: 40 });
      await cluster.startRole('ld1');
      await back();
    });

    test('a director whose whole process stands still under a living routing daemon is out of the routes', async () => {
      const { pid } = cluster.roles.get('ld1')!.note;
      expect(await ejected('ld1', () => void process.kill(pid, 'SIGSTOP'))).toBeLessThan(PROMISE_MS);
      process.kill(pid, 'SIGCONT');
      await back();
    });

    test('a frozen routing daemon is noticed by BFD', async () => {
      const pid = birdOf('ld2');
      expect(await ejected('ld2', () => void process.kill(pid, 'SIGSTOP'))).toBeLessThan(PROMISE_MS);
      process.kill(pid, 'SIGCONT');
      await back();
    });

    test('a director that leaves in order costs not one request', async () => {
      const running = requests(500);
      await sleep(400);
      await ejected('ld1', () => stop(cluster.roles.get('ld1')!, 'SIGTERM', 10_000));
      const outcomes = await running;
      expect(tally(outcomes.map(({ error, status }) => error ?? String(status))).counts).toEqual({ 200: 500 });
    });

    test('with the director its routing daemon has ended too', () => {
      const ended = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && commandOf(name).includes('state-ld1'));
      expect(ended.map(commandOf)).toEqual([]);
    });
  });

  describe('OSPF', () => {
    beforeAll(() => start('ospf'));
    afterAll(() => (clock?.stop(), cluster?.down()));

    test('a killed director is out of the routes', async () => {
      // Right after another change OSPF waits (MinLSInterval), so it is left alone for a while.
      await sleep(6000);
      expect(await ejected('ld1', () => stop(cluster.roles.get('ld1')!, 'SIGKILL'))).toBeLessThan(PROMISE_MS);
    });
  });
});

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
