// Policies of rules and listeners on their way from the API to a proxy image: what is refused, what is compiled.
import { checkImage, type ProxyImage, type RulePolicy } from '@openclb/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile, resolvePools } from '../src/index.ts';
import { emptyState, putIntoState } from '../src/desired/state.ts';
import { sampleConfig, startTestController, type TestController } from './cluster.ts';

let controller: TestController;

beforeAll(async () => {
  controller = await startTestController();
  await controller.call('PUT', '/config', sampleConfig());
  for (const [id, path, body] of [
    ['lb-a', '/load-balancers', { id: 'lb-a', name: 'a', network: 'public', vips: ['203.0.113.77'] }],
    ['lbl-h', '/listeners', { id: 'lbl-h', loadBalancer: 'lb-a', protocol: 'HTTP', port: 80 }],
    ['lbl-p', '/listeners', { id: 'lbl-p', loadBalancer: 'lb-a', protocol: 'HTTP', port: 8080 }],
    ['lbtg-a', '/target-groups', { id: 'lbtg-a', name: 'group-a' }],
    ['loc-to', '/rules', { id: 'loc-to', listener: 'lbl-p', targetGroup: 'lbtg-a', domain: 'b.test', path: '/new' }],
  ] as const) {
    const { status, body: answer } = await controller.call('POST', path, body);
    if (status !== 201) throw new Error(`${id}: ${answer.detail}`);
  }
});
afterAll(() => controller.app.close());

function proxyImage(): ProxyImage {
  const state = emptyState();
  for (const kind of ['vpc', 'node', 'instance', 'group', 'lb', 'listener', 'eip', 'certificate']) {
    for (const [key, { value }] of controller.app.controller.mirror.list(`d/${kind}/`)) putIntoState(state, key, value);
  }
  const { images } = compile(state, new Map(), { pools: resolvePools(), readyPort: 8998 });
  const image = images.get('px1') as ProxyImage;
  const problem = checkImage(image);
  if (problem !== null) throw new Error(problem);
  return image;
}

const addRule = (policy: RulePolicy, more: object = { targetGroup: 'lbtg-a' }) =>
  controller.call('POST', '/rules', { listener: 'lbl-h', domain: 'a.test', policy, ...more });

describe('refused, with the field', () => {
  test.each<[RulePolicy, string]>([
    [{ redirect: {} }, '/policy/redirect'],
    [{ redirect: { to: '/x', rule: 'loc-to' } }, '/policy/redirect'],
    [{ redirect: { to: '/$1' } }, '/policy/redirect/to'],
    [{ redirect: { to: '/x' }, respond: { status: 200 } }, '/policy/respond'],
    [{ rewrite: { pattern: '(a)\\1', to: '/' } }, '/policy/rewrite/pattern'],
    [{ rewrite: { pattern: '(', to: '/' } }, '/policy/rewrite/pattern'],
    [{ match: { headers: [{ name: 'x', value: 'a', regex: 'b' }] } }, '/policy/match/headers/0'],
    [{ match: { sources: ['10.0.0.1/8'] } }, '/policy/match/sources/0'],
    [{ allow: ['nobody'] }, '/policy/allow/0'],
    [{ rates: [{ perSecond: 1, by: 'header' }] }, '/policy/rates/0/header'],
    [{ requestHeaders: [{ action: 'set', name: 'Host', value: 'x' }] }, '/policy/requestHeaders/0/name'],
    [{ responseHeaders: [{ action: 'add', name: 'x' }] }, '/policy/responseHeaders/0/value'],
    [{ responseHeaders: [{ action: 'add', name: 'x', value: 'a\r\nb' }] }, '/policy/responseHeaders/0/value'],
    [{ requestHeaders: [{ action: 'add', name: 'x', value: '$nothing' }] }, '/policy/requestHeaders/0/value'],
    [{ redirect: { to: '/$secret' } }, '/policy/redirect/to'],
    [{ rewrite: { pattern: 'a{5000}', to: '/' } }, '/policy/rewrite/pattern'],
    [{ stickiness: { type: 'rewrite' } }, '/policy/stickiness/cookie'],
    [{ forward: { type: 'grpc', verify: true } }, '/policy/forward'],
    [{ forward: { type: 'https', verify: true } }, '/policy/forward/serverName'],
    [{ hedge: {} }, '/policy/hedge'],
    [{ hedge: { delayMs: 20, percentile: 95 } }, '/policy/hedge'],
    [{ timeouts: { requestMs: 100 }, retry: { perTryMs: 200 } }, '/policy/retry/perTryMs'],
    [{ mirror: { targetGroup: 'lbtg-none' } }, '/policy/mirror/targetGroup'],
    [{ stickiness: { type: 'insert', seconds: 29 } }, '/policy/stickiness/seconds'],
    [{ hash: { by: 'cookie' } }, '/policy/hash/name'],
  ])('%j', async (policy, field) => {
    const { status, body } = await addRule(policy);
    expect(status).toBe(400);
    expect(body.field).toBe(field);
  });

  test('a rule without a target group that answers nothing, and a redirect to a rule that does not exist', async () => {
    expect((await addRule({}, {})).body.field).toBe('/targetGroup');
    expect((await addRule({ redirect: { rule: 'loc-none' } }, {})).status).toBeGreaterThanOrEqual(400);
    const listener = { loadBalancer: 'lb-a', protocol: 'TCP', port: 90, targetGroup: 'lbtg-a', policy: {} };
    expect((await controller.call('POST', '/listeners', listener)).body.field).toBe('/policy');
  });
});

