// What must go on when parts are missing or lie: no controller, a restarted node, broken images, a cut tunnel.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { nodesStand, startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { API_PORT } from '../apps/demo/src/api.ts';
import { verdict } from '../apps/demo/src/story/failures.ts';
import { createBalancer, nameOf, served } from '../apps/demo/src/story/balancer.ts';
import { NODES, TARGET_PORT, VIP } from '../apps/demo/src/topology.ts';
import { until } from '../apps/demo/src/watch.ts';
import { ipIn, readLog, startIn, stop, waitReady } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const GROUP = 'lbtg-a';
/** Interval 2 s, timeout 1 s, threshold 2: three intervals show that a verdict stays. */
const THREE_INTERVALS_MS = 6000;

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ port: 'packet', label: 'res' });
    const targets = ['ins-vm-a1', 'ins-vm-a2'].map((instance) => ({ instance, port: TARGET_PORT }));
    await served(cluster, await createBalancer(cluster, { id: 'a', vips: [VIP.a], port: 80, targets }), VIP.a);
    if ((await verdict(cluster, GROUP, 'Alive', 9000, 'all')) === undefined)
      throw new Error('the targets are never called alive');
  });
  afterAll(() => cluster?.down());

  const answers = async (count: number): Promise<string[]> => {
    const orders = Array.from({ length: count }, () => ({ kind: 'http' as const, address: VIP.a, port: 80 }));
    return (await cluster.client.run(orders)).map(nameOf);
  };
  const onlyTargets = (names: readonly string[]): boolean =>
    names.every((name) => name === 'vm-a1' || name === 'vm-a2');

  test('a cut plain route changes nothing: probes do not travel it', async () => {
    ipIn(cluster.network, 'switch', [
      `rule add pref 5 ipproto tcp to ${NODES.host1.v4} blackhole`,
      `rule add pref 5 ipproto icmp to ${NODES.host1.v4} blackhole`,
    ]);
    expect(await verdict(cluster, GROUP, 'Dead', THREE_INTERVALS_MS)).toBeUndefined();
    expect(onlyTargets(await answers(40))).toBe(true);
    ipIn(cluster.network, 'switch', [
      `rule del pref 5 ipproto tcp to ${NODES.host1.v4}`,
      `rule del pref 5 ipproto icmp to ${NODES.host1.v4}`,
    ]);
  });

  test('with only GRE to one host cut, probes of its VM fail, and traffic goes to the other', async () => {
    ipIn(cluster.network, 'switch', [`rule add pref 5 ipproto gre to ${NODES.host1.v4} blackhole`]);
    expect(await verdict(cluster, GROUP, 'Dead')).toBeDefined();
    expect(new Set(await answers(60))).toEqual(new Set(['vm-a2']));
    ipIn(cluster.network, 'switch', [`rule del pref 5 ipproto gre to ${NODES.host1.v4}`]);
    expect(await until(async () => (await answers(20)).includes('vm-a1'), 9000)).toBe(true);
  });

  test('without a controller the nodes go on, and a restarted node serves from the image on its disk', async () => {
    const controller = cluster.roles.get('ctl');
    if (controller) await stop(controller, 'SIGKILL');
    expect(onlyTargets(await answers(40))).toBe(true);
    for (const name of ['ld1', 'ld2', 'host1']) {
      const node = cluster.roles.get(name);
      if (node) await stop(node, 'SIGKILL');
      await cluster.startRole(name);
    }
    expect(await until(async () => onlyTargets(await answers(10)), 5000)).toBe(true);
    expect(onlyTargets(await answers(60))).toBe(true);
  });

  test('a director refuses images that are broken or from the future, says why, and keeps serving', async () => {
    const script = fileURLToPath(new URL('broken-controller.ts', import.meta.url));
    const liar = startIn(cluster.network, 'ctl', 'liar', [process.execPath, script, String(API_PORT)]);
    await waitReady(liar);
    const refusals = (): { generation: { revision: number }; reason: string }[] =>
      readLog(liar)
        .split('\n')
        .filter((line) => line.startsWith('message ld') && line.includes('"refused"'))
        .map((line) => JSON.parse(line.slice(line.indexOf('{'))));
    expect(await until(() => refusals().length >= 2, 6000)).toBe(true);
    expect(refusals().every(({ reason }) => reason.length > 10)).toBe(true);
    expect(onlyTargets(await answers(60))).toBe(true);
    await stop(liar, 'SIGKILL');
  });

  test('a controller that was killed comes back with everything that was committed', async () => {
    await cluster.startRole('ctl');
    await nodesStand(cluster.api, ['ld1', 'ld2', 'host1', 'host2']);
    expect((await cluster.api.must<{ vips: string[] }>('GET', '/v1/load-balancers/lb-a')).vips).toEqual([VIP.a]);
    const targets = [{ instance: 'ins-vm-a2', port: TARGET_PORT }];
    const changed = await cluster.api.must<{ revision: number }>('PUT', `/v1/target-groups/${GROUP}/targets`, {
      targets,
    });
    await served(cluster, changed.revision, VIP.a);
    expect(new Set(await answers(30))).toEqual(new Set(['vm-a2']));
  });
});
