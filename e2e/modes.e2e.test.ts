// The forwarding modes on kernel stacks (acceptance A145–A152, A165): one box between a client and servers on one segment for LVS-NAT,
// LVS-DR and full NAT, and a director with endpoints for LVS-TUN and full NAT through tunnels. IPv4 and IPv6, TCP and UDP, errors by ICMP.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startAgent, startServer, vmAnswer } from '../apps/demo/src/agent.ts';
import type { Agent } from '../apps/demo/src/agent.ts';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { clbCommand, runCommand } from '../apps/demo/src/command.ts';
import { applied } from '../apps/demo/src/story/balancer.ts';
import { CLIENT as CLUSTER_CLIENT, NODES, TARGET_PORT, VMS } from '../apps/demo/src/topology.ts';
import { until } from '../apps/demo/src/watch.ts';
import { createNetwork, namespaceName, removeNetwork, startIn, waitReady } from '../tools/testkit/index.ts';
import type { Network } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const CLIENT = { v4: '198.51.100.10', v6: '2001:db8:51::10' } as const;
const BOX = { front: '198.51.100.1', front6: '2001:db8:51::1', back: '10.9.0.1', back6: 'fd00:9::1' } as const;
const SERVER = {
  nat: { v4: '10.9.0.2', v6: 'fd00:9::2' },
  direct: { v4: '10.9.0.3', v6: 'fd00:9::3' },
  full: { v4: '10.9.0.4', v6: 'fd00:9::4' },
} as const;
const VIP = { v4: '203.0.113.10', v6: '2001:db8:113::10' } as const;
/** What a server needs in each mode; docs/how-to/modes.md says the same in words. */
const NEEDS = {
  nat: [`route add default via ${BOX.back}`, `route add default via ${BOX.back6}`],
  direct: [
    `addr add ${VIP.v4}/32 dev lo`,
    `addr add ${VIP.v6}/128 dev lo nodad`,
    'route add 198.51.100.0/24 dev eth0',
    'route add 2001:db8:51::/64 dev eth0',
  ],
  full: [`route add 100.80.0.0/12 via ${BOX.back}`, `route add fd7c:6c64::/32 via ${BOX.back6}`],
} as const;
/** The VIP on lo must not be told on the segment, or the client would find the server behind it (A148). */
const QUIET = { 'ipv4.conf.all.arp_ignore': '1', 'ipv4.conf.all.arp_announce': '2' } as const;
const PORTS = { nat: 80, direct: 8080, full: 82 } as const;
const CLOSED_PORT = 83;
/** Of UDP servers, and of the listeners whose servers own the VIP. */
const UDP_PORT = 8053;
const ECHO = fileURLToPath(new URL('./udp-echo.ts', import.meta.url));

function bringUp(): Network {
  const names = ['client', 'box', 'nat', 'direct', 'full'] as const;
  const commands = {
    client: [
      `addr add ${CLIENT.v4}/24 dev eth0`,
      `addr add ${CLIENT.v6}/64 dev eth0 nodad`,
      `route add default via ${BOX.front}`,
      `route add fd00:9::/64 dev eth0`,
      `route add default via ${BOX.front6}`,
    ],
    box: [
      `addr add ${BOX.front}/24 dev eth0`,
      `addr add ${BOX.front6}/64 dev eth0 nodad`,
      `addr add ${BOX.back}/24 dev eth0`,
      `addr add ${BOX.back6}/64 dev eth0 nodad`,
    ],
    ...Object.fromEntries(
      (['nat', 'direct', 'full'] as const).map((name) => [
        name,
        [`addr add ${SERVER[name].v4}/24 dev eth0`, `addr add ${SERVER[name].v6}/64 dev eth0 nodad`, ...NEEDS[name]],
      ]),
    ),
  } as Record<(typeof names)[number], string[]>;
  const bridge = ['link add br0 type bridge', ...names.map((name) => `link set ${name} master br0`), 'link set br0 up'];
  return createNetwork(
    {
      namespaces: [
        { name: 'segment', commands: bridge },
        ...names.map((name) => ({ name, commands: commands[name], ...(name === 'direct' ? { sysctls: QUIET } : {}) })),
      ],
      links: names.map((name) => ({
        a: { namespace: name, device: 'eth0' },
        b: { namespace: 'segment', device: name },
        mtu: 1500,
      })),
    },
    'modes',
  );
}