test('rules of one place are told apart by their conditions and reach the image; a redirect to a rule becomes an address', async () => {
  const canary = { match: { headers: [{ name: 'x-canary' }] }, stickiness: { type: 'insert' as const } };
  expect((await addRule(canary)).status).toBe(201);
  expect((await addRule(canary)).status).toBe(409);
  expect((await addRule({ compression: { mode: 'compatibility' } })).status).toBe(201);
  expect((await addRule({ redirect: { code: 301, rule: 'loc-to' } }, { path: '/a' })).status).toBe(201);
  expect((await addRule({ redirect: { rule: 'loc-to', takeUrl: false } }, { path: '/b' })).status).toBe(201);
  const patched = await controller.call('PATCH', '/listeners/lbl-h', { policy: { rates: [{ perSecond: 5 }] } });
  expect(patched.status).toBe(200);
  const row = proxyImage().listeners.find(({ name }) => name === 'lbl-h')!;
  expect(row.policy).toEqual({ rates: [{ perSecond: 5 }] });
  const policies = row.rules.map(({ path, group, policy }) => [path, group !== undefined, policy]);
  expect(policies).toHaveLength(4);
  expect(policies).toContainEqual(['/', true, canary]);
  expect(policies).toContainEqual(['/', true, { compression: { mode: 'compatibility' } }]);
  expect(policies).toContainEqual(['/a', false, { redirect: { code: 301, to: 'http://b.test:8080$request_uri' } }]);
  expect(policies).toContainEqual(['/b', false, { redirect: { to: 'http://b.test:8080/new' } }]);
});

test('how targets are spoken to, mirrored groups and the resilience of a group reach the image', async () => {
  const resilience = {
    outlier: { failures: 5, ejectedPercentMax: 30 },
    slowStartSeconds: 20,
    circuit: { requestsMax: 9 },
  };
  const group = { id: 'lbtg-m', name: 'group-m', resilience };
  expect((await controller.call('POST', '/target-groups', group)).body.resilience).toEqual(resilience);
  const policy = {
    forward: { type: 'grpc' },
    retry: { statuses: [503] },
    timeouts: { readMs: 5000 },
    mirror: { targetGroup: 'lbtg-m', percent: 10 },
  } as const;
  const made = await addRule(policy as unknown as RulePolicy, { targetGroup: 'lbtg-a', path: '/grpc' });
  expect(made.status).toBe(201);
  const image = proxyImage();
  const copies = image.groups.find(({ name }) => name === 'lbtg-m')!;
  expect(copies.resilience).toEqual(resilience);
  const rule = image.listeners.flatMap(({ rules }) => rules).find(({ path }) => path === '/grpc')!;
  expect(rule.policy).toEqual({ ...policy, mirror: { targetGroup: copies.id, percent: 10 } });
  // What mirrors name cannot be taken away under them.
  expect((await controller.call('DELETE', '/target-groups/lbtg-m')).status).toBe(409);
  const sticky = { stickiness: { type: 'insert' } } as const;
  const refused = await addRule(sticky, { targetGroup: 'lbtg-a', path: '/s', scheduler: 'least-connections' });
  expect(refused.body.field).toBe('/policy/stickiness');
});

