// Line 2 of the story: the client reaches both VMs by weight; what the wire shows, what the directors count, and which port carried it.
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { vmAnswer } from '../agent.ts';
import { portsInUse } from '../cluster.ts';
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { CLIENT, NODES, VIP } from '../topology.ts';
import { kernelReceives, routed, tally } from '../watch.ts';
import type { Seen, Watch } from '../watch.ts';
import { WEIGHTS, nameOf } from './balancer.ts';
import { verdict } from './failures.ts';

const SETTLE_MS_MAX = 2000;
const DIRECTORS = ['ld1', 'ld2'] as const;

export async function reachedByWeight(
  cluster: Cluster,
  tell: Teller,
  requests = 600,
  family: 'v4' | 'v6' = 'v4',
): Promise<void> {
  const [vip, client] = family === 'v4' ? [VIP.a, CLIENT.v4] : [VIP.a6, CLIENT.v6];
  if (!(await routed(cluster.network, vip, 2)))
    throw new Error(`the announcer does not route ${vip} to both directors`);
  // Weights are of targets in use: a director that has just begun, or whose probes were late, uses fewer.
  if ((await verdict(cluster, 'lbtg-a', 'Alive', undefined, 'all')) === undefined)
    throw new Error('a director does not call every target of lbtg-a alive');
  const watch = cluster.watch(['ld1', 'ld2', 'host1', 'host2'], `weights-${family}`);
  const stackBefore = stackReceives(cluster);
  const countedBefore = await countersOf(cluster);
  const outcomes = await cluster.client.run(
    Array.from({ length: requests }, () => ({ kind: 'http' as const, address: vip, port: 80 })),
  );
  const throughStack = stackReceives(cluster) - stackBefore;
  const compared = await compareCounters(cluster, watch, vip, countedBefore);
  const { seen, faults } = watch.stop();
  const { counts, text } = tally(outcomes.map(nameOf));
  const share = (counts['vm-a1'] ?? 0) / requests;
  const expected = WEIGHTS['vm-a1'] / (WEIGHTS['vm-a1'] + WEIGHTS['vm-a2']);
  // Four standard deviations of the binomial: one honest run in sixteen thousand is outside.
  const deviation = 4 * Math.sqrt((expected * (1 - expected)) / requests);
  const answered = (counts['vm-a1'] ?? 0) + (counts['vm-a2'] ?? 0);
  tell.claim(
    `the client reaches vm-a1 and vm-a2 by weight 10 : 30, without one failure`,
    answered === requests && Math.abs(share - expected) < deviation,
    `${requests} connections over IP${family}: ${text}`,
  );
  const own = outcomes.filter((outcome) => {
    const answer = vmAnswer(outcome);
    return answer?.peer === client && answer.peerPort === outcome.localPort;
  });
  tell.claim(
    "each VM sees the client's own address and port",
    own.length === requests,
    `${own.length} of ${requests} answers name the client`,
  );
  await claimCurl(cluster, tell, vip);
  await claimGre(cluster, tell, seen, 100, client);
  claimBothCarry(tell, seen);
  tell.claim("each director's counters grow by exactly what the wire shows", compared.isEqual, compared.text);
  const toDirectors = seen.filter(({ node, isFromNode }) => node.startsWith('ld') && !isFromNode).length;
  await claimPort(cluster, tell, throughStack, toDirectors);
  tell.claim(
    'every checksum on the wire is right, inside the tunnels as well',
    faults.length === 0,
    faults[0] ?? `${seen.length} packets verified`,
  );
}

/** A client that none of this repository wrote, where it is installed. */
async function claimCurl(cluster: Cluster, tell: Teller, vip: string): Promise<void> {
  if (spawnSync('curl', ['--version']).error)
    return tell.note('curl is not installed, so the client of the demo stands in for it');
  const url = `http://${vip.includes(':') ? `[${vip}]` : vip}/`;
  const { status, stdout } = await cluster.atClient('curl', '--silent', '--show-error', '--max-time', '3', url);
  const name = /"name":"(vm-a[12])"/.exec(stdout)?.[1];
  tell.claim(
    `curl ${url} is answered as well`,
    status === 0 && name !== undefined,
    `exit status ${status}, answered by ${name ?? stdout}`,
  );
}

interface Counted {
  packetsIn: number;
  packetsOut: number;
}

/** What each director has counted for the listener so far. */
async function countersOf({ api }: Cluster): Promise<Record<string, Counted>> {
  const { items } = await api.must<{ items: { node: string; counters: Record<string, number> }[] }>(
    'GET',
    '/v1/counters',
  );
  const of = (counters: Record<string, number>, name: string): number => counters[`listener.lbl-a.${name}`] ?? 0;
  return Object.fromEntries(
    items.map(({ node, counters }) => [
      node,
      { packetsIn: of(counters, 'packetsIn'), packetsOut: of(counters, 'packetsOut') },
    ]),
  );
}

/**
 * The director's counters against the wire's, which they do not know: packets of the VIP in and out, on each link.
 * The last acknowledgements travel after the last answer, so the two are read until they rest; what differs then differs.
 */