function file(): string {
  const targets = (name: keyof typeof SERVER, port: number, more: string): string =>
    ['v4', 'v6'].map((family) => `{ physical: "${SERVER[name][family as 'v4']}", port: ${port}${more} }`).join(', ');
  const listeners = (
    [
      ['TCP', 8080, PORTS.direct],
      ['UDP', UDP_PORT, UDP_PORT],
    ] as const
  ).flatMap(([protocol, port, direct]) => [
    `{ protocol: ${protocol}, port: ${PORTS.nat}, targets: [${targets('nat', port, '')}] }`,
    `{ protocol: ${protocol}, port: ${direct}, targets: [${targets('direct', port, ', encapsulation: l2')}] }`,
    `{ protocol: ${protocol}, port: ${PORTS.full}, translation: fullnat, targets: [${targets('full', port, '')}] }`,
  ]);
  const closed = `{ protocol: UDP, port: ${CLOSED_PORT}, translation: fullnat, targets: [${targets('full', 9, '')}] }`;
  const rows = [...listeners, closed].map((row) => `      - ${row.slice(0, -2)}, healthCheck: { enabled: false } }`);
  return `loadBalancers:\n  - name: modes\n    vips: ["${VIP.v4}", "${VIP.v6}"]\n    listeners:\n${rows.join('\n')}\n`;
}

function startEcho(network: Network, name: string, { v4, v6 }: { v4: string; v6: string }) {
  return startIn(network, name, `echo-${name}`, [process.execPath, ECHO, name, String(UDP_PORT), v4, v6]);
}

/** A connected UDP socket hears of the ICMP error that its datagram causes. */
const ASK_CLOSED = (vip: string): string => `
  const socket = require('node:dgram').createSocket(${vip.includes(':') ? "'udp6'" : "'udp4'"});
  socket.on('error', ({ code }) => { console.log(code); process.exit(0); });
  socket.connect(${CLOSED_PORT}, '${vip}', () => setInterval(() => socket.send('x'), 100));
  setTimeout(() => { console.log('silence'); process.exit(0); }, 3000);`;

