// Line 6 of the story: an EIP is allocated, bound, used both ways, unbound and released; a bound one cannot be released.
import { startAgent, vmAnswer } from '../agent.ts';
import type { Cluster } from '../cluster.ts';
import type { Teller } from '../tell.ts';
import { CLIENT, TARGET_PORT, VMS } from '../topology.ts';
import { stop } from '../../../../tools/testkit/index.ts';
import { tally, until } from '../watch.ts';
import { nameOf, served } from './balancer.ts';

interface Eip {
  id: string;
  address: string;
  state: string;
  revision: number;
}

/** E, as the controller announces it. */
async function anycastOf({ api }: Cluster): Promise<{ anycast: string | undefined }> {
  const { addresses } = await api.must<{ addresses: { address: string; kind: string }[] }>('GET', '/v1/announcements');
  return { anycast: addresses.find(({ address, kind }) => kind === 'anycast' && !address.includes(':'))?.address };
}

export async function eipStory(cluster: Cluster, tell: Teller): Promise<void> {
  const { api, client } = cluster;
  const eip = await api.must<Eip>('POST', '/v1/eips', { id: 'eip-demo', name: 'demo' });
  const bound = await api.must<Eip>('POST', `/v1/eips/${eip.id}/bind`, { instance: 'ins-vm-a2' });
  await served(cluster, bound.revision, eip.address);
  const watch = cluster.watch(['ld1', 'ld2', 'host2'], 'eip');
  const inbound = await client.get(eip.address, { port: TARGET_PORT });
  const answer = vmAnswer(inbound);
  tell.claim(
    `EIP ${eip.address}, bound to vm-a2, is reached from the client, and the VM sees the client's own address`,
    answer?.name === 'vm-a2' && answer.peer === CLIENT.v4 && answer.local === VMS['vm-a2'].v4,
    `${nameOf(inbound)} saw ${answer?.peer} and itself as ${answer?.local}`,
  );
  const inside = await startAgent(cluster.network, 'vm-a2');
  const outward = await inside.get(CLIENT.v4, { port: TARGET_PORT });
  const saw = vmAnswer(outward);
  tell.claim(
    'what the VM starts itself leaves with the EIP as its source',
    saw?.name === 'client' && saw.peer === eip.address,
    `the server at ${CLIENT.v4} saw ${saw?.peer ?? outward.error}`,
  );
  const { seen } = watch.stop();
  const atHost = seen.filter(({ node, ip }) => node === 'host2' && ip.gre?.key === VMS['vm-a2'].vpcId);
  const into = tally(atHost.filter(({ ip }) => ip.inner?.source === CLIENT.v4).map(({ ip }) => ip.source));
  const out = tally(atHost.filter(({ ip }) => ip.inner?.destination === CLIENT.v4).map(({ ip }) => ip.destination));
  const { anycast } = await anycastOf(cluster);
  tell.claim(
    'EIP packets travel between the host and the anycast tunnel address of the stateless tier',
    [into, out].every(({ counts }) => Object.keys(counts).join() === anycast),
    `packets with the client's address inside, by outer address: in from ${into.text}; out to ${out.text}`,
  );
  const refusal = await api.ask<{ code?: string; detail?: string }>('DELETE', `/v1/eips/${eip.id}`);
  tell.claim(
    'releasing a bound EIP is refused with the right code',
    refusal.status === 409 && refusal.body.code === 'EipBound',
    `${refusal.status} ${refusal.body.code}: ${refusal.body.detail}`,
  );
  const free = await api.must<Eip>('POST', `/v1/eips/${eip.id}/unbind`, {});
  const isSilent = await until(
    async () => (await client.get(eip.address, { port: TARGET_PORT, timeoutMs: 300 })).error !== undefined,
    3000,
  );
  const released = await api.ask('DELETE', `/v1/eips/${eip.id}`);
  const gone = await api.ask('GET', `/v1/eips/${eip.id}`);
  tell.claim(
    'unbound it reaches nothing, and then it can be released',
    free.state === 'UNBIND' && isSilent && released.status < 300 && gone.status === 404,
    `state ${free.state}, no answer any more, release ${released.status}, then ${gone.status}`,
  );
  await stop(inside.running, 'SIGKILL');
}
