// SYN proxy and domains at layer 4 between kernel stacks (data-plane.md P26, P27; layer4.md 5.10): the director answers, the target is
// bound late, and every number is translated to the end. Clients speak first or last, lose packets, and flood.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { addListener, createBalancer, served } from '../apps/demo/src/story/balancer.ts';
import { CLIENT, TARGET_PORT, VIP } from '../apps/demo/src/topology.ts';
import { patternBytes, type VmAnswer } from '../apps/demo/src/vm.ts';
import {
  askIp,
  ethernet,
  ipPacket,
  namespaceName,
  startCapture,
  startIn,
  tcp,
  waitReady,
} from '../tools/testkit/index.ts';
import { openRawSocket } from './raw-socket.ts';
import { inNamespaces } from './suite.ts';

const BODY_BYTES = 2_000_000;
const BODY_HASH = createHash('sha256').update(patternBytes(BODY_BYTES)).digest('hex');
const BANNER = { port: 25, target: 2525 };
const TLS = { port: 443, target: 8443 };
const FLOOD_SYNS = 20_000;
const LOSS = `table inet loss { chain in { type filter hook prerouting priority -300; meta l4proto tcp numgen random mod 100 < 2 drop; }; }\n`;

await inNamespaces(import.meta.filename, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ port: 'packet', label: 'synproxy' });
    const { api, network } = cluster;
    const servers = ['vm-a1', 'vm-a2'].map((name) => {
      const script = fileURLToPath(new URL('./speak-first.ts', import.meta.url));
      const argv = [
        process.execPath,
        '--conditions=@openclb/source',
        script,
        name,
        `${BANNER.target}`,
        `${TLS.target}`,
      ];
      return startIn(network, name, `first-${name}`, argv);
    });
    await Promise.all(servers.map((server) => waitReady(server)));
    const on = (port: number, vm = 'vm-a1') => [{ instance: `ins-${vm}`, port }];
    await createBalancer(cluster, { id: 'a', vips: [VIP.a, VIP.a6], port: 80, targets: on(TARGET_PORT) });
    await addListener(cluster, { id: 'a', vips: [], port: BANNER.port, targets: on(BANNER.target) }, 'banner');
    await addListener(cluster, { id: 'a', vips: [], port: TLS.port, targets: on(TLS.target) }, 'tls');
    await addListener(cluster, { id: 'a', vips: [], port: 8080, targets: on(TARGET_PORT) }, 'host');
    const groups = { 'tls-two': TLS.target, 'host-two': TARGET_PORT };
    for (const [name, port] of Object.entries(groups))
      await api.must('POST', '/v1/target-groups', { id: `lbtg-${name}`, name, targets: on(port, 'vm-a2') });
    for (const name of ['a', 'banner']) await api.must('PATCH', `/v1/listeners/lbl-${name}`, { synProxy: 'on' });
    let last = { revision: 0 };
    for (const name of ['tls', 'host'])
      last = await api.must('PATCH', `/v1/listeners/lbl-${name}`, {
        domains: [
          { domain: 'two.test', targetGroup: `lbtg-${name}-two` },
          { domain: '*.wild.test', targetGroup: `lbtg-${name}-two` },
        ],
      });
    await served(cluster, last.revision, VIP.a, VIP.a6);
  });
  afterAll(() => cluster?.down());

  const counters = async (): Promise<Record<string, number>> => {
    const { items } = await cluster.api.must<{ items: { node: string; counters: Record<string, number> }[] }>(
      'GET',
      '/v1/counters',
    );
    const sums: Record<string, number> = {};
    for (const item of items)
      for (const [name, value] of Object.entries(item.counters)) sums[name] = (sums[name] ?? 0) + value;
    return sums;
  };
  const nft = (namespace: string, input: string): void =>
    void execFileSync('ip', ['netns', 'exec', namespaceName(cluster.network, namespace), 'nft', '-f', '-'], { input });

  async function moveBodies(vip: string): Promise<void> {
    const down = await cluster.client.get(vip, { path: `/bytes/${BODY_BYTES}`, timeoutMs: 12_000 });
    expect(down).toMatchObject({ status: 200, bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
    const up = await cluster.client.get(vip, { bodyBytes: BODY_BYTES, timeoutMs: 12_000 });
    expect(up).toMatchObject({ status: 200 });
    expect(JSON.parse(up.body || '{}')).toMatchObject({ bodyBytes: BODY_BYTES, bodyHash: BODY_HASH });
  }

  test.for([VIP.a, VIP.a6])('%s: two megabytes pass both ways, and the VM sees the client', async (vip) => {
    const before = await counters();
    await moveBodies(vip);
    const small = await cluster.client.get(vip, { path: '/' });
    expect((JSON.parse(small.body ?? '{}') as VmAnswer).peer).toBe(vip === VIP.a ? CLIENT.v4 : CLIENT.v6);
    const after = await counters();
    expect(after['binding.bound']! - before['binding.bound']!).toBe(3);
  });

  test('the same with two of a hundred packets lost on both sides, and without timestamps', async () => {
    for (const namespace of ['client', 'vm-a1']) nft(namespace, LOSS);
    try {
      await moveBodies(VIP.a);
      for (const value of ['0', '1']) {
        await cluster.atClient('sysctl', '-qw', `net.ipv4.tcp_timestamps=${value}`);
        const { status, bodyHash } = await cluster.client.get(VIP.a, {
          path: `/bytes/${BODY_BYTES}`,
          timeoutMs: 12_000,
        });
        expect({ status, bodyHash }).toEqual({ status: 200, bodyHash: BODY_HASH });
      }
    } finally {
      for (const namespace of ['client', 'vm-a1']) nft(namespace, 'delete table inet loss');
    }
  });

  test('a server that speaks first is heard, and hears its client', async () => {
    const talk = `const s=require('net').connect(${BANNER.port},'${VIP.a}');let t='';s.on('data',(d)=>{t+=d;if(t.split('\\n').length===2)s.write('HELO')});s.on('end',()=>console.log(t))`;
    const { stdout } = await cluster.atClient(process.execPath, '-e', talk);
    expect(stdout).toBe('220 vm-a1\r\n250 4\r\n\n');
  });

  test('twenty thousand forged SYNs reach no target, and a client among them connects', async () => {
    const { network } = cluster;
    const capture = startCapture(network, 'vm-a1', 'eth0', 'flood');
    const socket = openRawSocket(network, 'client', 'eth0');
    const macOf = (namespace: string, device: string): string =>
      (JSON.parse(askIp(network, namespace, '-j', 'link', 'show', 'dev', device)) as { address: string }[])[0]!.address;
    const [from, to] = [macOf('client', 'eth0'), macOf('switch', 'client')];
    const before = await counters();
    const outcomes: Promise<{ status?: number }>[] = [];
    for (let sent = 0; sent < FLOOD_SYNS; sent++) {
      const source = `192.0.2.${sent % 256}`;
      const syn = tcp({ sourcePort: 1024 + (sent >> 8), destinationPort: 80, flags: 'S', sequence: sent, mss: 1460 });
      socket.send(ethernet(from, to, ipPacket(source, VIP.a, syn)));
      if (sent % 2000 !== 0) continue;
      outcomes.push(cluster.client.get(VIP.a, { path: '/', timeoutMs: 8_000 }) as Promise<{ status?: number }>);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect((await Promise.all(outcomes)).map(({ status }) => status)).toEqual(outcomes.map(() => 200));
    socket.close();
    const seen = (await capture.stop()).filter(({ bytes }) => bytes.subarray(26, 29).equals(Buffer.from([192, 0, 2])));
    expect(seen).toEqual([]);
    const after = await counters();
    // A full ring of the director may lose some of them; the rest was answered.
    expect(after['binding.answered']! - before['binding.answered']!).toBeGreaterThan(FLOOD_SYNS / 2);
    expect(after['binding.bound']! - before['binding.bound']!).toBe(outcomes.length);
  });

  test.for([
    ['two.test', 'vm-a2'],
    ['TWO.test', 'vm-a2'],
    ['deep.below.wild.test', 'vm-a2'],
    ['wild.test', 'vm-a1'],
    ['other.test', 'vm-a1'],
  ])('%s is served by %s, by the name in TLS and by the Host of HTTP', async ([name, vm]) => {
    const tls = ['s_client', '-quiet', '-connect', `${VIP.a}:${TLS.port}`, '-servername', name!];
    expect((await cluster.atClient('openssl', ...tls)).stdout).toBe(`tls ${vm}\r\n`);
    const http = await cluster.client.get(VIP.a, { path: '/', port: 8080, headers: { host: `${name}:8080` } });
    expect({ ...http, name: (JSON.parse(http.body || '{}') as VmAnswer).name }).toMatchObject({ name: vm });
  });
});
