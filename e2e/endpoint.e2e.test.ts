// Endpoints alone, between kernels that none of our code wrote: VMs of two VPCs with equal addresses on two hosts (P7), a proxy node
// whose kernel reaches VMs by source address (P21) over either kind of inside device, and what happens to packets that are too large.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAgent, startServer, vmAnswer } from '../apps/demo/src/agent.ts';
import type { Agent } from '../apps/demo/src/agent.ts';
import { patternBytes } from '../apps/demo/src/vm.ts';
import {
  askIp,
  createNetwork,
  ipIn,
  isAlive,
  namespaceName,
  parseFrame,
  readInside,
  removeNetwork,
  startCapture,
  startIn,
  stop,
  waitReady,
} from '../tools/testkit/index.ts';
import type { Network, Running } from '../tools/testkit/index.ts';
import type { EndpointImage } from '@openclb/model';
import { inNamespaces } from './suite.ts';

const HOSTS = { h1: '10.9.0.1', h2: '10.9.0.2', px: '10.9.0.3', ph: '10.9.0.4' } as const;
type Host = keyof typeof HOSTS;
const VIP = { v4: '203.0.113.40', v6: '2001:db8:113::40' } as const;
const PX_V6 = 'fd00:9::3';
const SERVER_V6 = 'fd00:9::4';
/** Knows nothing of load balancers: reaches the physical server by its own address. */
const USER = { v4: '10.9.0.9', v6: 'fd00:9::9' } as const;
const VMS = [
  { name: 'a1', net: 100, host: 'h1', v4: '10.0.0.2', v6: 'fd00::2', mac: '0a:00:00:00:0a:01' },
  { name: 'a2', net: 100, host: 'h2', v4: '10.0.0.3', v6: 'fd00::3', mac: '0a:00:00:00:0a:02' },
  { name: 'a3', net: 100, host: 'h1', v4: '10.0.0.4', v6: 'fd00::4', mac: '0a:00:00:00:0a:03' },
  // The addresses of a1 and a2 once more, on the other hosts, in another VPC. b2 has the address of the proxy node as well.
  { name: 'b1', net: 200, host: 'h2', v4: '10.0.0.2', v6: 'fd00::2', mac: '0a:00:00:00:0b:01' },
  { name: 'b2', net: 200, host: 'h1', v4: '10.9.0.3', v6: 'fd00::3', mac: '0a:00:00:00:0b:02' },
] as const;
const SOURCES = { 100: '100.112.0.1', 200: '100.112.0.2' } as const;
const BODY_BYTES = 2_000_000;
const BODY_HASH = createHash('sha256').update(patternBytes(BODY_BYTES)).digest('hex');
const UNDERLAY_MTU = 1500;

function imageOf(host: Host): EndpointImage {
  const here = VMS.filter((vm) => vm.host === host);
  const nets = host === 'px' ? [100, 200] : here.map(({ net }) => net);
  return {
    role: 'endpoint',
    generation: { revision: 1, compiler: 1 },
    self: { id: host, underlay: { v4: HOSTS[host], ...(host === 'ph' ? { v6: SERVER_V6 } : {}) } },
    tunnels: [{ node: 'ld1', worker: 0, v4: '10.8.0.1' }],
    anycast: { v4: '10.8.0.99' },
    trusted: Object.values(HOSTS).filter((address) => address !== HOSTS[host]),
    vms: here.map(({ name, net, v4, v6, mac }) => ({
      id: name,
      net,
      addresses: [v4, v6],
      mac,
      device: `tap-${name}`,
      eips: [],
    })),
    physical: host === 'ph' ? [HOSTS.ph, SERVER_V6] : [],
    map: VMS.filter(({ net }) => nets.includes(net)).flatMap(({ net, v4, v6, host: place }) =>
      [v4, v6].map((address) => ({ net, address, host: HOSTS[place] })),
    ),
    registered:
      host === 'ph' ? [HOSTS.ph, SERVER_V6].map((address) => ({ net: 0, address, port: 8080, protocol: 6 })) : [],
    internalVips: [],
    sources: host === 'px' ? Object.entries(SOURCES).map(([net, v4]) => ({ net: Number(net), v4 })) : [],
    localVips: host === 'px' ? Object.values(VIP) : [],
  };
}

