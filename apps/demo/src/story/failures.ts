// Lines 7 and 8 of the story: a target dies and returns, a director is killed. Nothing here touches a route: the announcer must notice by itself.
import { stop } from '../../../../tools/testkit/index.ts';
import type { Outcome } from '../client.ts';
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { NODES, VIP } from '../topology.ts';
import { gatewaysOf, routed, tally, until } from '../watch.ts';
import { nameOf } from './balancer.ts';

/** Interval 2 s, threshold 2, timeout 1 s: the verdict falls within 2 × 2 + 1 s, and the controller hears of it. */
const VERDICT_MS_MAX = 9000;
const PROBE_PAUSE_MS = 20;

interface Health {
  targetGroup: string;
  target: string;
  state: string;
  nodes: { node: string; state: string }[];
}

async function burst(cluster: Cluster, count: number, address: string = VIP.a, port = 80): Promise<Outcome[]> {
  return cluster.client.run(
    Array.from({ length: count }, () => ({ kind: 'http' as const, address, port, timeoutMs: 1500 })),
    { concurrency: 8 },
  );
}

/** Milliseconds until both directors say so of one target of the group, or of every one of them; undefined: they never did. */
export async function verdict(
  cluster: Cluster,
  group: string,
  state: string,
  milliseconds = VERDICT_MS_MAX,
  of: 'one' | 'all' = 'one',
): Promise<number | undefined> {
  const started = performance.now();
  const directors = ['ld1', 'ld2'];
  const isSaidOf = (row: Health): boolean =>
    directors.every((director) => row.nodes.some(({ node, state: said }) => node === director && said === state));
  const isSaid = async (): Promise<boolean> => {
    const { items } = await cluster.api.must<{ items: Health[] }>('GET', '/v1/health');
    const rows = items.filter(({ targetGroup }) => targetGroup === group);
    return rows.length > 0 && (of === 'one' ? rows.some(isSaidOf) : rows.every(isSaidOf));
  };
  return (await until(isSaid, milliseconds)) ? performance.now() - started : undefined;
}

export async function targetDies(cluster: Cluster, tell: Teller): Promise<void> {
  const server = cluster.servers.get('vm-a1');
  if (!server) throw new Error('vm-a1 has no server');
  await stop(server, 'SIGKILL');
  const dead = await verdict(cluster, 'lbtg-a', 'Dead');
  const during = tally((await burst(cluster, 60)).map(nameOf));
  tell.claim(
    'the server in vm-a1 is killed: health checks take it out, and every request goes on to vm-a2',
    dead !== undefined && during.counts['vm-a2'] === 60,
    `${dead === undefined ? 'never called dead' : `dead after ${(dead / 1000).toFixed(1)} s`}; then 60 requests: ${during.text}`,
  );
  await cluster.startServer('vm-a1');
  const alive = await verdict(cluster, 'lbtg-a', 'Alive', VERDICT_MS_MAX, 'all');
  const isUsed = await until(
    async () => (await burst(cluster, 40)).some((outcome) => nameOf(outcome) === 'vm-a1'),
    VERDICT_MS_MAX,
  );
  const after = tally((await burst(cluster, 60)).map(nameOf));
  tell.claim(
    'it returns and is used again',
    isUsed && (after.counts['vm-a1'] ?? 0) > 0 && (after.counts['vm-a1'] ?? 0) + (after.counts['vm-a2'] ?? 0) === 60,
    `${alive === undefined ? 'never called alive' : `alive again after ${(alive / 1000).toFixed(1)} s`}; then 60 requests: ${after.text}`,
  );
}

/** What must leave a dead director: VIPs, the anycast address, and its own tunnel addresses, in both families. */
async function addressesOf({ api }: Cluster, director: string): Promise<string[]> {
  const { addresses, directors } = await api.must<{
    addresses: { address: string }[];
    directors: { id: string; tunnels: { v4?: string; v6?: string }[] }[];
  }>('GET', '/v1/announcements');
  const own = directors.find(({ id }) => id === director)?.tunnels.flatMap(({ v4, v6 }) => [v4, v6]) ?? [];
  return [...addresses.map(({ address }) => address), ...own].filter((address) => address !== undefined);
}

export async function directorDies(cluster: Cluster, tell: Teller): Promise<void> {
  const victim = cluster.roles.get('ld1');
  if (!victim) throw new Error('ld1 does not run');
  const addresses = await addressesOf(cluster, 'ld1');
  const isAt = (address: string, { v4, v6 }: { v4: string; v6: string }): boolean =>
    gatewaysOf(cluster.network, address).includes(address.includes(':') ? v6 : v4);
  const isReady = addresses.every((address) => isAt(address, NODES.ld1));
  await stop(victim, 'SIGKILL');
  const killed = performance.now();
  // One connection after the other, until twenty in a row have worked: the last failure ends the gap.
  let lastFailure = killed;
  let failures = 0;
  for (let inRow = 0; inRow < 20 && performance.now() < killed + 10_000;) {
    const outcomes = await cluster.client.run(
      Array.from({ length: 4 }, () => ({ kind: 'http' as const, address: VIP.a, port: 80, timeoutMs: 250 })),
    );
    const failed = outcomes.filter(({ error }) => error !== undefined).length;
    failures += failed;
    inRow = failed > 0 ? 0 : inRow + outcomes.length;
    if (failed > 0) lastFailure = performance.now();
    await new Promise((resolve) => setTimeout(resolve, PROBE_PAUSE_MS));
  }
  const isMoved = (address: string): boolean => isAt(address, NODES.ld2) && !isAt(address, NODES.ld1);
  const areMoved = await until(() => addresses.every(isMoved), 2000);
  tell.claim(
    'ld1 is killed with SIGKILL: the announcer notices by itself and moves VIPs and tunnel addresses together',
    isReady && areMoved,
    `all ${addresses.length} were routed to ld1 before: ${isReady}; routed to ld2 alone now: ${addresses.filter(isMoved).join(', ')}`,
  );
  const watch = cluster.watch(['ld1', 'ld2'], 'director-dies');
  const outcomes = await burst(cluster, 100);
  const { seen } = watch.stop();
  const syns = seen.filter(({ isFromNode, ip }) => !isFromNode && ip.tcp?.flags === 'S');
  // A SYN that was sent twice is one connection.
  const opened = new Map(syns.map(({ node, ip }) => [`${node} ${ip.tcp?.sourcePort}`, node]));
  const through = tally([...opened.values()]);
  const good = outcomes.filter(({ error }) => error === undefined).length;
  tell.claim(
    'new connections go on through ld2 without one failure',
    good === 100 && through.counts['ld2'] === 100,
    `gap ${((lastFailure - killed) / 1000).toFixed(2)} s with ${failures} failed attempts; then ${good} of 100, through ${through.text}`,
  );
  await cluster.startRole('ld1');
  const isBack = await routed(cluster.network, VIP.a, 2);
  const isWell = await verdict(cluster, 'lbtg-a', 'Alive', VERDICT_MS_MAX, 'all');
  tell.claim(
    'started again it takes its share back and knows its targets',
    isBack && isWell !== undefined,
    `routes of ${VIP.a}: ${gatewaysOf(cluster.network, VIP.a).join(', ')}; all targets alive: ${isWell !== undefined}`,
  );
}
