// What the story does not say: an underlay of 1,500 bytes, large bodies both ways, UDP, VMs that changed hosts, ten thousand requests.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAgent, vmAnswer } from '../apps/demo/src/agent.ts';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { addListener, createBalancer, served } from '../apps/demo/src/story/balancer.ts';
import { createHttpListener } from '../apps/demo/src/story/layer7.ts';
import { neverMixed } from '../apps/demo/src/story/targets.ts';
import { assertAllHeld, createTeller } from '../apps/demo/src/tell.ts';
import { CLIENT, TARGET_PORT, VIP, VMS } from '../apps/demo/src/topology.ts';
import { patternBytes } from '../apps/demo/src/vm.ts';
import type { VmAnswer } from '../apps/demo/src/vm.ts';
import { watchNodes } from '../apps/demo/src/watch.ts';
import { CERTIFICATES } from '../packages/l7/test/certificates.ts';
import { stop } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const BODY_BYTES = 1_000_000;
const BODY_HASH = createHash('sha256').update(patternBytes(BODY_BYTES)).digest('hex');
const PAIRS = 5000;
const INTERNAL_VIP = '10.0.0.100';

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

  test('HTTPS and TCP_SSL end on a proxy, judged by curl with the certificate as its only authority', async (context) => {
    context.skip(spawnSync('curl', ['--version']).error !== undefined, 'needs curl: apt-get install curl');
    const { api, network } = cluster;
    const { certificate, privateKey } = CERTIFICATES['a.test']!;
    const { id } = await api.must<{ id: string }>('POST', '/v1/certificates', { name: 'a', certificate, privateKey });
    await api.must('POST', '/v1/load-balancers', { id: 'lb-tls', name: 'tls', vips: [VIP.mixed] });
    const targets = [{ instance: 'ins-vm-a1', port: TARGET_PORT }];
    await api.must('POST', '/v1/target-groups', { id: 'lbtg-tls', name: 'tls', targets });
    const base = { loadBalancer: 'lb-tls', certificates: [id] };
    await api.must('POST', '/v1/listeners', { ...base, id: 'lbl-https', protocol: 'HTTPS', port: 443 });
    await api.must('POST', '/v1/rules', {
      listener: 'lbl-https',
      domain: 'a.test',
      path: '/',
      targetGroup: 'lbtg-tls',
      isDefault: true,
    });
    const last = await api.must<{ revision: number }>('POST', '/v1/listeners', {
      ...base,
      protocol: 'TCP_SSL',
      port: 8443,
      targetGroup: 'lbtg-tls',
    });
    await served(cluster, last.revision, VIP.mixed);
    const file = join(network.directory, 'a.test.pem');
    writeFileSync(file, certificate);
    const curl = async (port: number) => {
      const resolve = `a.test:${port}:${VIP.mixed}`;
      const words = ['--silent', '--show-error', '--max-time', '5', '--cacert', file, '--resolve', resolve];
      const { status, stdout, stderr } = await cluster.atClient('curl', ...words, `https://a.test:${port}/`);
      return { status, stderr, answer: JSON.parse(stdout || '{}') as Partial<VmAnswer> };
    };
    expect(await curl(443)).toMatchObject({
      status: 0,
      answer: { name: 'vm-a1', headers: { 'x-real-ip': CLIENT.v4, 'x-client-proto': 'https' } },
    });
    expect(await curl(8443)).toMatchObject({ status: 0, answer: { name: 'vm-a1' } });
  });

  test('a VM reaches the internal VIP of its VPC, is seen by its own address, and is never its own target (P30)', async () => {
    const { api, network } = cluster;
    await api.must('POST', '/v1/load-balancers', {
      id: 'lb-int',
      name: 'int',
      network: 'internal',
      vpcId: 100,
      vips: [INTERNAL_VIP],
    });
    const targets = ['ins-vm-a1', 'ins-vm-a2'].map((instance) => ({ instance, port: TARGET_PORT }));
    await served(cluster, await addListener(cluster, { id: 'int', vips: [], port: 80, targets }));
    const inside = await startAgent(network, 'vm-a2');
    const orders = Array.from({ length: 40 }, () => ({ kind: 'http' as const, address: INTERNAL_VIP, port: 80 }));
    const answers = (await inside.run(orders)).map(vmAnswer);
    expect(new Set(answers.map((answer) => `${answer?.name} saw ${answer?.peer}`))).toEqual(
      new Set([`vm-a1 saw ${VMS['vm-a2'].v4}`]),
    );
    // The same address in the other VPC leads nowhere.
    const stranger = await startAgent(network, 'vm-b1');
    expect((await stranger.get(INTERNAL_VIP, { timeoutMs: 500 })).error).toBe('timeout');
    await Promise.all([inside, stranger].map(({ running }) => stop(running, 'SIGKILL')));
  });

  test('ten thousand requests in equal tuples towards two VPCs on swapped hosts are never mixed', async () => {
    const teller = createTeller(() => undefined);
    await neverMixed(cluster, teller, PAIRS);
    assertAllHeld(teller);
  });
});