function makeNetwork(): Network {
  return createNetwork(
    {
      namespaces: [
        {
          name: 'switch',
          commands: [
            'link add br0 type bridge',
            ...[...Object.keys(HOSTS), 'user'].map((host) => `link set ${host} master br0`),
            'link set br0 up',
          ],
        },
        ...Object.entries(HOSTS).map(([name, address]) => ({
          name,
          commands: [
            `addr add ${address}/24 dev eth0`,
            ...(name === 'ph' ? [`addr add ${SERVER_V6}/64 dev eth0 nodad`] : []),
            ...(name === 'px' ? [`addr add ${PX_V6}/64 dev eth0 nodad`] : []),
          ],
        })),
        { name: 'user', commands: [`addr add ${USER.v4}/24 dev eth0`, `addr add ${USER.v6}/64 dev eth0 nodad`] },
        ...VMS.map((vm) => ({
          name: vm.name,
          commands: [
            `addr add ${vm.v4}/24 dev eth0`,
            `addr add ${vm.v6}/64 dev eth0 nodad`,
            `route add default via ${vm.v4.replace(/\d+$/, '254')}`,
            'route add default via fd00::254',
          ],
        })),
      ],
      links: [
        ...[...Object.keys(HOSTS), 'user'].map((host) => ({
          a: { namespace: host, device: 'eth0' },
          b: { namespace: 'switch', device: host },
          mtu: UNDERLAY_MTU,
        })),
        ...VMS.map((vm) => ({
          a: { namespace: vm.host, device: `tap-${vm.name}` },
          b: { namespace: vm.name, device: 'eth0', mac: vm.mac },
          mtu: 1500,
        })),
      ],
    },
    'ep',
  );
}

