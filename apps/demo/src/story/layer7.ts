// Line 5 of the story: an HTTP listener. Director → proxy keeps the VIP and returns directly (P20); the proxy's source names the VPC (P21).
import { vmAnswer } from '../agent.ts';
import type { Cluster } from '../cluster.ts';
import { SECURE_CERTIFICATES, securePlan } from '../secure.ts';
import type { SecureStage } from '../secure.ts';
import type { Teller } from '../tell.ts';
import { BROKEN_PORT, CLIENT, NODES, TARGET_PORT, VIP } from '../topology.ts';
import { tally } from '../watch.ts';
import type { Seen } from '../watch.ts';
import { QUICK_CHECK, nameOf, served } from './balancer.ts';

const HTTP_PORT = 80;
const proxies: readonly string[] = ['px1', 'px2'];

interface RulePlan {
  domain: string;
  path: string;
  instance: string;
  isDefault?: boolean;
}

/** Domain and longest path prefix decide; the last one lives in the VPC whose addresses overlap. */
const RULES: readonly RulePlan[] = [
  { domain: 'shop.example', path: '/', instance: 'ins-vm-a1', isDefault: true },
  { domain: 'shop.example', path: '/api', instance: 'ins-vm-a2' },
  { domain: 'shop.example', path: '/api/deep', instance: 'ins-vm-a1' },
  { domain: '*.other.example', path: '/only', instance: 'ins-vm-b1' },
];

export async function createHttpListener({ api }: Cluster): Promise<number> {
  await api.must('POST', '/v1/load-balancers', { id: 'lb-http', name: 'http', vips: [VIP.http, VIP.http6] });
  await api.must('POST', '/v1/listeners', {
    id: 'lbl-http',
    loadBalancer: 'lb-http',
    protocol: 'HTTP',
    port: HTTP_PORT,
  });
  let revision = 0;
  for (const [index, { domain, path, instance, isDefault }] of RULES.entries()) {
    const group = `lbtg-http-${index}`;
    const healthCheck = { ...QUICK_CHECK, type: 'tcp' };
    await api.must('POST', '/v1/target-groups', {
      id: group,
      name: group,
      healthCheck,
      targets: [{ instance, port: TARGET_PORT }],
    });
    const rule = { listener: 'lbl-http', domain, path, targetGroup: group, ...(isDefault ? { isDefault } : {}) };
    ({ revision } = await api.must<{ revision: number }>('POST', '/v1/rules', rule));
  }
  return revision;
}

export async function routedByName(cluster: Cluster, tell: Teller, family: 'v4' | 'v6' = 'v4'): Promise<void> {
  const [vip, client] = family === 'v4' ? [VIP.http, CLIENT.v4] : [VIP.http6, CLIENT.v6];
  const watch = cluster.watch(['ld1', 'ld2', 'px1', 'px2'], `http-${family}`);
  const ask = (host: string, path: string, headers: Record<string, string> = {}) =>
    cluster.client.get(vip, { port: HTTP_PORT, path, headers: { host, ...headers } });
  const cases: readonly [string, string, string][] = [
    ['shop.example', '/', 'vm-a1'],
    ['shop.example', '/api/list', 'vm-a2'],
    ['shop.example', '/api/deep/er', 'vm-a1'],
    ['x.other.example', '/only/this', 'vm-b1'],
  ];
  const seenBy: string[] = [];
  for (const [host, path, expected] of cases) {
    const name = nameOf(await ask(host, path));
    seenBy.push(`${host}${path} → ${name}${name === expected ? '' : ` instead of ${expected}`}`);
  }
  tell.claim(
    'domain and longest path prefix choose the target',
    !seenBy.some((line) => line.includes('instead')),
    seenBy.join('; '),
  );
  const spoofed = vmAnswer(await ask('shop.example', '/', { 'x-real-ip': '192.0.2.1', 'x-client-proto': 'gopher' }));
  const { 'x-real-ip': real, 'x-forwarded-for': forwarded, 'x-client-proto': proto } = spoofed?.headers ?? {};
  tell.claim(
    "X-Real-IP, X-Forwarded-For and X-Client-Proto name the client, and a client's own X-Real-IP is not believed",
    real === client && String(forwarded).endsWith(client) && proto === 'http',
    `x-real-ip ${real}, x-forwarded-for ${forwarded}, x-client-proto ${proto}`,
  );
  tell.claim(
    "the VM sees the proxy's address in its VPC, out of 100.112.0.0/12 or fd7c:6c62::/32, from which the VPC is known",
    /^(100\.1(1[2-9]|2[0-7])\.|fd7c:6c62:)/.test(spoofed?.peer ?? ''),
    `peer of vm-a1: ${spoofed?.peer}`,
  );
  const unknownHost = await ask('nobody.example', '/');
  const unknownPath = await ask('x.other.example', '/elsewhere');
  tell.claim(
    'an unknown domain is answered by the default domain, an unknown path with 404',
    nameOf(unknownHost) === 'vm-a1' && unknownPath.status === 404,
    `unknown domain: ${nameOf(unknownHost)}; unknown path: ${unknownPath.status || unknownPath.error}`,
  );
  const { seen, faults } = watch.stop();
  claimDirectReturn(tell, seen, vip);
  claimProxyTunnel(tell, seen);
  tell.claim(
    'every checksum on the wire is right',
    faults.length === 0,
    faults[0] ?? `${seen.length} packets verified`,
  );
}

