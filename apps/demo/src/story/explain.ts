// Line 9 of the story: `clb explain` tells the whole decision from the live tables; then that very packet is sent and compared (proofs.md).
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { CLIENT, VIP } from '../topology.ts';

interface Explained {
  node: string;
  verdict: string;
  steps: { step: string; text: string; data: Record<string, unknown> }[];
}

const SOURCE_PORT = 40_000;

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
  const hit = await cluster.clb(...words, '--flags', 'ack', '--json');
  tell.claim(
    'asked again for an established connection it reports',
    hit.status === 0,
    hit.status === 0 ? 'answered' : hit.stderr.trim(),
  );
}
