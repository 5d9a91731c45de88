// Line 9 of the story: `clb explain` tells the whole decision from the live tables; then that very packet is sent and compared (proofs.md).
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { CLIENT, VIP } from '../topology.ts';
import { until } from '../watch.ts';

interface Explained {
  node: string;
  verdict: string;
  steps: { step: string; text: string; data: Record<string, unknown> }[];
}

const SOURCE_PORT = 40_000;
const HOLD_MS = 1500;

export async function explainStory(cluster: Cluster, tell: Teller): Promise<void> {
  const words = ['explain', 'tcp', `${CLIENT.v4}:${SOURCE_PORT}`, `${VIP.a}:80`];
  const [text, json] = await Promise.all([cluster.clb(...words), cluster.clb(...words, '--json')]);
  for (const line of text.stdout.trimEnd().split('\n')) tell.note(line);
  const explained = json.status === 0 ? (JSON.parse(json.stdout) as Explained) : undefined;
  const told = JSON.stringify(explained?.steps ?? []);
  const parts = ['lbl-a', 'miss', 'slot', '8080', 'gre'].filter((part) => !told.toLowerCase().includes(part));
  tell.claim(
    'clb explain tells listener, flow hit or miss, scheduler slot, target, rewrite and tunnel',
    text.status === 0 && explained !== undefined && parts.length === 0,
    explained
      ? `${explained.steps.length} steps on ${explained.node}${parts.length > 0 ? `, without ${parts.join(', ')}` : ''}`
      : json.stderr.trim(),
  );
  const watch = cluster.watch(['ld1', 'ld2'], 'explain');
  await cluster.client.get(VIP.a, { localPort: SOURCE_PORT });
  const { seen } = watch.stop();
  const syn = seen.find(
    ({ isFromNode, ip }) => isFromNode && ip.inner?.tcp?.sourcePort === SOURCE_PORT && ip.inner.tcp.flags === 'S',
  )?.ip;
  const isTold = syn !== undefined && told.includes(syn.destination) && told.includes(syn.inner?.destination ?? '?');
  tell.claim(
    'the packet, sent then, takes the explained way: same target, same host',
    isTold,
    syn
      ? `seen: ${syn.source} → ${syn.destination}, key ${syn.gre?.key}, inner destination ${syn.inner?.destination}:${syn.inner?.tcp?.destinationPort}`
      : 'no SYN seen',
  );
  await explainLiveFlow(cluster, tell);
}

/** Of a connection that is open right now, the director that carries it must say that the flow is known. */
async function explainLiveFlow(cluster: Cluster, tell: Teller): Promise<void> {
  const localPort = SOURCE_PORT + 1;
  const watch = cluster.watch(['ld1', 'ld2'], 'explain-hit');
  const request = cluster.client.get(VIP.a, { localPort, path: `/hold/${HOLD_MS}` });
  const isOpen = (): boolean =>
    watch.seen().some(({ isFromNode, ip }) => isFromNode && ip.inner?.tcp?.sourcePort === localPort);
  await until(isOpen, HOLD_MS, 10);
  const carrier =
    watch.seen().find(({ isFromNode, ip }) => isFromNode && ip.inner?.tcp?.sourcePort === localPort)?.node ?? 'ld1';
  const body = {
    protocol: 'tcp',
    source: CLIENT.v4,
    sourcePort: localPort,
    destination: VIP.a,
    destinationPort: 80,
    flags: 'ack',
    node: carrier,
  };
  const answer = await cluster.api.ask<Explained>('POST', '/v1/explain', body);
  const track = answer.body.steps?.find(({ step }) => step === 'track');
  tell.claim(
    'of an open connection, the director that carries it says that the flow is known',
    answer.status === 200 && track !== undefined && /hit|known/i.test(JSON.stringify(track)),
    `${carrier}: ${track ? track.text : JSON.stringify(answer.body).slice(0, 300)}`,
  );
  await request;
  watch.stop();
}
