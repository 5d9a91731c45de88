// The stream half of forwarding.bench.ts: bytes per second of one TCP connection through the demo's topology, by a director and by nftables.
// Every contestant has a topology of its own; those that are not measured are stopped (SIGSTOP), so that they take no CPU.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { startCluster } from '../../apps/demo/src/cluster.ts';
import type { Cluster } from '../../apps/demo/src/cluster.ts';
import { NODES, VIP, VMS, bringUpTopology } from '../../apps/demo/src/topology.ts';
import { routed } from '../../apps/demo/src/watch.ts';
import { ipIn, namespaceName, removeNetwork, startIn, stop, waitReady, within } from '../../tools/testkit/index.ts';
import type { Network, Running } from '../../tools/testkit/index.ts';
import type { Row } from '../../tools/bench/row.ts';
import { loadNote, missing, ratioRow, reasonOf, rounds, translateByKernel } from './method.ts';

const ROUNDS = 5;
const BYTES = 48 << 20;
const VPORT = 80;
const SERVER_PORT = 9000;
/** A fetch gives up by itself before this. */
const FETCH_MS_MAX = 40_000;
const KINDS = ['nft', 'packet', 'xdp'] as const;
type Kind = (typeof KINDS)[number];

interface Path {
  readonly network: Network;
  /** What carries packets and must not run while others are measured. */
  readonly roles: readonly Running[];
}

const peers = (...words: string[]): string[] => [
  process.execPath,
  fileURLToPath(new URL('./peers.ts', import.meta.url)),
  ...words,
];

export async function streamRows(): Promise<Row[]> {
  const load = loadavg()[0] ?? 0;
  const paths = new Map<Kind, Path>();
  const rows: Row[] = [];
  try {
    for (const kind of KINDS) {
      try {
        const path = kind === 'nft' ? await byKernel() : await byDirector(kind);
        paths.set(kind, path);
        megabytesPerSecond(path);
        pause(path);
      } catch (error) {
        rows.push(missing(`one TCP connection by ${kind}`, reasonOf(error)));
      }
    }
    const values = await rounds([...paths.keys()], ROUNDS, async (kind) => {
      const path = paths.get(kind);
      if (!path) return Number.NaN;
      path.roles.forEach(({ note }) => process.kill(note.pid, 'SIGCONT'));
      try {
        return megabytesPerSecond(path);
      } finally {
        pause(path);
      }
    });
    const peer = values.get('nft') ?? [];
    for (const [kind, own] of values) {
      const what =
        kind === 'nft'
          ? 'one TCP connection, DNAT by nftables'
          : `one TCP connection, director and endpoint by ${kind}, DNAT × GRE`;
      rows.push(ratioRow(what, 'MB/s', own, peer, 'nftables', `${BYTES >> 20} MiB, MSS 1,460; ${loadNote(load)}`));
    }
    return rows;
  } finally {
    for (const { network } of paths.values()) removeNetwork(network);
  }
}

const pause = ({ roles }: Path): void => roles.forEach(({ note }) => process.kill(note.pid, 'SIGSTOP'));

function megabytesPerSecond({ network }: Path): number {
  const words = ['netns', 'exec', namespaceName(network, 'client'), ...peers('fetch', VIP.a, `${VPORT}`, `${BYTES}`)];
  const seconds = Number(execFileSync('ip', words, { encoding: 'utf8', timeout: FETCH_MS_MAX }));
  return BYTES / 1e6 / seconds;
}

async function startServer(network: Network): Promise<void> {
  await waitReady(startIn(network, 'vm-a1', 'bench-server', peers('serve', `${SERVER_PORT}`)));
}

async function byDirector(port: 'packet' | 'xdp'): Promise<Path> {
  const cluster = await startCluster({ port, nodes: ['ld1', 'host1'], label: 'str' });
  try {
    await startServer(cluster.network);
    await configure(cluster);
    const { roles } = cluster;
    // Nothing moves a route or asks for a heartbeat from here on: a node that stands still is no dead one.
    for (const name of ['announcer', 'ctl']) await stop(roles.get(name) as Running, 'SIGKILL');
    return { network: cluster.network, roles: ['ld1', 'host1'].map((name) => roles.get(name) as Running) };
  } catch (error) {
    cluster.down();
    throw error;
  }
}

async function configure({ api, network }: Cluster): Promise<void> {
  const { revision } = await api.must<{ revision: number }>('PUT', '/v1/config', {
    loadBalancers: [
      {
        name: 'bench',
        vips: [VIP.a],
        listeners: [
          {
            protocol: 'TCP',
            port: VPORT,
            targets: [{ instance: 'ins-vm-a1', port: SERVER_PORT }],
            healthCheck: { enabled: false },
          },
        ],
      },
    ],
  });
  await api.must('GET', `/v1/status?wait=${revision}&timeoutMs=8000`);
  if (!(await routed(network, VIP.a, 1))) throw new Error('the announcer does not route the VIP');
}

/** The same way with kernels alone: ld1 translates, host1 routes, and replies come back through ld1. */
async function byKernel(): Promise<Path> {
  const network = bringUpTopology({ label: 'stn' });
  try {
    const [director, host] = [NODES.ld1.v4, NODES.host1.v4];
    const vm = VMS['vm-a1'];
    for (const name of ['ld1', 'host1']) {
      within(network, name, () => {
        for (const [key, value] of [
          ['ip_forward', '1'],
          ['conf/all/send_redirects', '0'],
          ['conf/eth0/send_redirects', '0'],
        ])
          writeFileSync(`/proc/sys/net/ipv4/${key}`, `${value}`);
      });
    }
    ipIn(network, 'host1', [`addr add 10.0.0.1/24 dev ${vm.device}`]);
    ipIn(network, 'switch', [
      `route add ${VIP.a} via ${director}`,
      `route add ${vm.v4} via ${host}`,
      `route add default via ${director} table 77`,
      'rule add iif host1 lookup 77',
    ]);
    translateByKernel(network, 'ld1', `ip daddr ${VIP.a} tcp dport ${VPORT}`, `${vm.v4}:${SERVER_PORT}`);
    await startServer(network);
    return { network, roles: [] };
  } catch (error) {
    removeNetwork(network);
    throw error;
  }
}