await inNamespaces(import.meta.filename, () => {
  let network: Network;
  let a1: Agent;
  let b1: Agent;
  let px: Agent;
  let user: Agent;
  const endpoints = new Map<Host, Running>();
  const answers = new Map<Host, Interface>();

  async function startEndpointOn(host: Host, inside = 'veth'): Promise<void> {
    const file = join(network.directory, `${host}.json`);
    writeFileSync(file, JSON.stringify(imageOf(host)));
    const script = fileURLToPath(new URL('endpoint-process.ts', import.meta.url));
    const words = [process.execPath, '--conditions=@openclb/source', script, host, 'eth0', file, inside];
    const running = startIn(network, host, `endpoint-${host}`, words, { pipes: true });
    endpoints.set(host, running);
    answers.set(host, createInterface({ input: running.child.stdout! }));
    await waitReady(running);
  }

  const countersOf = async (host: Host): Promise<Record<string, number>> => {
    const line = once(answers.get(host)!, 'line');
    endpoints.get(host)!.child.stdin!.write('counters\n');
    return JSON.parse(((await line) as [string])[0]) as Record<string, number>;
  };

  const errorOf = async (from: Agent, address: string): Promise<string | undefined> =>
    (await from.get(address, { port: 8080, timeoutMs: 700 })).error;

  beforeAll(async () => {
    network = makeNetwork();
    await Promise.all((Object.keys(HOSTS) as Host[]).map((host) => startEndpointOn(host)));
    const servers = [...VMS.map(({ name }) => name), 'ph'].map((name) => startServer(network, name));
    [a1, b1, px, user] = await Promise.all([
      startAgent(network, 'a1'),
      startAgent(network, 'b1'),
      startAgent(network, 'px'),
      startAgent(network, 'user'),
      ...servers.map((one) => waitReady(one)),
      waitReady(startServer(network, 'px', 'px', 8090)),
    ]);
  });
  afterAll(() => removeNetwork(network));

  test('a VM reaches its VPC on the other host and on its own host, over both families', async () => {
    for (const [address, name] of [
      ['10.0.0.3', 'a2'],
      ['fd00::3', 'a2'],
      ['10.0.0.4', 'a3'],
      ['fd00::4', 'a3'],
    ] as const) {
      const answer = vmAnswer(await a1.get(address, { port: 8080 }));
      expect(answer).toMatchObject({ name, peer: address.includes(':') ? 'fd00::2' : '10.0.0.2' });
    }
    expect((await countersOf('h1'))['endpoint.eastWest']).toBeGreaterThan(0);
  });

  test('a VM does not see the machines that carry it, nor another VPC', async () => {
    for (const address of ['10.9.0.2', '10.9.0.1', '10.8.0.1']) expect(await errorOf(a1, address)).toBe('timeout');
    expect(await errorOf(b1, '10.0.0.4')).toBe('timeout');
    expect((await countersOf('h1'))['core.reason.NoWayOut']).toBeGreaterThan(0);
  });

  test('a large body passes whole, because segment sizes are lowered to what the tunnel takes', async () => {
    const down = await a1.get('10.0.0.3', { port: 8080, path: `/bytes/${BODY_BYTES}`, timeoutMs: 10_000 });
    expect(down).toMatchObject({ status: 200, bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
    const up = await a1.get('fd00::3', { port: 8080, bodyBytes: BODY_BYTES, timeoutMs: 10_000 });
    expect(vmAnswer(up)).toMatchObject({ bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
  });

  test('a datagram that does not fit the tunnel tells the VM what does, and its fragments arrive', async () => {
    const question = {
      kind: 'udp',
      address: '10.0.0.3',
      port: 8080,
      text: 'x'.repeat(1472 - 27),
      timeoutMs: 700,
    } as const;
    expect((await a1.run([question]))[0]?.error).toBe('timeout');
    expect(askIp(network, 'a1', 'route', 'get', '10.0.0.3')).toMatch(/mtu 1472/);
    // The answer is larger than any device takes: the VM's kernel sends it in fragments that the tunnel cuts once more.
    const [second] = await a1.run([question]);
    expect(JSON.parse(second?.body ?? '{}')).toMatchObject({ name: 'a2', text: question.text });
  });

  for (const inside of ['veth', 'tun'] as const) {
    test(`the proxy's kernel reaches VMs of equal addresses by its source address, also one with its own address (${inside})`, async (context) => {
      await stop(endpoints.get('px')!);
      try {
        await startEndpointOn('px', inside);
      } catch (error) {
        // The tests that follow need an endpoint on the proxy all the same.
        await startEndpointOn('px');
        context.skip(inside === 'tun' && String(error).includes('/dev/net/tun'), 'needs /dev/net/tun');
        throw error;
      }
      const names = async (address: string, localAddress: string): Promise<string | undefined> =>
        vmAnswer(await px.get(address, { port: 8080, localAddress }))?.name;
      expect(await names('10.0.0.2', SOURCES[100])).toBe('a1');
      expect(await names('10.0.0.2', SOURCES[200])).toBe('b1');
      expect(await names('10.0.0.3', SOURCES[100])).toBe('a2');
      expect(await names(HOSTS.px, SOURCES[200])).toBe('b2');
      const down = await px.get('10.0.0.3', {
        port: 8080,
        localAddress: SOURCES[100],
        path: `/bytes/${BODY_BYTES}`,
        timeoutMs: 10_000,
      });
      expect(down).toMatchObject({ bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
    });
  }

  test('a VM whose device is made again is served again; without its device it is not', async () => {
    const a3 = VMS[2];
    ipIn(network, 'h1', [`link del tap-${a3.name}`]);
    expect(await errorOf(a1, a3.v4)).toBe('timeout');
    expect((await countersOf('h1'))['endpoint.missingVms']).toBe(1);
    const peer = `name eth0 address ${a3.mac} mtu 1500 netns ${namespaceName(network, a3.name)}`;
    ipIn(network, 'h1', [`link add tap-${a3.name} mtu 1500 type veth peer ${peer}`, `link set tap-${a3.name} up`]);
    ipIn(network, a3.name, [`addr add ${a3.v4}/24 dev eth0`, 'link set eth0 up']);
    const end = performance.now() + 5_000;
    while ((await countersOf('h1'))['endpoint.missingVms'] !== 0 && performance.now() < end) await sleep(50);
    expect(vmAnswer(await a1.get(a3.v4, { port: 8080 }))?.name).toBe('a3');
  });

  test('direct users of a physical server live on, although its answers pass the endpoint', async () => {
    for (const [address, own] of [
      [HOSTS.ph, USER.v4],
      [SERVER_V6, USER.v6],
    ] as const) {
      expect(vmAnswer(await user.get(address, { port: 8080 }))).toMatchObject({
        name: 'ph',
        peer: own,
        local: address,
      });
      const path = `/bytes/${BODY_BYTES}`;
      expect(await user.get(address, { port: 8080, path, timeoutMs: 10_000 })).toMatchObject({ bodyHash: BODY_HASH });
    }
    const counters = await countersOf('ph');
    expect(counters['endpoint.unchanged']).toBeGreaterThan(1000);
    // What the kernel said into a new device before there was an image is all that was dropped.
    expect((counters['core.dropped'] ?? 0) - (counters['core.reason.NoImage'] ?? 0)).toBe(0);
  });

  test('a proxy tells clients what fits the tunnel to it, because its SYN/ACKs pass nobody who could', async () => {
    ipIn(network, 'user', [`route add ${VIP.v4}/32 via ${HOSTS.px}`, `route add ${VIP.v6}/128 via ${PX_V6}`]);
    const capture = startCapture(network, 'user', 'eth0', 'direct-return');
    for (const address of Object.values(VIP)) {
      const answer = vmAnswer(await user.get(address, { port: 8090, bodyBytes: BODY_BYTES, timeoutMs: 10_000 }));
      expect(answer).toMatchObject({ name: 'px', local: address, bodyHash: BODY_HASH });
    }
    await sleep(50);
    const synAcks = capture
      .stop()
      .flatMap(({ bytes }) => parseFrame(bytes).ip ?? [])
      .filter(({ tcp }) => tcp?.flags === 'SA');
    expect(synAcks.map(({ source, tcp }) => [source, tcp?.mss])).toEqual([
      [VIP.v4, UNDERLAY_MTU - 28 - 40],
      [VIP.v6, UNDERLAY_MTU - 28 - 60],
    ]);
    expect(askIp(network, 'px', 'route', 'show', 'table', '7262')).toMatch(/advmss 1432/);
  });

  test('an endpoint that ends leaves nothing behind, and one that was killed starts again over what it left', async () => {
    const running = endpoints.get('px')!;
    await stop(running);
    expect(isAlive(running.note)).toBe(false);
    expect(askIp(network, 'px', 'rule')).toBe(
      '0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n',
    );
    expect(askIp(network, 'px', 'link')).not.toMatch(/clb-/);
    expect(askIp(network, 'px', 'route', 'show', 'table', 'all')).not.toMatch(/table 726/);
    expect(askIp(network, 'px', 'addr', 'show', 'dev', 'lo')).not.toMatch(/100\.112/);
    expect(askIp(network, 'px', 'route', 'show', 'table', 'local')).not.toMatch(/203\.0\.113\.40/);
    expect(readInside(network, 'px', '/proc/sys/net/ipv4/ip_local_port_range').trim()).not.toBe('1024\t65535');
    for (const inside of ['veth', 'veth']) {
      await startEndpointOn('px', inside);
      expect(vmAnswer(await px.get('10.0.0.2', { port: 8080, localAddress: SOURCES[200] }))?.name).toBe('b1');
      await stop(endpoints.get('px')!, 'SIGKILL');
    }
  });
});