async function compareCounters(
  cluster: Cluster,
  watch: Watch,
  vip: string,
  before: Record<string, Counted>,
): Promise<{ isEqual: boolean; text: string }> {
  for (const end = performance.now() + SETTLE_MS_MAX; ;) {
    const after = await countersOf(cluster);
    const seen = watch.seen();
    const rows = DIRECTORS.map((name) => {
      const here = seen.filter(({ node }) => node === name);
      const wireIn = here.filter(({ isFromNode, ip }) => !isFromNode && ip.destination === vip).length;
      const wireOut = here.filter(({ isFromNode, ip }) => isFromNode && ip.source === vip).length;
      const countedIn = (after[name]?.packetsIn ?? 0) - (before[name]?.packetsIn ?? 0);
      const countedOut = (after[name]?.packetsOut ?? 0) - (before[name]?.packetsOut ?? 0);
      return {
        isEqual: wireIn > 0 && wireIn === countedIn && wireOut === countedOut,
        text: `${name}: in ${countedIn} of ${wireIn}, out ${countedOut} of ${wireOut}`,
      };
    });
    const isEqual = rows.every((row) => row.isEqual);
    if (isEqual || performance.now() > end) return { isEqual, text: rows.map(({ text }) => text).join('; ') };
    await sleep(100);
  }
}

const stackReceives = ({ network }: Cluster): number => kernelReceives(network, 'ld1') + kernelReceives(network, 'ld2');

/** AF_XDP takes packets before the kernel's stack, AF_PACKET beside it: the stack's own counter tells which it really was. */
async function claimPort(cluster: Cluster, tell: Teller, throughStack: number, packets: number): Promise<void> {
  const ports = await portsInUse(cluster);
  const said = `ld1 says ${ports['ld1']}, ld2 says ${ports['ld2']}`;
  const counted = `of ${packets} packets towards the directors their kernels' stacks received ${throughStack}`;
  const isXdp = ports['ld1']?.startsWith('xdp') === true && ports['ld2']?.startsWith('xdp') === true;
  if (isXdp)
    tell.claim(
      'AF_XDP carries the packets: the kernel never sees them',
      throughStack < packets / 20,
      `${said}; ${counted}`,
    );
  else
    tell.claim(
      'the packets are carried by the port that the directors name',
      ports['ld1']?.startsWith('packet') === true && throughStack > packets / 2,
      `${said}; ${counted}`,
    );
}

/** The tunnel addresses that the controller gave to each director. */
async function tunnelsOf({ api }: Cluster): Promise<Record<string, string[]>> {
  const { directors } = await api.must<{ directors: { id: string; tunnels: { v4?: string; v6?: string }[] }[] }>(
    'GET',
    '/v1/announcements',
  );
  const addresses = (pair: { v4?: string; v6?: string }): string[] =>
    [pair.v4, pair.v6].filter((one) => one !== undefined);
  return Object.fromEntries(directors.map(({ id, tunnels }) => [id, tunnels.flatMap(addresses)]));
}

/** Director → host and back is GRE with the VPC id as key, between the tunnel address and the host; probes are left out. */
async function claimGre(
  cluster: Cluster,
  tell: Teller,
  seen: readonly Seen[],
  vpcId: number,
  client: string,
): Promise<void> {
  const tunnels = await tunnelsOf(cluster);
  const hosts: string[] = [NODES.host1.v4, NODES.host2.v4, NODES.host1.v6, NODES.host2.v6];
  const fromDirectors = seen.filter(({ node, isFromNode }) => node.startsWith('ld') && isFromNode);
  const inbound = fromDirectors.filter(({ ip }) => ip.inner?.source === client);
  const naked = fromDirectors.filter(({ ip }) => ip.source === client);
  const good = inbound.filter(
    ({ node, ip }) =>
      ip.gre?.key === vpcId && hosts.includes(ip.destination) && tunnels[node]?.includes(ip.source) && ip.ttl === 64,
  );
  const ends = tally(inbound.map(({ node, ip }) => `${node} ${ip.source} → ${ip.destination}`));
  tell.claim(
    'between director and host the packets are GRE: key = VPC id, source = the tunnel address, destination = the host',
    good.length > 0 && good.length === inbound.length && naked.length === 0,
    `${good.length} of ${inbound.length} packets have key ${vpcId}, ${naked.length} went without a tunnel; ${ends.text}`,
  );
  const tunnelByPort = new Map(inbound.map(({ ip }) => [ip.inner?.tcp?.sourcePort, ip.source]));
  const replies = seen.filter(
    ({ node, isFromNode, ip }) => node.startsWith('host') && isFromNode && ip.inner?.destination === client,
  );
  const back = replies.filter(
    ({ ip }) => ip.gre?.key === vpcId && tunnelByPort.get(ip.inner?.tcp?.destinationPort) === ip.destination,
  );
  tell.claim(
    'each reply comes back through the tunnel address that carried its flow',
    back.length > 0 && back.length === replies.length,
    `${back.length} of ${replies.length} packets`,
  );
}

function claimBothCarry(tell: Teller, seen: readonly Seen[]): void {
  const syns = seen.filter(({ node, isFromNode, ip }) => node.startsWith('ld') && !isFromNode && ip.tcp?.flags === 'S');
  const { counts, text } = tally(syns.map(({ node }) => node));
  const least = Math.min(counts['ld1'] ?? 0, counts['ld2'] ?? 0) / Math.max(1, syns.length);
  tell.claim(
    'both directors carry traffic: more than 30 % of the connections each',
    least > 0.3,
    `connections opened: ${text}`,
  );
}
