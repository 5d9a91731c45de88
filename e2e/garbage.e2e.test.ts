// Any byte string into any port: no worker dies, every packet gets one counted verdict, and honest traffic goes on beside it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster, PortKind } from '../apps/demo/src/cluster.ts';
import { createBalancer, nameOf, served } from '../apps/demo/src/story/balancer.ts';
import { createHttpListener } from '../apps/demo/src/story/layer7.ts';
import { NODES, TARGET_PORT, VIP, VMS } from '../apps/demo/src/topology.ts';
import { tally, until } from '../apps/demo/src/watch.ts';
import { isInsideUserNamespace, sendFrames, within } from '../tools/testkit/index.ts';
import { garbage } from './garbage.ts';
import type { Aim } from './garbage.ts';
import { inNamespaces } from './suite.ts';

const FRAMES = 8000;
/** A ring holds a few thousand frames; those that find it full would prove nothing. */
const AT_ONCE = 500;
const SEED = 20_261_120;
const TUNNELS = ['10.254.1.1', '10.254.2.1', '10.254.0.1'];
const HOSTS = [NODES.host1.v4, NODES.host2.v4, NODES.px1.v4, NODES.phys1.v4];

const AIMS: Record<'ld1' | 'host1' | 'px1' | 'phys1', Aim> = {
  ld1: { mac: NODES.ld1.mac, destinations: [VIP.a, VIP.http, ...TUNNELS, '100.64.16.1'], sources: HOSTS },
  host1: { mac: NODES.host1.mac, destinations: [NODES.host1.v4], sources: [...TUNNELS, ...HOSTS] },
  px1: { mac: NODES.px1.mac, destinations: [NODES.px1.v4, VIP.http], sources: [...TUNNELS, ...HOSTS] },
  phys1: { mac: NODES.phys1.mac, destinations: [NODES.phys1.v4], sources: [...TUNNELS, ...HOSTS] },
};

await inNamespaces(import.meta.filename, () => {
  describe('packet port', () => {
    defineFor('packet');
  });
  describe('xdp port', () => {
    defineFor('xdp');
  });
});

function defineFor(port: PortKind): void {
  const why =
    port === 'xdp' && isInsideUserNamespace() ? 'BPF needs the initial user namespace: run as root' : undefined;
  let cluster: Cluster | undefined;

  beforeAll(async () => {
    if (why !== undefined) return;
    cluster = await startCluster({ port, label: 'junk' });
    const targets = ['ins-vm-a1', 'ins-vm-a2'].map((instance) => ({ instance, port: TARGET_PORT }));
    await createHttpListener(cluster);
    await served(
      cluster,
      await createBalancer(cluster, { id: 'a', vips: [VIP.a, VIP.a6], port: 80, targets }),
      VIP.a,
      VIP.http,
    );
  });
  afterAll(() => cluster?.down());

  const countersOf = async (node: string): Promise<Record<string, number>> => {
    const answer = await cluster!.api.must<{ items: { counters: Record<string, number> }[] }>(
      'GET',
      `/v1/counters?node=${node}`,
    );
    return answer.items[0]?.counters ?? {};
  };
  /** Received packets without a verdict: none, once the port rests. */
  const unaccounted = async (node: string): Promise<number> => {
    const counters = await countersOf(node);
    const of = (name: string): number => counters[`core.${name}`] ?? 0;
    return of('received') + of('added') - of('forwarded') - of('dropped') - of('punted') - of('consumed') - of('held');
  };
  const honest = async (): Promise<Record<string, number>> => {
    const orders = [VIP.a, VIP.http].flatMap((address) =>
      Array.from({ length: 20 }, () => ({
        kind: 'http' as const,
        address,
        port: 80,
        headers: { host: 'shop.example' },
      })),
    );
    return tally(
      (await cluster!.client.run(orders)).map((outcome) =>
        nameOf(outcome).startsWith('vm-') ? 'answered' : nameOf(outcome),
      ),
    ).counts;
  };
  const pour = async (namespace: string, device: string, frames: readonly Buffer[]): Promise<number> => {
    let taken = 0;
    for (let at = 0; at < frames.length; at += AT_ONCE) {
      taken += within(cluster!.network, namespace, () => sendFrames(device, frames.slice(at, at + AT_ONCE)));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return taken;
  };

  for (const [node, aim] of Object.entries(AIMS)) {
    test(`${port}: ${FRAMES} broken frames to ${node} end in counted verdicts, and its worker lives`, async (context) => {
      if (!cluster) return context.skip(why);
      const before = await countersOf(node);
      const taken = await pour('switch', node, garbage(aim, FRAMES, SEED));
      expect(taken).toBeGreaterThan(FRAMES * 0.9);
      expect(await until(async () => (await unaccounted(node)) === 0, 3000)).toBe(true);
      const after = await countersOf(node);
      expect([after['worker.deaths'], after['worker.restarts']]).toEqual([0, 0]);
      expect((after['core.received'] ?? 0) - (before['core.received'] ?? 0)).toBeGreaterThan(FRAMES / 8);
      expect((after['core.dropped'] ?? 0) - (before['core.dropped'] ?? 0)).toBeGreaterThan(100);
    });
  }

  test(`${port}: ${FRAMES} broken frames out of a VM end in counted verdicts as well`, async (context) => {
    if (!cluster) return context.skip(why);
    const aim = {
      mac: '02:00:00:00:00:01',
      destinations: ['10.0.0.3', '198.51.100.10', VIP.a],
      sources: [VMS['vm-a1'].v4, '10.0.0.9'],
    };
    await pour('vm-a1', 'eth0', garbage(aim, FRAMES, SEED + 1));
    expect(await until(async () => (await unaccounted('host1')) === 0, 3000)).toBe(true);
    expect((await countersOf('host1'))['worker.deaths']).toBe(0);
  });

  test(`${port}: honest traffic goes on afterwards`, async (context) => {
    if (!cluster) return context.skip(why);
    expect(await honest()).toEqual({ answered: 40 });
  });
}
