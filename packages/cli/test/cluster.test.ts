// The commands against a running controller, all of them processes: what a tenant and an operator type.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clb, type Finished, type RunningClb, startClb } from './clb.ts';

let folder: string;
let controller: RunningClb;
let url: string;

const startController = async (): Promise<void> => {
  const listen = url === undefined ? '127.0.0.1:0' : new URL(url).host;
  const store = join(folder, 'desired.sqlite');
  controller = startClb([
    'controller',
    '--listen',
    listen,
    '--store',
    store,
    '--join-token',
    'join',
    '--api-key',
    'key',
    '--json',
  ]);
  await controller.sees('"event":"ready"');
  ({ url } = JSON.parse(controller.stdout().split('\n')[0] ?? '') as { url: string });
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clb-cluster-'));
  await startController();
}, 30_000);
afterAll(async () => {
  await controller.stop('SIGKILL');
  await rm(folder, { recursive: true });
});

const run = (...words: string[]): Promise<Finished> => clb(words, { env: { CLB_CONTROLLER: url, CLB_API_KEY: 'key' } });
async function json<T>(...words: string[]): Promise<T> {
  const { status, stdout, stderr } = await run(...words, '--json');
  if (status !== 0) throw new Error(`clb ${words.join(' ')}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

test('a tenant makes a load balancer, looks at it and is told why something cannot be deleted', async () => {
  await json('create', 'vpc', '--id', '100', '--cidrs', '10.0.0.0/16');
  const one = await json<{ id: string; vips: string[] }>(
    'create',
    'load-balancer',
    '--name',
    'web',
    '--vips',
    '203.0.113.10',
  );
  expect(one.vips).toEqual(['203.0.113.10']);
  await json(
    'create',
    'target-group',
    '--id',
    'lbtg-web',
    '--name',
    'web',
    '--health-check',
    '{type: http, httpPath: /healthz}',
  );
  const created = await run(
    'create',
    'listener',
    '--load-balancer',
    one.id,
    '--protocol',
    'tcp',
    '--port',
    '80',
    '--target-group',
    'lbtg-web',
    '--id',
    'lbl-web',
  );
  expect(created).toMatchObject({ status: 0, stderr: '' });
  expect(created.stdout).toMatch(/^created lbl-web at revision \d+\n$/);

  const added = await json<{ targets: { id: string }[] }>(
    'target',
    'add',
    'lbtg-web',
    '--physical',
    '192.0.2.50',
    '--port',
    '8080',
  );
  const target = added.targets[0]?.id ?? '';
  expect((await run('target', 'weight', 'lbtg-web', target, '0')).stdout).toMatch(
    new RegExp(`${target} +192\\.0\\.2\\.50 +8080 +0`),
  );
  expect((await run('get', 'listeners', '--of', one.id)).stdout).toMatch(/lbl-web .*TCP +80 +maglev/);
  expect((await run('get', 'lbl', 'lbl-web')).stdout).toContain('idleSeconds');
  expect((await json<{ items: unknown[] }>('health')).items).toHaveLength(1);

  const used = await run('delete', 'tg', 'lbtg-web');
  expect(used.status).toBe(1);
  expect(used.stderr).toContain('lbtg-web is used by lbl-web');
  expect(used.stderr).toContain('Remove what uses it first.');
}, 60_000);

test('a body that the API would refuse is refused with its rule before or by the API, never half', async () => {
  const flag = await run('create', 'listener', '--load-balancer', 'lb-x', '--protocol', 'HTPP', '--port', '80');
  expect(flag.status).toBe(2);
  expect(flag.stderr).toContain(
    "--protocol: 'HTPP' is not one of TCP, UDP, HTTP, HTTPS, TCP_SSL; did you mean 'HTTP'?",
  );
  const inline = await run('create', 'target-group', '--name', 'x', '--targets', '[{instance: ins-1, prot: 80}]');
  expect(inline.status).toBe(2);
  expect(inline.stderr).toContain("unknown key 'prot'; did you mean 'port'?");
  const reference = await run(
    'create',
    'listener',
    '--load-balancer',
    'lb-none',
    '--protocol',
    'TCP',
    '--port',
    '80',
    '--json',
  );
  expect(reference.status).toBe(1);
  expect(JSON.parse(reference.stderr)).toMatchObject({ error: { message: expect.stringContaining('lb-none') } });
}, 30_000);

test('an EIP lives from allocate to release, and a bound one is not released', async () => {
  await json('create', 'node', '--id', 'host1', '--role', 'endpoint', '--underlay', '{v4: 192.0.2.21}');
  await json('create', 'instance', '--id', 'ins-a1', '--vpc-id', '100', '--addresses', '10.0.0.2', '--host', 'host1');
  const { id } = await json<{ id: string }>('eip', 'allocate');
  expect((await run('eip', 'bind', id, '--instance', 'ins-a1')).stdout).toMatch(
    new RegExp(`^bound ${id} [0-9.]+ BIND`),
  );
  const refused = await run('eip', 'release', id, '--json');
  expect(refused.status).toBe(1);
  expect(JSON.parse(refused.stderr)).toMatchObject({
    error: { code: 'EipBound', hint: expect.stringContaining('nbind') },
  });
  expect((await run('eip', 'unbind', id)).stdout).toContain('UNBIND');
  expect((await run('eip', 'release', id)).stdout).toBe(`released ${id}\n`);
}, 60_000);

test('apply puts a whole file, and a refusal of the controller points at its line', async () => {
  const file = join(folder, 'cluster.yaml');
  const text = 'eips:\n  - name: one\n    address: 198.18.0.9\n';
  await writeFile(file, text);
  expect((await run('apply', '-f', file)).stdout).toMatch(/^revision \d+: 1 created, 0 updated, 0 deleted/);
  expect((await run('apply', '-f', file)).stdout).toContain('0 created, 0 updated, 0 deleted');
  await writeFile(file, `${text}loadBalancers:\n  - name: web\n    vips: [127.0.0.1]\n`);
  const refused = await run('apply', '-f', file);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain(`${file}:6:12: `);
  expect(refused.stderr).toContain('127.0.0.1 is not a unicast address');
}, 30_000);

test('a proxy joins, shows in status, counts, and serves on without the controller until it is stopped', async () => {
  await json('create', 'node', '--id', 'px1', '--role', 'proxy', '--underlay', '{v4: 192.0.2.31}');
  const flags = ['--id', 'px1', '--controller', url, '--token', 'join', '--state-dir', folder];
  const proxy = startClb(['proxy', ...flags]);
  try {
    await proxy.sees('ready: proxy px1, packets by sockets');
    const { revision } = await json<{ revision: number }>('create', 'vpc', '--id', '300');
    const status = await json<{ nodes: { id: string; live: boolean; port: string }[] }>(
      'status',
      '--wait',
      String(revision),
    );
    expect(status.nodes.find((node) => node.id === 'px1')).toMatchObject({ live: true, port: 'sockets' });
    expect((await run('top', '--once', '--json')).stdout).toContain('proxy.connections');
    const nobody = await run('explain', 'tcp', '198.51.100.10:40000', '203.0.113.10:80');
    expect(nobody.status).toBe(1);
    expect(nobody.stderr).toContain('no director is connected');

    expect((await controller.stop('SIGTERM')).status).toBe(0);
    await proxy.sees('no controller, serving the last image');
    await startController();
    expect(await json<{ items: { id: string }[] }>('get', 'vpcs')).toMatchObject({ items: [{ id: 100 }, { id: 300 }] });
  } finally {
    expect((await proxy.stop('SIGTERM')).status).toBe(0);
  }
}, 60_000);
