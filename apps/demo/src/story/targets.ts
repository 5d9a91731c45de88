// Lines 3 and 4 of the story: two VPCs with equal addresses are never mixed; a physical server answers through IPIP beside a VM.
import { vmAnswer } from '../agent.ts';
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { CLIENT, NODES, TARGET_PORT, VIP, VMS } from '../topology.ts';
import { tally } from '../watch.ts';
import type { Seen } from '../watch.ts';
import { addListener, createBalancer, nameOf, served } from './balancer.ts';

export async function neverMixed(cluster: Cluster, tell: Teller, pairs = 200): Promise<void> {
  await createBalancer(cluster, {
    id: 'b',
    vips: [VIP.b],
    port: 80,
    targets: [{ instance: 'ins-vm-b1', port: TARGET_PORT }],
  });
  const revision = await addListener(
    cluster,
    { id: 'a', vips: [], port: 81, targets: [{ instance: 'ins-vm-a1', port: TARGET_PORT }] },
    'a-81',
  );
  await served(cluster, revision, VIP.a, VIP.b);
  const watch = cluster.watch(['ld1', 'ld2'], 'never-mixed');
  const path = '/hold/20';
  const orders = Array.from({ length: pairs }, (_, index) => 20_000 + index).flatMap((localPort) => [
    { kind: 'http' as const, address: VIP.a, port: 81, localPort, path },
    { kind: 'http' as const, address: VIP.b, port: 80, localPort, path },
  ]);
  const outcomes = await cluster.client.run(orders, { concurrency: 32 });
  const { seen } = watch.stop();
  const right = outcomes.filter((outcome, index) => {
    const answer = vmAnswer(outcome);
    const isToA = orders[index]?.address === VIP.a;
    return (
      answer?.name === (isToA ? 'vm-a1' : 'vm-b1') &&
      answer.peer === CLIENT.v4 &&
      answer.peerPort === orders[index]?.localPort
    );
  });
  const { text } = tally(outcomes.map((outcome, index) => `${orders[index]?.address} → ${nameOf(outcome)}`));
  tell.claim(
    `vm-a1 and vm-b1 are both ${VMS['vm-a1'].v4}, in two VPCs, and are never mixed: same client address and port towards both at the same time`,
    right.length === orders.length,
    `${pairs} pairs of connections: ${text}`,
  );
  const inner = (key: number): Set<string> =>
    new Set(
      seen
        .filter(({ isFromNode, ip }) => isFromNode && ip.gre?.key === key && ip.inner?.tcp?.flags === 'S')
        .map(({ ip }) => tupleOf(ip.inner)),
    );
  const [first, second] = [inner(100), inner(200)];
  const common = [...first].filter((tuple) => second.has(tuple));
  tell.claim(
    'inside the tunnels the two flows of a pair are equal to the last bit of the 5-tuple; only the key tells them apart',
    common.length === pairs,
    `${common.length} of ${pairs} tuples seen under key 100 and key 200, for example ${common[0] ?? 'none'}`,
  );
}

const tupleOf = (ip: Seen['ip'] | undefined): string =>
  `${ip?.source}:${ip?.tcp?.sourcePort} → ${ip?.destination}:${ip?.tcp?.destinationPort}`;

export async function physicalServer(cluster: Cluster, tell: Teller, requests = 120): Promise<void> {
  const targets = [
    { physical: NODES.phys1.v4, port: TARGET_PORT, weight: 10 },
    { instance: 'ins-vm-a1', port: TARGET_PORT, weight: 10 },
  ];
  const revision = await createBalancer(cluster, { id: 'mixed', vips: [VIP.mixed], port: 80, targets });
  await served(cluster, revision, VIP.mixed);
  const watch = cluster.watch(['ld1', 'ld2', 'phys1'], 'physical');
  const outcomes = await cluster.client.run(
    Array.from({ length: requests }, () => ({ kind: 'http' as const, address: VIP.mixed, port: 80 })),
  );
  const { seen } = watch.stop();
  const { counts, text } = tally(outcomes.map(nameOf));
  tell.claim(
    'one listener mixes a VM in a VPC and a physical server',
    (counts['phys1'] ?? 0) > requests * 0.25 &&
      (counts['vm-a1'] ?? 0) > requests * 0.25 &&
      (counts['phys1'] ?? 0) + (counts['vm-a1'] ?? 0) === requests,
    text,
  );
  const peers = outcomes.map(vmAnswer).filter((answer) => answer?.name === 'phys1');
  const isOwn = peers.every((answer) => answer?.peer === CLIENT.v4 && answer.local === NODES.phys1.v4);
  tell.claim(
    "the physical server sees the client's own address",
    peers.length > 0 && isOwn,
    `${peers.length} answers, local address ${peers[0]?.local}`,
  );
  const there = seen.filter(
    ({ node, isFromNode, ip }) => node === 'phys1' && !isFromNode && ip.inner?.tcp?.destinationPort === TARGET_PORT,
  );
  const back = seen.filter(
    ({ node, isFromNode, ip }) => node === 'phys1' && isFromNode && ip.inner?.tcp?.sourcePort === TARGET_PORT,
  );
  const plain = seen.filter(
    ({ node, ip }) =>
      node === 'phys1' && (ip.tcp?.destinationPort === TARGET_PORT || ip.tcp?.sourcePort === TARGET_PORT),
  );
  tell.claim(
    'IPIP both ways: to the server and back to the tunnel address, nothing beside it',
    there.length > 0 &&
      back.length > 0 &&
      plain.length === 0 &&
      [...there, ...back].every(({ ip }) => ip.protocol === 4),
    `${there.length} packets in, ${back.length} back, ${plain.length} outside the tunnel`,
  );
}
