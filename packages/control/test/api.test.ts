// The native API over real requests: every route refuses a bad body by field, uniqueness and references hold, also under concurrency.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { API_KEY, sampleConfig, startTestController, type TestController } from './cluster.ts';

let controller: TestController;
const start = async (): Promise<void> => {
  controller = await startTestController();
};
const stop = async (): Promise<void> => controller.app.close();

const auth = { authorization: `Bearer ${API_KEY}` };

describe('bad bodies', () => {
  // Refused requests change nothing, so all of them meet one controller.
  beforeAll(async () => {
    await start();
    await prepare();
  });
  afterAll(stop);

  test.each([
    ['POST', '/load-balancers', { name: '' }, '/name'],
    ['POST', '/load-balancers', { name: 'a', vips: ['203.0.113.256'] }, '/vips/0'],
    ['POST', '/load-balancers', { name: 'a', vips: ['100.64.0.1'] }, '/vips/0'],
    ['POST', '/load-balancers', { name: 'a', network: 'internal' }, '/vpcId'],
    ['POST', '/load-balancers', { name: 'a', listners: [] }, '/listners'],
    ['PATCH', '/load-balancers/lb-a', { vips: [] }, '/vips'],
    ['POST', '/listeners', { loadBalancer: 'lb-a', protocol: 'TCP', port: 65536 }, '/port'],
    ['POST', '/listeners', { loadBalancer: 'lb-a', protocol: 'TCP', port: 3306 }, '/port'],
    ['POST', '/listeners', { loadBalancer: 'lb-x', protocol: 'TCP', port: 81 }, '/loadBalancer'],
    ['POST', '/listeners', { loadBalancer: 'lb-a', protocol: 'TCP', port: 81, stickySeconds: 10 }, '/stickySeconds'],
    ['POST', '/listeners', { loadBalancer: 'lb-a', protocol: 'HTTP', port: 81, targetGroup: 'lbtg-a' }, '/targetGroup'],
    ['POST', '/listeners', { loadBalancer: 'lb-a', protocol: 'HTTPS', port: 81 }, '/certificates'],
    ['POST', '/listeners', { loadBalancer: 'lb-a', protocol: 'TCP', port: 81, targetGroup: 'lbtg-x' }, '/targetGroup'],
    ['PATCH', '/listeners/lbl-a', { port: 90 }, '/port'],
    ['PATCH', '/listeners/lbl-a', { idleSeconds: 5 }, '/idleSeconds'],
    ['POST', '/rules', { listener: 'lbl-a', targetGroup: 'lbtg-a', path: 'nope' }, '/path'],
    ['POST', '/rules', { listener: 'lbl-a', targetGroup: 'lbtg-a' }, '/listener'],
    ['POST', '/rules', { listener: 'lbl-x', targetGroup: 'lbtg-a' }, '/listener'],
    ['PATCH', '/rules/loc-a', { scheduler: 'best' }, '/scheduler'],
    ['POST', '/rules', { listener: 'lbl-h', targetGroup: 'lbtg-a', domain: 'a..b' }, '/domain'],
    ['POST', '/rules', { listener: 'lbl-h', targetGroup: 'lbtg-a', domain: '~(' }, '/domain'],
    ['POST', '/target-groups', { name: 'g', slots: 100 }, '/slots'],
    ['POST', '/target-groups', { name: 'g', healthCheck: { intervalSeconds: 1 } }, '/healthCheck/intervalSeconds'],
    [
      'POST',
      '/target-groups',
      { name: 'g', healthCheck: { intervalSeconds: 3, timeoutSeconds: 3 } },
      '/healthCheck/timeoutSeconds',
    ],
    ['POST', '/target-groups', { name: 'g', targets: [{ port: 80 }] }, '/targets/0'],
    ['POST', '/target-groups', { name: 'g', targets: [{ instance: 'ins-x', port: 80 }] }, '/targets/0/instance'],
    ['PATCH', '/target-groups/lbtg-a', { targets: [] }, '/targets'],
    [
      'PUT',
      '/target-groups/lbtg-a/targets',
      { targets: [{ vpc: 100, address: '10.0.0.2', port: 80, weight: 101 }] },
      '/targets/0/weight',
    ],
    [
      'PUT',
      '/target-groups/lbtg-a/targets',
      { targets: [{ vpc: 300, address: '10.0.0.2', port: 80 }] },
      '/targets/0/vpc',
    ],
    ['POST', '/target-groups/lbtg-a/targets', { vpc: 100, address: '10.0.0.2' }, '/port'],
    ['PATCH', '/target-groups/lbtg-a/targets/tgt-a', { weight: -1 }, '/weight'],
    ['POST', '/certificates', { name: 'c', certificate: 'x', privateKey: 'y' }, '/certificate'],
    [
      'POST',
      '/certificates',
      { name: 'c', certificate: '-----BEGIN CERTIFICATE-----', privateKey: '-----BEGIN PRIVATE KEY-----' },
      '/certificate',
    ],
    ['POST', '/vpcs', { id: 0 }, '/id'],
    ['POST', '/vpcs', { id: 4294967040 }, '/id'],
    ['POST', '/vpcs', { id: 300, cidrs: ['100.100.0.0/16'] }, '/cidrs/0'],
    ['POST', '/vpcs', { id: 300, cidrs: ['10.0.0.1/16'] }, '/cidrs/0'],
    ['PATCH', '/vpcs/100', { id: 5 }, '/id'],
    ['POST', '/instances', { vpcId: 100, addresses: ['10.1.0.2'] }, '/addresses/0'],
    ['POST', '/instances', { vpcId: 100, addresses: ['10.0.0.9'], host: 'ld1' }, '/host'],
    ['POST', '/instances', { vpcId: 100, addresses: ['10.0.0.9'], mac: '02:00:00:00:00:0A' }, '/mac'],
    ['POST', '/instances', { vpcId: 100, addresses: ['10.0.0.9'], device: 'x' }, '/mac'],
    ['POST', '/nodes', { id: 'UPPER', role: 'director', underlay: {} }, '/id'],
    ['POST', '/nodes', { id: 'ld9', role: 'director', underlay: {} }, '/underlay'],
    ['POST', '/nodes', { id: 'ld9', role: 'switch', underlay: { v4: '10.255.0.9' } }, '/role'],
    ['POST', '/nodes', { id: 'ld9', role: 'director', underlay: { v4: '2001:db8::1' } }, '/underlay/v4'],
    ['PATCH', '/nodes/ld1', { ordinal: 7 }, '/ordinal'],
    ['POST', '/eips', { address: '224.0.0.1' }, '/address'],
    ['POST', '/eips', { family: 'v5' }, '/family'],
    ['POST', '/eips/eip-a/bind', { instance: 'ins-x' }, '/instance'],
    ['POST', '/explain', { protocol: 'tcp' }, '/source'],
    ['PUT', '/config', { loadBalancer: [] }, '/loadBalancer'],
  ] as const)('%s %s with %j is refused at %s', async (method, path, body, field) => {
    const answer = await controller.call(method, path, body);
    expect([answer.status, answer.body.field]).toEqual([400, field]);
    expect(answer.body.hint.length).toBeGreaterThan(5);
  });

  /** One object of each kind with known ids, so that only the body is wrong. */
  async function prepare(): Promise<void> {
    const steps = [
      ['/vpcs', { id: 100, cidrs: ['10.0.0.0/24'] }],
      ['/nodes', { id: 'ld1', role: 'director', underlay: { v4: '10.255.0.1' } }],
      [
        '/target-groups',
        { id: 'lbtg-a', name: 'a', targets: [{ id: 'tgt-a', vpc: 100, address: '10.0.0.2', port: 80 }] },
      ],
      ['/load-balancers', { id: 'lb-a', name: 'lb', vips: ['203.0.113.10'] }],
      ['/listeners', { id: 'lbl-a', loadBalancer: 'lb-a', protocol: 'TCP', port: 80, targetGroup: 'lbtg-a' }],
      ['/listeners', { id: 'lbl-h', loadBalancer: 'lb-a', protocol: 'HTTP', port: 8080 }],
      ['/rules', { id: 'loc-a', listener: 'lbl-h', targetGroup: 'lbtg-a', domain: 'a.example' }],
      ['/eips', { id: 'eip-a' }],
    ] as const;
    for (const [path, body] of steps) expect(await controller.call('POST', path, body)).toMatchObject({ status: 201 });
  }

  test('what is not JSON, is too large or of a strange type is a problem as well', async () => {
    const send = (payload: string, headers: Record<string, string>) =>
      controller.app.inject({ method: 'POST', url: '/v1/vpcs', payload, headers: { ...auth, ...headers } });
    const json = { 'content-type': 'application/json' };
    const answers = [
      await send('{"id":', json),
      await send('', json),
      await send('[]', json),
      await send('{"__proto__":{"x":1},"id":1}', json),
      await send('id=1', { 'content-type': 'text/csv' }),
      await send(JSON.stringify({ id: 1, name: 'x'.repeat(1_100_000) }), json),
    ];
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([400, 400, 400, 400, 415, 413]);
    for (const answer of answers) expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect((await controller.call('GET', '/vpcs')).body.items).toHaveLength(1);
  });
});