function claimDirectReturn(tell: Teller, seen: readonly Seen[], vip: string): void {
  const toProxy = seen.filter(
    ({ node, isFromNode, ip }) => node.startsWith('ld') && isFromNode && ip.inner?.destination === vip,
  );
  const keyed = toProxy.filter(
    ({ ip }) => ip.gre?.key === 0 && [NODES.px1, NODES.px2].some(({ v4, v6 }) => [v4, v6].includes(ip.destination)),
  );
  const direct = seen.filter(({ node, isFromNode, ip }) => proxies.includes(node) && isFromNode && ip.source === vip);
  const detour = seen.filter(
    ({ node, ip }) => node.startsWith('ld') && (ip.source === vip || ip.inner?.source === vip),
  );
  tell.claim(
    'the director hands the packet to a proxy in GRE with key 0 and the VIP kept',
    keyed.length > 0 && keyed.length === toProxy.length,
    `${keyed.length} of ${toProxy.length} packets, inner destination ${vip}, to ${tally(keyed.map(({ ip }) => ip.destination)).text}`,
  );
  tell.claim(
    'the proxy answers the client directly from the VIP, past the directors',
    direct.length > 0 && detour.length === 0,
    `${direct.length} packets from ${vip} left the proxies, ${detour.length} passed a director`,
  );
}

function claimProxyTunnel(tell: Teller, seen: readonly Seen[]): void {
  const out = seen.filter(
    ({ node, isFromNode, ip }) =>
      proxies.includes(node) && isFromNode && ip.inner?.tcp?.destinationPort === TARGET_PORT,
  );
  const own = out.filter(
    ({ node, ip }) =>
      [NODES[node].v4, NODES[node].v6].includes(ip.source) && (ip.gre?.key === 100 || ip.gre?.key === 200),
  );
  tell.claim(
    "from proxy to VM the packets are GRE with the VPC id as key, sent from the proxy's own address",
    own.length > 0 && own.length === out.length,
    `${own.length} of ${out.length} packets, keys ${tally(own.map(({ ip }) => String(ip.gre?.key))).text}`,
  );
}

export async function httpStory(cluster: Cluster, tell: Teller): Promise<void> {
  const revision = await createHttpListener(cluster);
  await served(cluster, revision, VIP.http);
  await routedByName(cluster, tell);
}

export const secureStage = ({ clb, atClient }: Cluster): SecureStage => ({
  address: VIP.secure,
  port: 443,
  first: 'vm-a1',
  second: 'vm-a2',
  clb,
  atClient,
});

/** The HTTPS listener of lines 10 to 12: two names, two certificates, six rules. */
export async function createSecureListener(cluster: Cluster): Promise<void> {
  const { api } = cluster;
  const certificates: string[] = [];
  for (const certificate of SECURE_CERTIFICATES)
    certificates.push((await api.must<{ id: string }>('POST', '/v1/certificates', certificate)).id);
  await api.must('POST', '/v1/load-balancers', { id: 'lb-secure', name: 'secure', vips: [VIP.secure] });
  const listener = { id: 'lbl-secure', loadBalancer: 'lb-secure', protocol: 'HTTPS', port: 443, certificates };
  await api.must('POST', '/v1/listeners', listener);
  const first = { instance: 'ins-vm-a1', port: TARGET_PORT };
  const second = { instance: 'ins-vm-a2', port: TARGET_PORT };
  const plan = securePlan(first, second, { instance: 'ins-vm-a1', port: BROKEN_PORT });
  let revision = 0;
  for (const [index, { targets, ...rule }] of plan.entries()) {
    const targetGroup = `lbtg-secure-${index}`;
    const group = { id: targetGroup, name: targetGroup, healthCheck: QUICK_CHECK, targets };
    await api.must('POST', '/v1/target-groups', group);
    const made = await api.must<{ revision: number }>('POST', '/v1/rules', {
      listener: 'lbl-secure',
      targetGroup,
      ...rule,
    });
    ({ revision } = made);
  }
  await served(cluster, revision, VIP.secure);
}
