// Requests per second of the proxy through director, GRE and inside device, as a ratio to the same proxy addressed directly.
//
// The demo's topology: client → switch → ld1 (director) → GRE → px1 (its endpoint, inside device, proxy) → target, and straight back from
// px1 to the client (P20). The same load balancer has a second VIP that the switch routes to px1 itself, so the very same proxy
// process, listener, rule and target serve both; only the way to it differs. Two targets: a physical server that the proxy reaches by plain
// routing (P22), so the ratio is the price of the way in alone, and a VM in a VPC, where both ways also pay for the tunnel to the target.
// 64 keep-alive connections, 13-byte answers; wrk in the client's namespace where it is installed, else the generator of packages/l7/bench.
// Rounds alternate; a ratio is the median of the rounds' ratios.
import { execFileSync, spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { startCluster } from '../apps/demo/src/cluster.ts';
import type { Cluster } from '../apps/demo/src/cluster.ts';
import { NODES, VIP } from '../apps/demo/src/topology.ts';
import { routed } from '../apps/demo/src/watch.ts';
import type { Row } from '../tools/bench/row.ts';
import { ipIn, namespaceName, startIn, waitReady } from '../tools/testkit/index.ts';
import { loadNote, missing, printRows, ratioRow, reasonOf, rounds, whereNamespaces } from './bench/method.ts';

const ROUNDS = 5;
const SECONDS = 1;
const CONNECTIONS = 64;
const LOAD_MS_MAX = 15_000;
const SERVER_PORT = 9000;
/** The way in, by VIP. */
const WAY = { tunnel: VIP.http, direct: VIP.a } as const;
/** The way out, by port of the listener. */
const TARGET = { 'a physical server': 80, 'a VM in a VPC': 81 } as const;
type Way = keyof typeof WAY;
type Target = keyof typeof TARGET;
const TARGETS = Object.keys(TARGET) as Target[];

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const hasWrk = spawnSync('wrk', ['-v']).error === undefined;

export const run = (): Promise<readonly Row[]> => whereNamespaces(import.meta.filename, 'proxy in the tunnel', measure);

async function measure(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const port of ['packet', 'xdp'] as const) {
    try {
      rows.push(...(await rowsOf(port)));
    } catch (error) {
      rows.push(missing(`proxy in the tunnel, by ${port}`, reasonOf(error)));
    }
  }
  return rows;
}

async function rowsOf(port: 'packet' | 'xdp'): Promise<Row[]> {
  const load = loadavg()[0] ?? 0;
  const cluster = await startCluster({ port, nodes: ['ld1', 'px1', 'host1'], label: 'tun' });
  try {
    await prepare(cluster);
    const contestants = TARGETS.flatMap((target) => [`direct/${target}`, `tunnel/${target}`] as const);
    for (const contestant of contestants) kiloRequestsPerSecond(cluster, contestant);
    const values = await rounds(contestants, ROUNDS, async (contestant) => kiloRequestsPerSecond(cluster, contestant));
    return TARGETS.map((target) =>
      ratioRow(
        `proxy through director, GRE and inside device by ${port}, target ${target}`,
        'krequests/s',
        values.get(`tunnel/${target}`) ?? [],
        values.get(`direct/${target}`) ?? [],
        'the same proxy addressed directly',
        `${CONNECTIONS} connections by ${hasWrk ? 'wrk' : 'our generator'}; ${loadNote(load)}`,
      ),
    );
  } finally {
    cluster.down();
  }
}

async function prepare({ api, network }: Cluster): Promise<void> {
  const answer = (): string[] => [process.execPath, script('./bench/peers.ts'), 'answer', `${SERVER_PORT}`];
  await Promise.all(['phys1', 'vm-a1'].map((name) => waitReady(startIn(network, name, `bench-${name}`, answer()))));
  const listener = (target: Target, destination: object): object => ({
    protocol: 'HTTP',
    port: TARGET[target],
    rules: [{ targets: [{ ...destination, port: SERVER_PORT }], healthCheck: { enabled: false } }],
  });
  // The cluster knows a second proxy that is not started here; directors would send to it until their probes say that it is dead.
  await api.must('DELETE', '/v1/nodes/px2');
  const { revision } = await api.must<{ revision: number }>('PUT', '/v1/config', {
    loadBalancers: [
      {
        name: 'bench',
        vips: Object.values(WAY),
        listeners: [
          listener('a physical server', { physical: NODES.phys1.v4 }),
          listener('a VM in a VPC', { instance: 'ins-vm-a1' }),
        ],
      },
    ],
  });
  await api.must('GET', `/v1/status?wait=${revision}&timeoutMs=8000`);
  if (!(await routed(network, WAY.tunnel, 1))) throw new Error('the announcer does not route the VIP');
  // Before the table that the announcer writes: this VIP goes to the proxy's machine as it is.
  ipIn(network, 'switch', [
    `route add ${WAY.direct} via ${NODES.px1.v4} table 77`,
    `rule add to ${WAY.direct} lookup 77`,
  ]);
}

function kiloRequestsPerSecond({ network }: Cluster, contestant: `${Way}/${Target}`): number {
  const [way, target] = contestant.split('/') as [Way, Target];
  const url = `http://${WAY[way]}:${TARGET[target]}/`;
  const words = hasWrk
    ? ['wrk', '-t1', `-c${CONNECTIONS}`, `-d${SECONDS}s`, url]
    : [process.execPath, script('../packages/l7/bench/load.ts'), url, `${CONNECTIONS}`, `${SECONDS}`];
  const inside = ['netns', 'exec', namespaceName(network, 'client'), ...words];
  const text = execFileSync('ip', inside, { encoding: 'utf8', timeout: LOAD_MS_MAX });
  const match = /Requests\/sec:\s+([\d.]+)/.exec(text);
  if (match === null || /Non-2xx|Socket errors/.test(text))
    throw new Error(`the load generator said of ${url}: ${text}`);
  return Number(match[1]) / 1000;
}

if (import.meta.main) await printRows(run);