describe('keys', () => {
  beforeEach(start);
  afterEach(stop);

  test('without a key, with a wrong one and with the join token there is no API', async () => {
    for (const authorization of [undefined, 'Bearer wrong', 'Basic eDp5', 'Bearer test-join-token']) {
      const response = await controller.app.inject({
        url: '/v1/vpcs',
        headers: authorization === undefined ? {} : { authorization },
      });
      expect([response.statusCode, response.json().code]).toEqual([401, 'Unauthorized']);
    }
  });

  test('a key for reading may read and explain, and not change', async () => {
    const reader = await startTestController({ apiKeys: [{ key: 'read-only-key', write: false }, API_KEY] });
    const headers = { authorization: 'Bearer read-only-key' };
    expect((await reader.call('GET', '/status', undefined, headers)).status).toBe(200);
    expect(await reader.call('POST', '/vpcs', { id: 1 }, headers)).toMatchObject({
      status: 403,
      body: { code: 'Forbidden' },
    });
    const query = { protocol: 'tcp', source: '1.1.1.1', sourcePort: 1, destination: '1.1.1.2', destinationPort: 2 };
    expect((await reader.call('POST', '/explain', query, headers)).body.code).toBe('NoNodeToAsk');
    await reader.app.close();
  });
});

describe('resources', () => {
  beforeEach(start);
  afterEach(stop);

  test('an address, a port and a name have one owner', async () => {
    await controller.call('PUT', '/config', sampleConfig());
    const codes: string[] = [];
    for (const [path, body] of [
      ['/load-balancers', { name: 'web' }],
      ['/load-balancers', { name: 'new', vips: ['203.0.113.10'] }],
      ['/load-balancers', { name: 'new', vips: ['198.18.0.9'] }],
      ['/eips', { address: '203.0.113.20' }],
      ['/instances', { vpcId: 100, addresses: ['10.0.0.2'] }],
      ['/nodes', { id: 'ld9', role: 'director', underlay: { v4: '10.255.0.1' } }],
      ['/nodes', { id: 'ld1', role: 'director', underlay: { v4: '10.255.0.99' } }],
    ] as const) {
      codes.push((await controller.call('POST', path, body)).body.code);
    }
    expect(codes).toEqual([
      'AlreadyExists',
      'AddressInUse',
      'AddressInUse',
      'AddressInUse',
      'AddressInUse',
      'AddressInUse',
      'AlreadyExists',
    ]);
  });

  test('TCP and UDP share a port number, TCP and HTTP do not', async () => {
    await controller.call('POST', '/load-balancers', { id: 'lb-a', name: 'a' });
    await controller.call('POST', '/target-groups', { id: 'lbtg-a', name: 'g' });
    const make = async (protocol: string) => {
      const body = {
        loadBalancer: 'lb-a',
        protocol,
        port: 80,
        ...(protocol === 'HTTP' ? {} : { targetGroup: 'lbtg-a' }),
      };
      return (await controller.call('POST', '/listeners', body)).status;
    };
    expect([await make('TCP'), await make('UDP'), await make('HTTP'), await make('UDP')]).toEqual([201, 201, 409, 409]);
  });

  test('an EIP is allocated, bound, refused to be released, unbound and released', async () => {
    await controller.call('PUT', '/config', { ...sampleConfig(), eips: [] });
    const eip = (await controller.call('POST', '/eips', { name: 'e' })).body;
    expect(eip).toMatchObject({ state: 'UNBIND', address: '198.18.0.1' });
    const [instance] = (await controller.call('GET', '/instances')).body.items;
    const bound = await controller.call('POST', `/eips/${eip.id}/bind`, { instance: instance.id });
    expect(bound.body).toMatchObject({ state: 'BIND', binding: { instance: instance.id } });
    expect(await controller.call('DELETE', `/eips/${eip.id}`)).toMatchObject({
      status: 409,
      body: { code: 'EipBound' },
    });
    const second = (await controller.call('POST', '/eips', {})).body;
    expect((await controller.call('POST', `/eips/${second.id}/bind`, { instance: instance.id })).body.code).toBe(
      'InstanceHasEip',
    );
    expect((await controller.call('POST', `/eips/${eip.id}/unbind`)).body.state).toBe('UNBIND');
    expect((await controller.call('DELETE', `/eips/${eip.id}`)).status).toBe(200);
    expect((await controller.call('GET', `/eips/${eip.id}`)).status).toBe(404);
    expect((await controller.call('POST', '/eips', {})).body.address).toBe('198.18.0.1');
  });

  test('what is used cannot be deleted, and a load balancer takes its listeners along', async () => {
    await controller.call('PUT', '/config', sampleConfig());
    const [group] = (await controller.call('GET', '/target-groups')).body.items;
    expect((await controller.call('DELETE', `/target-groups/${group.id}`)).body.code).toBe('ResourceInUse');
    expect((await controller.call('DELETE', '/nodes/host1')).body.code).toBe('ResourceInUse');
    expect((await controller.call('DELETE', '/vpcs/100')).body.code).toBe('ResourceInUse');
    for (const { id } of (await controller.call('GET', '/load-balancers')).body.items)
      await controller.call('DELETE', `/load-balancers/${id}`);
    expect((await controller.call('GET', '/listeners')).body.items).toEqual([]);
    expect((await controller.call('DELETE', `/target-groups/${group.id}`)).status).toBe(200);
  });

  test('replacing the list of targets keeps the ids of those that stay', async () => {
    await controller.call('POST', '/vpcs', { id: 100 });
    const group = (await controller.call('POST', '/target-groups', { name: 'g', targets: [target(2), target(3)] }))
      .body;
    const replaced = (
      await controller.call('PUT', `/target-groups/${group.id}/targets`, {
        targets: [target(4), { ...target(3), weight: 1 }],
      })
    ).body;
    expect(replaced.targets[1]).toMatchObject({ id: group.targets[1].id, weight: 1 });
    expect(replaced.targets[0].id).not.toBe(group.targets[0].id);
    const added = (await controller.call('POST', `/target-groups/${group.id}/targets`, target(5))).body;
    const last = added.targets[2].id;
    expect(
      (await controller.call('PATCH', `/target-groups/${group.id}/targets/${last}`, { weight: 0 })).body.targets[2]
        .weight,
    ).toBe(0);
    expect((await controller.call('DELETE', `/target-groups/${group.id}/targets/${last}`)).body.targets).toHaveLength(
      2,
    );
    expect((await controller.call('DELETE', `/target-groups/${group.id}/targets/${last}`)).status).toBe(404);
  });

  const target = (last: number) => ({ vpc: 100, address: `10.0.0.${last}`, port: 8080 });

  test('a change that could not be compiled is refused when it is written', async () => {
    await controller.call('PUT', '/config', sampleConfig());
    const { body } = await controller.call('POST', '/load-balancers', {
      id: 'lb-in',
      name: 'in',
      network: 'internal',
      vpcId: 100,
      vips: ['10.0.0.100'],
    });
    expect(body.id).toBe('lb-in');
    await controller.call('POST', '/target-groups', {
      id: 'lbtg-b',
      name: 'b',
      targets: [{ vpc: 200, address: '10.0.0.2', port: 80 }],
    });
    const refused = await controller.call('POST', '/listeners', {
      loadBalancer: 'lb-in',
      protocol: 'TCP',
      port: 80,
      targetGroup: 'lbtg-b',
    });
    expect(refused).toMatchObject({ status: 400, body: { code: 'BadCombination' } });
    expect(refused.body.detail).toMatch(/outside of VPC 100/);
    expect((await controller.call('GET', '/listeners?loadBalancer=lb-in')).body.items).toEqual([]);
  });

  test('a node that leaves gives its ordinal back only after 24 hours', async () => {
    let nowMs = 1_000_000_000_000;
    const timed = await startTestController({ nowMs: () => nowMs });
    const join = async (id: string, last: number): Promise<number> =>
      (await timed.call('POST', '/nodes', { id, role: 'director', underlay: { v4: `10.255.0.${last}` } })).body.ordinal;
    expect([await join('ld1', 1), await join('ld2', 2)]).toEqual([1, 2]);
    await timed.call('DELETE', '/nodes/ld1');
    expect(await join('ld3', 3)).toBe(3);
    nowMs += 24 * 3600 * 1000 + 1;
    expect(await join('ld4', 4)).toBe(1);
    await timed.app.close();
  });

  test('no key is shown: a certificate comes back without its private key', async () => {
    const { body } = await controller.call('GET', '/certificates');
    expect(body.items).toEqual([]);
    const response = await controller.app.inject({ url: '/openapi.json' });
    expect(Object.keys(response.json().components.schemas.Certificate.properties)).not.toContain('privateKey');
  });
});

