// A new proxy process takes over from an old one on one machine (docs/how-to/upgrade-a-proxy.md): both listen (`reusePort`), the old one
// drains, and no connection is refused or cut.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, assert, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from '../apps/demo/src/agent.ts';
import { clbCommand } from '../apps/demo/src/command.ts';
import { until } from '../apps/demo/src/watch.ts';
import { createNetwork, readInside, readLog, removeNetwork, startIn, stop, waitReady } from '../tools/testkit/index.ts';
import type { Network, Running } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const VIP = '203.0.113.10';
const TARGET = '198.51.100.7';
const CONTROLLER = '127.0.0.1:7000';

const config = `
nodes: [{ id: px1, role: proxy, underlay: { v4: 192.0.2.31 } }]
loadBalancers:
  - name: web
    vips: [${VIP}]
    listeners:
      - protocol: HTTP
        port: 80
        rules: [{ targets: [{ physical: ${TARGET}, port: 8080 }], healthCheck: { enabled: false } }]
`;

/** Sockets that listen on port 80 of every IPv4 address. */
const listening = (network: Network): number =>
  readInside(network, 'box', '/proc/thread-self/net/tcp')
    .split('\n')
    .filter((line) => / 00000000:0050 00000000:0000 0A /.test(line)).length;

await inNamespaces(import.meta.filename, () => {
  describe('a proxy that takes over', () => {
    let network: Network;

    beforeAll(async () => {
      network = createNetwork(
        {
          namespaces: [
            {
              name: 'box',
              // What is in the queue of a listener that closes goes to the other one.
              sysctls: { 'ipv4.tcp_migrate_req': '1' },
              commands: ['link set lo up', `addr add ${VIP}/32 dev lo`, `addr add ${TARGET}/32 dev lo`],
            },
          ],
          links: [],
        },
        'scale',
      );
      writeFileSync(join(network.directory, 'cluster.yaml'), config);
      const store = join(network.directory, 'desired.sqlite');
      const keys = ['--join-token', 'join', '--api-key', 'key'];
      const controller = startIn(
        network,
        'box',
        'controller',
        clbCommand('controller', '--listen', CONTROLLER, '--store', store, ...keys),
      );
      await Promise.all([waitReady(controller), waitReady(startServer(network, 'box'))]);
      const access = ['--controller', `http://${CONTROLLER}`, '--api-key', 'key'];
      const apply = startIn(
        network,
        'box',
        'apply',
        clbCommand('apply', '-f', join(network.directory, 'cluster.yaml'), '--no-wait', ...access),
      );
      assert.isTrue(await until(() => apply.child.exitCode !== null, 10_000), 'the configuration is applied');
      assert.equal(apply.child.exitCode, 0, readLog(apply));
    }, 40_000);
    afterAll(() => removeNetwork(network));

    const startProxy = async (label: string, ...words: string[]): Promise<Running> => {
      const access = ['--controller', `http://${CONTROLLER}`, '--token', 'join', '--state-dir', network.directory];
      const proxy = startIn(network, 'box', label, clbCommand('proxy', '--id', 'px1', ...access, ...words));
      await waitReady(proxy);
      return proxy;
    };

    test('loses no connection, from one thread to two and back', async () => {
      let proxy = await startProxy('first');
      assert.isTrue(await until(() => listening(network) === 1, 10_000), 'the first proxy listens');
      const client = startIn(network, 'box', 'client', [
        process.execPath,
        join(import.meta.dirname, 'takeover-client.ts'),
        VIP,
      ]);
      await waitReady(client);
      for (const [label, workers] of [
        ['second', 2],
        ['third', 1],
      ] as const) {
        const before = listening(network);
        const next = await startProxy(label, '--workers', String(workers));
        assert.isTrue(
          await until(() => listening(network) === before + workers, 10_000),
          `the ${label} proxy listens too`,
        );
        await stop(proxy, 'SIGTERM', 12_000);
        await until(() => proxy.child.exitCode !== null, 1_000);
        assert.equal(proxy.child.exitCode, 0, readLog(proxy));
        assert.isTrue(await until(() => listening(network) === workers, 5_000), 'only the new one listens');
        proxy = next;
      }
      await stop(client, 'SIGTERM', 8_000);
      const seen = JSON.parse(readLog(client).trim().split('\n').at(-1)!) as {
        answers: number;
        kept: number;
        errors: object;
      };
      console.log(
        `takeover: ${seen.answers} answers, ${seen.kept} on kept connections, errors ${JSON.stringify(seen.errors)}`,
      );
      expect(seen.errors).toEqual({});
      expect(seen.answers).toBeGreaterThan(200);
      expect(seen.kept).toBeGreaterThan(50);
    }, 60_000);
  });
});