test('a personalised config is checked with line and column, and reaches every HTTP listener of its load balancer', async () => {
  const wrong = await controller.call('PATCH', '/load-balancers/lb-a', { customConfig: 'send_timeout 5;\nroot /etc;' });
  expect(wrong.status).toBe(400);
  expect(wrong.body.detail).toMatch(/^\/customConfig line 2, column 1: root is not allowed here/);
  const outer = 'send_timeout 5; server_tokens off; ssl_protocols TLSv1.2;';
  expect((await controller.call('PATCH', '/load-balancers/lb-a', { customConfig: outer })).status).toBe(200);
  const inner = await controller.call('PATCH', '/listeners/lbl-p', { customConfig: 'send_timeout 7;' });
  expect(inner.status).toBe(200);
  const own = proxyImage().listeners.filter(({ name }) => name === 'lbl-h' || name === 'lbl-p');
  const rows = own.sort((a, b) => (a.name < b.name ? -1 : 1));
  expect(rows.map(({ name, custom }) => [name, custom])).toEqual([
    ['lbl-h', { sendTimeoutMs: 5000, serverTokens: false }],
    ['lbl-p', { sendTimeoutMs: 7000, serverTokens: false }],
  ]);
  const stream = {
    loadBalancer: 'lb-a',
    protocol: 'TCP',
    port: 90,
    targetGroup: 'lbtg-a',
    customConfig: 'send_timeout 7;',
  };
  expect((await controller.call('POST', '/listeners', stream)).body.detail).toContain('belongs to HTTP and HTTPS');
});

test('checks by HTTP, TLS and gRPC reach the image, and what does not fit their kind is refused', async () => {
  const group = (id: string, healthCheck: object) =>
    controller.call('POST', '/target-groups', { id, name: id, healthCheck });
  const http = { type: 'https', httpMethod: 'GET', httpVersion: '1.0', httpBody: 'ready', httpCodes: 2 };
  expect((await group('lbtg-h', http)).status).toBe(201);
  expect((await group('lbtg-g', { type: 'grpc', grpcService: 'a.B', grpcCodes: '12,14-16' })).status).toBe(201);
  for (const [index, id] of ['lbtg-h', 'lbtg-g'].entries()) {
    expect((await addRule({}, { targetGroup: id, path: `/check${index}` })).status).toBe(201);
  }
  const checks = new Map(proxyImage().groups.map(({ name, check }) => [name, check]));
  expect(checks.get('lbtg-h')).toMatchObject({
    type: 'https',
    http: { method: 'GET', path: '/', codes: 2, version: '1.0', body: 'ready' },
  });
  expect(checks.get('lbtg-g')).toMatchObject({ type: 'grpc', grpc: { service: 'a.B', codes: [12, 14, 15, 16] } });
  for (const [check, field] of [
    [{ type: 'http', httpBody: 'x' }, 'httpBody'],
    [{ type: 'tcp', httpVersion: '1.0' }, 'httpVersion'],
    [{ type: 'http', grpcService: 'x' }, 'grpcService'],
  ] as const) {
    expect((await group('lbtg-x', check)).body.field).toBe(`/healthCheck/${field}`);
  }
});

test('the mirror of a document names its group as every other reference does', async () => {
  const own = await startTestController();
  const document = (mirror: string) => ({
    targetGroups: [{ name: 'copies' }, { name: 'main' }],
    loadBalancers: [
      {
        name: 'web',
        vips: ['203.0.113.78'],
        listeners: [
          { protocol: 'HTTP', port: 80, rules: [{ targetGroup: 'main', policy: { mirror: { targetGroup: mirror } } }] },
        ],
      },
    ],
  });
  const set = await own.call('PUT', '/config', { ...sampleConfig(), ...document('copies') });
  expect(set.body.detail ?? set.status).toBe(200);
  const groups = (await own.call('GET', '/target-groups')).body['items'] as { id: string; name: string }[];
  const rules = (await own.call('GET', '/rules')).body['items'] as { policy: RulePolicy }[];
  const copies = groups.find(({ name }) => name === 'copies')?.id;
  expect(rules.map(({ policy }) => policy?.mirror?.targetGroup)).toContain(copies);
  const again = await own.call('PUT', '/config', { ...sampleConfig(), ...document(copies!) });
  expect(again.body).toMatchObject({ created: [], updated: [], deleted: [] });
  const wrong = await own.call('PUT', '/config', { ...sampleConfig(), ...document('nobody') });
  expect([wrong.status, wrong.body.detail]).toEqual([400, expect.stringContaining('nobody')]);
  await own.app.close();
});