describe('50 writers at once', () => {
  beforeEach(start);
  afterEach(stop);

  test('of 50 that want the same address one succeeds, and the others are told who has it', async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        controller.call('POST', '/load-balancers', { name: `lb${index}`, vips: ['203.0.113.10'] }),
      ),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(new Set(answers.filter(({ status }) => status !== 201).map(({ body }) => body.code))).toEqual(
      new Set(['AddressInUse']),
    );
  });

  test('50 that allocate get 50 different addresses, and really overlap', async () => {
    let running = 0;
    let overlap = 0;
    const answers = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        overlap = Math.max(overlap, ++running);
        const answer = await controller.call('POST', '/load-balancers', { name: `lb${index}` });
        running--;
        return answer;
      }),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 201));
    expect(new Set(answers.map(({ body }) => body.vips[0])).size).toBe(50);
    expect(overlap).toBe(50);
  });

  test('50 that add a target to one group lose none', async () => {
    await controller.call('POST', '/vpcs', { id: 100 });
    await controller.call('POST', '/target-groups', { id: 'lbtg-a', name: 'g' });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        controller.call('POST', '/target-groups/lbtg-a/targets', {
          vpc: 100,
          address: `10.0.0.${index + 1}`,
          port: 80,
        }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    const { targets } = (await controller.call('GET', '/target-groups/lbtg-a')).body;
    expect(new Set(targets.map(({ address }: { address: string }) => address)).size).toBe(50);
  });

  test('a group is not deleted under a listener that is being created, whichever comes first', async () => {
    await controller.call('POST', '/load-balancers', { id: 'lb-a', name: 'a' });
    for (let round = 0; round < 20; round++) {
      await controller.call('POST', '/target-groups', { id: `lbtg-r${round}`, name: `g${round}` });
      const [created, deleted] = await Promise.all([
        controller.call('POST', '/listeners', {
          loadBalancer: 'lb-a',
          protocol: 'TCP',
          port: 7000 + round,
          targetGroup: `lbtg-r${round}`,
        }),
        controller.call('DELETE', `/target-groups/lbtg-r${round}`),
      ]);
      expect([created.status === 201, deleted.status === 200].filter(Boolean)).toHaveLength(1);
    }
  });
});

test('OpenAPI names every body and every problem', async () => {
  await start();
  const { paths, components, openapi } = (await controller.app.inject({ url: '/openapi.json' })).json();
  expect(openapi).toBe('3.1.0');
  expect(Object.keys(components.schemas)).toEqual(
    expect.arrayContaining(['LoadBalancerInput', 'Listener', 'Problem', 'Eip', 'Config', 'Status']),
  );
  const operations = Object.values(
    paths as Record<
      string,
      Record<string, { operationId?: string; requestBody?: { content: Record<string, { schema: object }> } }>
    >,
  ).flatMap((path) => Object.values(path));
  expect(operations.length).toBeGreaterThan(45);
  expect(operations.filter(({ operationId }) => operationId === undefined)).toEqual([]);
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
  const bodies = operations.flatMap(({ requestBody }) =>
    requestBody ? [requestBody.content['application/json']?.schema ?? {}] : [],
  );
  expect(bodies.length).toBeGreaterThan(15);
  expect(bodies.filter((schema) => Object.keys(schema).join() !== '$ref')).toEqual([]);
  await stop();
});
