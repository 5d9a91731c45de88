// What the story does not say: an underlay of 1,500 bytes, large bodies both ways, UDP, VMs that changed hosts, ten thousand requests.
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { vmAnswer } from '../apps/demo/src/agent.ts';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { addListener, createBalancer, served } from '../apps/demo/src/story/balancer.ts';
import { createHttpListener } from '../apps/demo/src/story/layer7.ts';
import { neverMixed } from '../apps/demo/src/story/targets.ts';
import { assertAllHeld, createTeller } from '../apps/demo/src/tell.ts';
import { CLIENT, TARGET_PORT, VIP } from '../apps/demo/src/topology.ts';
import { patternBytes } from '../apps/demo/src/vm.ts';
import { watchNodes } from '../apps/demo/src/watch.ts';
import { inNamespaces } from './suite.ts';

const BODY_BYTES = 1_000_000;
const BODY_HASH = createHash('sha256').update(patternBytes(BODY_BYTES)).digest('hex');
const PAIRS = 5000;

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({
      port: 'packet',
      label: 'mtu',
      underlayMtu: 1500,
      // The other way round than in the story: nothing may depend on which host a VM runs.
      placement: { 'vm-a1': 'host2', 'vm-a2': 'host1', 'vm-b1': 'host1' },
    });
    const targets = [{ instance: 'ins-vm-a1', port: TARGET_PORT }];
    await createHttpListener(cluster);
    await createBalancer(cluster, { id: 'a', vips: [VIP.a, VIP.a6], port: 80, targets });
    await served(
      cluster,
      await addListener(cluster, { id: 'a', vips: [], port: 53, protocol: 'UDP', targets }, 'a-udp'),
      VIP.a,
      VIP.a6,
      VIP.http,
      VIP.http6,
    );
  });
  afterAll(() => cluster?.down());

  for (const [family, vip, own, mss] of [
    ['IPv4', VIP.a, CLIENT.v4, 1500 - 28 - 40],
    ['IPv6', VIP.a6, CLIENT.v6, 1500 - 28 - 60],
  ] as const) {
    test(`${family}: a megabyte passes both ways over an underlay of 1,500 bytes, because both MSS are clamped`, async () => {
      const watch = watchNodes(cluster.network, ['ld1', 'ld2', 'host2'], `mtu-${family}`);
      const down = await cluster.client.get(vip, { path: `/bytes/${BODY_BYTES}`, timeoutMs: 10_000 });
      const up = await cluster.client.get(vip, { bodyBytes: BODY_BYTES, timeoutMs: 10_000 });
      const { seen, faults } = watch.stop();
      expect(down).toMatchObject({ status: 200, bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
      expect(vmAnswer(up)).toMatchObject({ bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
      expect(faults).toEqual([]);
      // Probes and other families have segment sizes of their own.
      const syns = seen
        .filter(({ ip }) => ip.inner?.source === own && ip.inner.tcp?.flags === 'S')
        .map(({ ip }) => ip.inner);
      const answers = seen
        .filter(({ isFromNode, ip }) => isFromNode && ip.source === vip && ip.tcp?.flags === 'SA')
        .map(({ ip }) => ip);
      expect(syns.length).toBeGreaterThan(0);
      expect(answers.length).toBeGreaterThan(0);
      expect(Math.max(...[...syns, ...answers].map((packet) => packet?.tcp?.mss ?? 9999))).toBeLessThanOrEqual(mss);
    });
  }

  for (const [family, vip] of [
    ['IPv4', VIP.http],
    ['IPv6', VIP.http6],
  ] as const) {
    test(`${family}: a megabyte passes both ways through a proxy, whose answers return directly`, async () => {
      const headers = { host: 'shop.example' };
      const watch = watchNodes(cluster.network, ['ld1', 'ld2', 'px1', 'px2'], `mtu-http-${family}`);
      const down = await cluster.client.get(vip, { path: `/bytes/${BODY_BYTES}`, headers, timeoutMs: 10_000 });
      const up = await cluster.client.get(vip, { bodyBytes: BODY_BYTES, headers, timeoutMs: 10_000 });
      const { faults } = watch.stop();
      expect(down).toMatchObject({ status: 200, bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
      expect(vmAnswer(up)).toMatchObject({ bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
      expect(faults).toEqual([]);
    });
  }

  test('a UDP question is answered from the VIP, and the VM sees the client', async () => {
    const [outcome] = await cluster.client.run([{ kind: 'udp', address: VIP.a, port: 53, text: 'hello' }]);
    expect(outcome?.error).toBeUndefined();
    expect(JSON.parse(outcome?.body ?? '{}')).toMatchObject({
      name: 'vm-a1',
      peer: CLIENT.v4,
      peerPort: outcome?.localPort,
      text: 'hello',
    });
  });

  test('ten thousand requests in equal tuples towards two VPCs on swapped hosts are never mixed', async () => {
    const teller = createTeller(() => undefined);
    await neverMixed(cluster, teller, PAIRS);
    assertAllHeld(teller);
  });
});
