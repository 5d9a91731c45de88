// One box that forwards: `clb up --device` between a client and servers whose gateway it is, all of them plain kernels on one segment.
// Which VIPs go through the director, which through sockets, and that the box's own kernel still talks to the servers.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, assert, beforeAll, describe, expect, test } from 'vitest';
import { startAgent, startServer, vmAnswer } from '../apps/demo/src/agent.ts';
import type { Agent } from '../apps/demo/src/agent.ts';
import { clbCommand } from '../apps/demo/src/command.ts';
import { until } from '../apps/demo/src/watch.ts';
import { createNetwork, removeNetwork, startIn, stop, waitReady } from '../tools/testkit/index.ts';
import type { Network, Running } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const CLIENT = '198.51.100.10';
/** The box towards clients and towards servers. */
const BOX = { front: '198.51.100.1', back: '10.9.0.1' } as const;
const SERVER = { one: '10.9.0.2', two: '10.9.0.3' } as const;
const VIP = '203.0.113.10';
const API = { port: 7000, key: 'box-key' } as const;

/** Connections may finish, the director leaves in order. */
const STOP_MS_MAX = 8_000;
const NAMES = ['client', 'box', 'one', 'two'] as const;

function bringUp(): Network {
  const commands: Record<(typeof NAMES)[number], string[]> = {
    client: [`addr add ${CLIENT}/24 dev eth0`, `route add default via ${BOX.front}`],
    box: [`addr add ${BOX.front}/24 dev eth0`, `addr add ${BOX.back}/24 dev eth0`],
    one: [`addr add ${SERVER.one}/24 dev eth0`, `route add default via ${BOX.back}`],
    two: [`addr add ${SERVER.two}/24 dev eth0`, `route add default via ${BOX.back}`],
  };
  const bridge = ['link add br0 type bridge', ...NAMES.map((name) => `link set ${name} master br0`), 'link set br0 up'];
  return createNetwork(
    {
      namespaces: [{ name: 'segment', commands: bridge }, ...NAMES.map((name) => ({ name, commands: commands[name] }))],
      links: NAMES.map((name) => ({
        a: { namespace: name, device: 'eth0' },
        b: { namespace: 'segment', device: name },
        mtu: 1500,
      })),
    },
    'box',
  );
}

/** What a person writes: a routed VIP, an address of the box for a relay, and another port of it for HTTP. */
const file = (server: string): string => `
loadBalancers:
  - name: forwarded
    vips: [${VIP}]
    listeners:
      - { protocol: TCP, port: 80, targets: [{ physical: ${server}, port: 8080 }], healthCheck: &check { intervalSeconds: 2 } }
      - { protocol: UDP, port: 53, targets: [{ physical: ${server}, port: 8080 }], healthCheck: { enabled: false } }
  - name: sockets
    vips: [${BOX.front}]
    listeners:
      - { protocol: TCP, port: 81, targets: [{ physical: ${server}, port: 8080 }], healthCheck: *check }
      - protocol: HTTP
        port: 82
        rules: [{ targets: [{ physical: ${server}, port: 8080 }], healthCheck: *check }]
`;

await inNamespaces(import.meta.filename, () => {
  describe.each(['packet', 'xdp'] as const)('clb up with a device, by %s', (kind) => {
    let network: Network;
    let client: Agent;
    let box: Running;
    let refused: string | undefined;

    beforeAll(async () => {
      network = bringUp();
      const servers = (['one', 'two'] as const).map((name) => startServer(network, name));
      [client] = await Promise.all([startAgent(network, 'client'), ...servers.map((server) => waitReady(server))]);
      writeFileSync(join(network.directory, 'lb.yaml'), file(SERVER.one));
      const words = ['up', '-f', join(network.directory, 'lb.yaml'), '--device', 'eth0', '--port', kind];
      const api = ['--api', `${BOX.front}:${API.port}`, '--api-key', API.key];
      box = startIn(network, 'box', 'up', clbCommand(...words, ...api));
      try {
        await waitReady(box);
      } catch (error) {
        refused = String(error);
        if (kind !== 'xdp' || !/EPERM|bpf|AF_XDP/i.test(refused)) throw error;
      }
    });
    afterAll(() => removeNetwork(network));

    const forwarded = async () => vmAnswer(await client.get(VIP, { port: 80 }));

    test('a routed VIP is forwarded: the server sees the client itself', async (context) => {
      context.skip(refused !== undefined, `xdp is closed here: ${refused?.split('\n').at(-2)}`);
      expect(await forwarded()).toMatchObject({ name: 'one', peer: CLIENT, local: SERVER.one });
      const large = await client.get(VIP, { port: 80, path: '/bytes/3000000' });
      expect(large.bodyBytes).toBe(3_000_000);
      const [echo] = await client.run([{ kind: 'udp', address: VIP, port: 53, text: 'hello' }]);
      expect(JSON.parse(echo?.body ?? '{}')).toMatchObject({ peer: CLIENT, text: 'hello' });
    });

    test('addresses of the box are served by its sockets, which still reach the same servers', async (context) => {
      context.skip(refused !== undefined, 'xdp is closed here');
      expect(vmAnswer(await client.get(BOX.front, { port: 81 }))).toMatchObject({ name: 'one', peer: BOX.back });
      const answer = vmAnswer(await client.get(BOX.front, { port: 82 }));
      expect(answer).toMatchObject({ name: 'one', peer: BOX.back });
      expect(answer?.headers['x-real-ip']).toBe(CLIENT);
    });

    test('health checks go the way of the packets, and a change of the file moves new connections', async (context) => {
      context.skip(refused !== undefined, 'xdp is closed here');
      const ask = async (path: string): Promise<string> =>
        (await client.get(BOX.front, { port: API.port, path, headers: { authorization: `Bearer ${API.key}` } })).body;
      const isAlive = async (): Promise<boolean> => /"box-director","state":"Alive"/.test(await ask('/v1/health'));
      assert.ok(await until(isAlive, 8_000), await ask('/v1/health'));
      writeFileSync(join(network.directory, 'lb.yaml'), file(SERVER.two));
      assert.ok(await until(async () => (await forwarded())?.name === 'two', 8_000), 'the new target is never used');
      expect(vmAnswer(await client.get(BOX.front, { port: 81 }))).toMatchObject({ name: 'two' });
      await stop(box, 'SIGTERM', STOP_MS_MAX);
      await until(() => box.child.exitCode !== null || box.child.signalCode !== null, 1_000);
      expect([box.child.exitCode, box.child.signalCode]).toEqual([0, null]);
    });
  });
});