await inNamespaces(import.meta.filename, () => {
  describe('one box', () => {
    let network: Network;
    let client: Agent;

    beforeAll(async () => {
      network = bringUp();
      const servers = (['nat', 'direct', 'full'] as const).flatMap((name) => [
        startServer(network, name),
        startEcho(network, name, name === 'direct' ? VIP : SERVER[name]),
      ]);
      [client] = await Promise.all([startAgent(network, 'client'), ...servers.map((server) => waitReady(server))]);
      const path = join(network.directory, 'lb.yaml');
      writeFileSync(path, file());
      await waitReady(
        startIn(network, 'box', 'up', clbCommand('up', '-f', path, '--device', 'eth0', '--port', 'packet')),
      );
    }, 30_000);
    afterAll(() => removeNetwork(network));

    describe.each(['v4', 'v6'] as const)('IP%s', (family) => {
      const vip = VIP[family];
      const ask = async (port: number) => vmAnswer(await client.get(vip, { port, timeoutMs: 5000 }));
      const askByUdp = async (port: number) => {
        const [echo] = await client.run([{ kind: 'udp', address: vip, port, text: 'hello' }]);
        return JSON.parse(echo?.body || '{}') as object;
      };
      const large = async (port: number) => {
        const down = await client.get(vip, { port, path: '/bytes/1000000', timeoutMs: 8000 });
        const up = vmAnswer(await client.get(vip, { port, bodyBytes: 1_000_000, timeoutMs: 8000 }));
        return [down.bodyBytes, up?.bodyBytes];
      };

      test('LVS-NAT: the server sees the client, and its own address and port', async () => {
        const seen = { name: 'nat', peer: CLIENT[family], local: SERVER.nat[family] };
        expect(await ask(PORTS.nat)).toMatchObject(seen);
        expect(await askByUdp(PORTS.nat)).toMatchObject({ name: 'nat', peer: CLIENT[family] });
      });

      test('LVS-DR: the server owns the VIP and answers by itself', async () => {
        const seen = { name: 'direct', peer: CLIENT[family], local: vip };
        expect(await ask(PORTS.direct)).toMatchObject(seen);
        expect(await askByUdp(UDP_PORT)).toMatchObject({ name: 'direct', peer: CLIENT[family] });
        expect(await large(PORTS.direct)).toEqual([1_000_000, 1_000_000]);
      });

      test('full NAT: the server sees a local address of the director, and knows no way to the client', async () => {
        const answer = await ask(PORTS.full);
        expect(answer).toMatchObject({ name: 'full', local: SERVER.full[family] });
        expect(answer?.peer).toMatch(family === 'v4' ? /^100\.(8\d|9[0-5])\./ : /^fd7c:6c64:/);
        expect(await askByUdp(PORTS.full)).toMatchObject({ name: 'full' });
        expect(await large(PORTS.full)).toEqual([1_000_000, 1_000_000]);
      });

      test('full NAT: "port unreachable" of the server reaches the client', async () => {
        const inClient = ['ip', 'netns', 'exec', namespaceName(network, 'client')];
        const { stdout } = await runCommand([...inClient, process.execPath, '-e', ASK_CLOSED(vip)], process.env);
        expect(stdout.trim()).toBe('ECONNREFUSED');
      });
    });
  });

  describe('through tunnels', () => {
    let cluster: Cluster;
    const vips = ['203.0.113.60', '2001:db8:113::60'] as const;

    beforeAll(async () => {
      cluster = await startCluster({ port: 'packet', label: 'modest', nodes: ['ld1', 'phys1', 'host1'] });
      const { api } = cluster;
      const { v4, v6 } = NODES.phys1;
      const physical = (port: number) => [v4, v6].map((text) => ({ physical: text, port }));
      const groups = {
        'tun-tcp': physical(TARGET_PORT),
        'tun-udp': physical(UDP_PORT),
        'full-gre-tcp': [{ instance: 'ins-vm-a1', port: TARGET_PORT }],
        'full-gre-udp': [{ instance: 'ins-vm-a1', port: UDP_PORT }],
      };
      await api.must('POST', '/v1/load-balancers', { id: 'lb-modes', name: 'modes', vips });
      for (const [name, targets] of Object.entries(groups)) {
        const healthCheck = { enabled: false };
        await api.must('POST', '/v1/target-groups', { id: `lbtg-${name}`, name, healthCheck, targets });
      }
      let revision = 0;
      for (const [protocol, port, name, translation] of [
        ['TCP', TARGET_PORT, 'tun-tcp', 'none'],
        ['UDP', UDP_PORT, 'tun-udp', 'none'],
        ['TCP', 81, 'tun-tcp', 'fullnat'],
        ['UDP', 81, 'tun-udp', 'fullnat'],
        ['TCP', 82, 'full-gre-tcp', 'fullnat'],
        ['UDP', 82, 'full-gre-udp', 'fullnat'],
      ] as const) {
        const body = { loadBalancer: 'lb-modes', protocol, port, targetGroup: `lbtg-${name}`, translation };
        ({ revision } = await api.must<{ revision: number }>('POST', '/v1/listeners', body));
      }
      await applied(cluster, revision);
      // A UDP server must answer from the address that it was asked at; the endpoint's routes let TCP do that by itself.
      const atServer = ['ip', '-n', namespaceName(cluster.network, 'phys1'), 'addr', 'add'];
      await runCommand([...atServer, `${vips[1]}/128`, 'dev', 'lo', 'nodad']);
      await Promise.all(
        [
          startEcho(cluster.network, 'phys1', { v4: vips[0], v6: vips[1] }),
          startEcho(cluster.network, 'phys1', NODES.phys1),
          startEcho(cluster.network, 'vm-a1', VMS['vm-a1']),
        ].map((echo) => waitReady(echo)),
      );
      const isServed = async () => (await cluster.client.get(vips[0], { port: 81, timeoutMs: 500 })).status === 200;
      if (!(await until(isServed, 8000))) throw new Error('the VIP is never served');
    }, 40_000);
    afterAll(() => cluster?.down());

    test.each([
      ['LVS-TUN', TARGET_PORT, UDP_PORT, 'phys1', 'client'],
      ['full NAT × IPIP', 81, 81, 'phys1', 'local address'],
      ['full NAT × GRE', 82, 82, 'vm-a1', 'local address'],
    ] as const)('%s, both families, TCP and UDP', async (_mode, port, udpPort, name, who) => {
      for (const [family, vip] of [
        ['v4', vips[0]],
        ['v6', vips[1]],
      ] as const) {
        const outcome = await cluster.client.get(vip, { port, timeoutMs: 5000 });
        const answer = vmAnswer(outcome);
        expect([family, outcome.error, answer]).toMatchObject([family, undefined, { name }]);
        const local = family === 'v4' ? /^100\.(8\d|9[0-5])\./ : /^fd7c:6c64:/;
        expect(answer?.peer === CLUSTER_CLIENT[family] || (local.test(answer?.peer ?? '') && 'local address')).toBe(
          who === 'client' ? true : who,
        );
        expect(answer?.local === vip).toBe(who === 'client');
        const [echo] = await cluster.client.run([{ kind: 'udp', address: vip, port: udpPort, text: 'hello' }]);
        expect([echo?.error, JSON.parse(echo?.body || '{}')]).toMatchObject([undefined, { name, text: 'hello' }]);
        const down = await cluster.client.get(vip, { port, path: '/bytes/1000000', timeoutMs: 8000 });
        expect(down.bodyBytes).toBe(1_000_000);
      }
    });
  });
});
